// A run of this process's address space: reserved, filled with maps of a file, given back.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cow::os {

enum class Protection { kRead, kReadWrite };

// Owner of a run of addresses; unmaps all of it when destroyed. Starts as anonymous memory that
// reads as zero and costs nothing until it is written (it is not accounted, so that ranges larger
// than memory can be reserved; vm.overcommit_memory=2 accounts for writable ones all the same).
// In a process that locks what it maps (mlockall with MCL_FUTURE) it is not locked: that would fill
// all of it at once. Who wants a part locked calls mlock(2) on it.
// Offsets are relative to data() and multiples of the page size, as are lengths.
// Not synchronised: one thread at a time, except for what threads do to the memory.
class AddressRange {
 public:
  // An empty range.
  AddressRange() = default;
  AddressRange(AddressRange&& other) noexcept;
  AddressRange& operator=(AddressRange&& other) noexcept;
  ~AddressRange();

  // `size` bytes at an address that is a multiple of `alignment` (a power of two). ENOMEM when
  // there is no such room, or it is more than a process that locks its memory may lock.
  static absl::StatusOr<AddressRange> Reserve(uint64_t size, uint64_t alignment, Protection);

  std::byte* data() const { return data_; }
  uint64_t size() const { return size_; }

  // Puts a private map of a file over a part: reads see the file, writes stay in this process.
  // What was locked by mlock(2) is locked again. After an error the part holds something undefined;
  // the range is of no use but to be destroyed.
  absl::Status MapFile(uint64_t at, uint64_t length, int descriptor, uint64_t file_offset,
                       Protection);
  // Reads a part's content from a file. The part must be writable. EIO where the file ends early.
  absl::Status ReadFile(uint64_t at, uint64_t length, int descriptor, uint64_t file_offset);

  absl::Status Protect(uint64_t at, uint64_t length, Protection);
  // Enters into the page tables what is there, as a read of each page would; better than one fault
  // a page. Does nothing where the kernel cannot. EFAULT when the file behind it cannot be read.
  absl::Status PopulateForReading(uint64_t at, uint64_t length);
  // Drops what was written: maps of a file read as the file again, the rest as zero. EINVAL for
  // locked memory before 5.18.
  absl::Status Drop(uint64_t at, uint64_t length);
  // Allows no access: SIGSEGV, EFAULT from system calls.
  absl::Status Forbid(uint64_t at, uint64_t length);
  // Children made by fork(2) do not get the part, as it is mapped by now.
  absl::Status KeepFromChildren(uint64_t at, uint64_t length);
  // Asks for 4 KiB pages only, in what is mapped by now. A hint.
  void AvoidHugePages(uint64_t at, uint64_t length);
  // Whether the process locks what it maps (mlockall with MCL_FUTURE), as of Reserve.
  bool locks() const { return locks_; }

 private:
  AddressRange(std::byte* data, uint64_t size) : data_(data), size_(size), owner_(getpid()) {}
  void Release();

  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
  bool locks_ = false;  // the process locks what it maps
  // The process that mapped it: in a child the addresses belong to somebody else.
  pid_t owner_ = 0;
};

// Waits until the page at `address` is there, as a load would, but without a signal where it cannot
// be read. Does nothing where the kernel cannot (before 5.14).
void TouchPage(const std::byte* address);

// Fills `buffer` from a file. EIO where the file ends early.
absl::Status ReadFrom(int descriptor, uint64_t offset, std::span<std::byte> buffer);

// How many maps the kernel lets one process have (vm.max_map_count).
uint64_t MaxMapCount();

}  // namespace cow::os
