#include "cow/os/pagemap.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "cow/base/status.h"
#include "cow/base/types.h"
#include "cow/os/kernel_abi.h"

namespace cow::os {
namespace {

void Append(MemoryRuns& runs, std::span<std::byte> run) {
  if (!runs.empty() && runs.back().data() + runs.back().size() == run.data()) {
    runs.back() = {runs.back().data(), runs.back().size() + run.size()};
  } else {
    runs.push_back(run);
  }
}

abi::ScanArgument ScanOf(std::span<std::byte> range) {
  abi::ScanArgument argument{};
  argument.size = sizeof(argument);
  argument.flags = abi::kScanWpMatching | abi::kScanCheckWpAsync;
  argument.start = reinterpret_cast<uint64_t>(range.data());
  argument.end = argument.start + range.size();
  return argument;
}

// Moves `argument` on to what the last call left. A scan that does not get on must not spin.
absl::Status Continue(abi::ScanArgument& argument) {
  if (argument.walk_end <= argument.start) return absl::InternalError("scan of pages is stuck");
  argument.start = argument.walk_end;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Pagemap> Pagemap::Open() {
  Descriptor descriptor(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!descriptor.valid()) return ErrnoStatus(errno, "/proc/self/pagemap: open");
  return Pagemap(std::move(descriptor));
}

absl::Status Pagemap::Protect(std::span<std::byte> range) const {
  abi::ScanArgument argument = ScanOf(range);
  while (argument.start < argument.end) {
    if (ioctl(descriptor_.get(), abi::kPagemapScan, &argument) < 0) {
      return ErrnoStatus(errno, "protecting pages");
    }
    COW_RETURN_IF_ERROR(Continue(argument));
  }
  return absl::OkStatus();
}

absl::Status Pagemap::TakeWritten(std::span<std::byte> range, MemoryRuns& written,
                                  MemoryRuns& zeros) const {
  constexpr size_t kRegions = 1024;
  std::vector<abi::PageRegion> regions(kRegions);
  abi::ScanArgument argument = ScanOf(range);
  argument.vec = reinterpret_cast<uint64_t>(regions.data());
  argument.vec_len = kRegions;
  // A mask of "written" alone would take a faster path in the kernel, on which unpopulated pages
  // that were never protected count as written. Asking for populated ones keeps holes out, so that
  // they need neither protection nor page tables beforehand; it costs 0.25 ns a page more. Asking
  // whether a page is one of a file would cost 45 ns, a look at the kernel's record of each page.
  argument.category_mask = abi::kPageIsWritten;
  argument.category_anyof_mask = abi::kPageIsPresent | abi::kPageIsSwapped;
  argument.return_mask = abi::kPageIsWritten | abi::kPageIsPfnZero;
  while (argument.start < argument.end) {
    const int count = ioctl(descriptor_.get(), abi::kPagemapScan, &argument);
    if (count < 0) return ErrnoStatus(errno, "scanning for written pages");
    for (int i = 0; i < count; ++i) {
      const bool zero = (regions[i].categories & abi::kPageIsPfnZero) != 0;
      Append(zero ? zeros : written, {reinterpret_cast<std::byte*>(regions[i].start),
                                      static_cast<size_t>(regions[i].end - regions[i].start)});
    }
    COW_RETURN_IF_ERROR(Continue(argument));
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> Pagemap::ReadEntries(const std::byte* page,
                                            std::span<uint64_t> entries) const {
  const uint64_t first = reinterpret_cast<uint64_t>(page) / kPageSize;
  for (;;) {
    const ssize_t n = pread(descriptor_.get(), entries.data(), entries.size_bytes(),
                            static_cast<off_t>(first * sizeof(uint64_t)));
    if (n < 0 && errno == EINTR) continue;
    if (n < static_cast<ssize_t>(sizeof(uint64_t))) {
      return ErrnoStatus(n < 0 ? errno : EIO, "/proc/self/pagemap: read");
    }
    return static_cast<size_t>(n) / sizeof(uint64_t);
  }
}

absl::StatusOr<uint64_t> Pagemap::ReadInAndLook(std::byte* page) const {
  constexpr int kTries = 1000;  // each time it may be pushed out again
  for (int i = 0; i < kTries; ++i) {
    if (madvise(page, kPageSize, MADV_POPULATE_READ) != 0 && errno != EINTR && errno != EAGAIN) {
      return ErrnoStatus(errno, "reading in a page of a mapping");
    }
    uint64_t entry = 0;
    COW_RETURN_IF_ERROR(ReadEntries(page, std::span(&entry, 1)).status());
    if ((entry & abi::kEntrySwapped) == 0) return entry;
  }
  return ErrnoStatus(EAGAIN, "a page of a mapping does not stay in memory");
}

absl::Status Pagemap::FindPrivate(std::span<std::byte> range, MemoryRuns& found) const {
  constexpr size_t kEntries = 8192;
  constexpr uint64_t kProtectedAndAway = abi::kEntrySwapped | abi::kEntryWriteProtected;
  std::vector<uint64_t> entries(std::min<size_t>(kEntries, range.size() / kPageSize));
  while (!range.empty()) {
    const size_t wanted = std::min<size_t>(entries.size(), range.size() / kPageSize);
    COW_ASSIGN_OR_RETURN(const size_t count,
                         ReadEntries(range.data(), std::span(entries).first(wanted)));
    for (size_t i = 0; i < count; ++i) {
      const std::span<std::byte> page = range.subspan(i * kPageSize, kPageSize);
      uint64_t entry = entries[i];
      // Either swapped out, or a page of the file that is not populated and protected all the same:
      // the kernel's marker for that looks like swap.
      if ((entry & kProtectedAndAway) == kProtectedAndAway) {
        COW_ASSIGN_OR_RETURN(entry, ReadInAndLook(page.data()));
      }
      // A page under migration reads as swapped; one of a file says so there too.
      const bool populated = (entry & (abi::kEntryPresent | abi::kEntrySwapped)) != 0;
      if (populated && (entry & abi::kEntryFile) == 0) Append(found, page);
    }
    range = range.subspan(count * kPageSize);
  }
  return absl::OkStatus();
}

}  // namespace cow::os
