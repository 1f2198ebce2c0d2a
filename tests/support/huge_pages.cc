#include "tests/support/huge_pages.h"

#include <sys/mman.h>

namespace cow::test {

bool MakeHugePages(int descriptor, uint64_t size) {
  constexpr int kMadviseCollapse = 25;  // MADV_COLLAPSE, kernel 6.1
  constexpr uint64_t kHugePage = 2 << 20;
  void* const room = mmap(nullptr, size + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) return false;
  // Huge pages are made where addresses and offsets in the file agree.
  char* const aligned =
      static_cast<char*>(room) + (-reinterpret_cast<uint64_t>(room) & (kHugePage - 1));
  const bool made = mmap(aligned, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor,
                         0) != MAP_FAILED &&
                    madvise(aligned, size, kMadviseCollapse) == 0;
  munmap(room, size + kHugePage);
  return made;
}

}  // namespace cow::test
