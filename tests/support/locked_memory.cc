#include "tests/support/locked_memory.h"

#include <sys/mman.h>

#include <cstddef>

namespace cow::test {

LockedMemory::LockedMemory() {
  constexpr size_t kEnough = size_t{256} << 20;
  may_ = mlockall(MCL_FUTURE) == 0;
  void* const room = mmap(nullptr, kEnough, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room != MAP_FAILED) {
    munmap(room, kEnough);
  } else {
    may_ = false;
    munlockall();
  }
}

LockedMemory::~LockedMemory() { munlockall(); }

}  // namespace cow::test
