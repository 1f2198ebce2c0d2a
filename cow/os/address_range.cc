#include "cow/os/address_range.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/dynamic_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "cow/base/status.h"
#include "cow/base/types.h"
#include "cow/os/descriptor.h"
#include "cow/os/kernel_abi.h"

namespace cow::os {
namespace {

int Bits(Protection protection) {
  return protection == Protection::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
}

// Whether the kernel keeps this memory, of which nothing is in use yet, locked (mlock, mlockall).
bool IsLocked(void* start, uint64_t size) {
  return madvise(start, size, MADV_DONTNEED) != 0 && errno == EINVAL;
}

// Makes a map that allows no access a map of this protection which is not locked: locking one that
// can be written fills it with copies of the file's pages.
bool OpenUnlocked(void* start, uint64_t size, Protection protection) {
  return munlock(start, size) == 0 && mprotect(start, size, Bits(protection)) == 0;
}

// Appends the pages of a part, of which nothing is in use any more, that are locked.
void FindLocked(std::byte* start, uint64_t size, std::vector<std::byte*>& locked) {
  if (!IsLocked(start, size)) return;
  if (size <= kPageSize) {
    locked.push_back(start);
    return;
  }
  const uint64_t half = size / 2 / kPageSize * kPageSize;
  FindLocked(start, half, locked);
  FindLocked(start + half, size - half, locked);
}

}  // namespace

AddressRange::AddressRange(AddressRange&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      locks_(other.locks_),
      owner_(other.owner_) {}

AddressRange& AddressRange::operator=(AddressRange&& other) noexcept {
  if (this != &other) {
    Release();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    locks_ = other.locks_;
    owner_ = other.owner_;
  }
  return *this;
}

AddressRange::~AddressRange() { Release(); }

void AddressRange::Release() {
  if (data_ != nullptr && owner_ == getpid()) munmap(data_, size_);
}

absl::StatusOr<AddressRange> AddressRange::Reserve(uint64_t size, uint64_t alignment,
                                                   Protection protection) {
  const auto error = [&](int number) {
    return ErrnoStatus(number, absl::StrCat("reserving ", size, " bytes of address space"));
  };
  if (size == 0) return error(EINVAL);
  if (size > std::numeric_limits<uint64_t>::max() / 2 - alignment) return error(ENOMEM);
  void* start = mmap(nullptr, size + alignment, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED && errno == EAGAIN) {
    return MakeError(absl::StatusCode::kResourceExhausted, ENOMEM,
                     absl::StrCat("the process locks its memory (mlockall), and may not lock ",
                                  size, " bytes (RLIMIT_MEMLOCK)"));
  }
  if (start == MAP_FAILED) return error(errno);
  // Gives back what is too much before and after the aligned part.
  auto* const begin = static_cast<std::byte*>(start);
  const uint64_t before = -reinterpret_cast<uint64_t>(begin) & (alignment - 1);
  AddressRange range(begin + before, size);
  if ((before > 0 && munmap(begin, before) != 0) ||
      (before < alignment && munmap(begin + before + size, alignment - before) != 0)) {
    return error(errno);
  }
  range.locks_ = IsLocked(range.data_, size);
  if (!OpenUnlocked(range.data_, size, protection)) return error(errno);
  return range;
}

absl::Status AddressRange::MapFile(uint64_t at, uint64_t length, int descriptor,
                                   uint64_t file_offset, Protection protection) {
  std::vector<std::byte*> locked;
  if (!locks_) FindLocked(data_ + at, length, locked);
  // The thread sanitizer takes a map for a write, which those who wait for it would race with.
  ABSL_ANNOTATE_IGNORE_WRITES_BEGIN();
  void* mapped =
      mmap(data_ + at, length, locks_ ? PROT_NONE : Bits(protection),
           MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, descriptor, static_cast<off_t>(file_offset));
  const int error = errno;
  ABSL_ANNOTATE_IGNORE_WRITES_END();
  errno = error;
  if (mapped != MAP_FAILED && (!locks_ || OpenUnlocked(mapped, length, protection))) {
    for (size_t i = 0, next = 0; i < locked.size(); i = next) {
      for (next = i + 1; next < locked.size() && locked[next] == locked[next - 1] + kPageSize;) {
        ++next;
      }
      // They were locked a moment ago, so that it is allowed.
      mlock(locked[i], (next - i) * kPageSize);
    }
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, absl::StrCat("mapping ", length, " bytes at ", file_offset));
}

absl::Status AddressRange::ReadFile(uint64_t at, uint64_t length, int descriptor,
                                    uint64_t file_offset) {
  return ReadFrom(descriptor, file_offset, {data_ + at, length});
}

absl::Status AddressRange::Protect(uint64_t at, uint64_t length, Protection protection) {
  if (mprotect(data_ + at, length, Bits(protection)) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("protecting ", length, " bytes of a mapping"));
}

absl::Status AddressRange::PopulateForReading(uint64_t at, uint64_t length) {
  while (madvise(data_ + at, length, MADV_POPULATE_READ) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    if (errno == EINVAL) return absl::OkStatus();  // before 5.14
    return ErrnoStatus(errno, absl::StrCat("reading in ", length, " bytes of a mapping"));
  }
  return absl::OkStatus();
}

absl::Status AddressRange::Drop(uint64_t at, uint64_t length) {
  if (madvise(data_ + at, length, MADV_DONTNEED) == 0) return absl::OkStatus();
  // Locked meanwhile.
  if (errno == EINVAL && madvise(data_ + at, length, abi::kMadviseDontNeedLocked) == 0) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, absl::StrCat("dropping ", length, " bytes of a mapping"));
}

absl::Status AddressRange::Forbid(uint64_t at, uint64_t length) {
  if (mprotect(data_ + at, length, PROT_NONE) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("closing ", length, " bytes of a mapping"));
}

absl::Status AddressRange::KeepFromChildren(uint64_t at, uint64_t length) {
  if (madvise(data_ + at, length, MADV_DONTFORK) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, "keeping a mapping from child processes");
}

void AddressRange::AvoidHugePages(uint64_t at, uint64_t length) {
  madvise(data_ + at, length, MADV_NOHUGEPAGE);
}

void TouchPage(const std::byte* address) {
  const auto at = reinterpret_cast<uintptr_t>(address) / kPageSize * kPageSize;
  madvise(reinterpret_cast<void*>(at), kPageSize, MADV_POPULATE_READ);
}

absl::Status ReadFrom(int descriptor, uint64_t offset, std::span<std::byte> buffer) {
  for (std::span<std::byte> rest = buffer; !rest.empty();) {
    const ssize_t n = pread(descriptor, rest.data(), rest.size(),
                            static_cast<off_t>(offset + buffer.size() - rest.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      return ErrnoStatus(n < 0 ? errno : EIO,
                         absl::StrCat("read of ", buffer.size(), " bytes at ", offset));
    }
    rest = rest.subspan(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

uint64_t MaxMapCount() {
  constexpr uint64_t kKernelDefault = 65530;
  const Descriptor descriptor(open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC));
  char text[32];
  const ssize_t n = descriptor.valid() ? read(descriptor.get(), text, sizeof(text)) : -1;
  uint64_t count = 0;
  if (n <= 0 || !absl::SimpleAtoi(absl::string_view(text, static_cast<size_t>(n)), &count)) {
    return kKernelDefault;
  }
  return count;
}

}  // namespace cow::os
