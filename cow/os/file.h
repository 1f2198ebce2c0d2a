// The volume file as the store sees it: positioned reads and writes, flushes, space, locks.
//
// Everything the store does to the disk goes through this interface; it is what tests fake (to
// record writes, to fail at a chosen call, to lose what was not flushed).
//
// Thread safety: all methods may be called from many threads at once.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cow::os {

enum class LockKind { kShared, kExclusive };

class File {
 public:
  virtual ~File() = default;

  // Reads exactly `buffer.size()` bytes at `offset`; bytes past the end of the file read as zero.
  // Short transfers and EINTR are retried inside. EIO etc. come back with their errno.
  virtual absl::Status Read(uint64_t offset, std::span<std::byte> buffer) const = 0;

  // Writes all of `buffer` at `offset`. On an error an unknown part may have been written.
  virtual absl::Status Write(uint64_t offset, std::span<const std::byte> buffer) = 0;

  // Writes all of `buffers`, one after the other, at `offset`. Any number of buffers.
  virtual absl::Status WriteVector(uint64_t offset, std::span<const iovec> buffers) = 0;

  // Reads one run of the file into several buffers. As Read.
  virtual absl::Status ReadVector(uint64_t offset, std::span<const iovec> buffers) const = 0;

  // Makes everything written before the call durable (fdatasync).
  virtual absl::Status Flush() = 0;

  // Makes sure that [offset, offset + length) has space on the host, growing the file if needed;
  // what is there stays. ENOSPC when the host is full. Where the host cannot reserve: grows only.
  virtual absl::Status Allocate(uint64_t offset, uint64_t length) = 0;

  // Gives the space of a range back to the host; it reads as zero after. OK where the host cannot.
  virtual absl::Status Punch(uint64_t offset, uint64_t length) = 0;

  virtual absl::StatusOr<uint64_t> Size() const = 0;
  virtual absl::Status Resize(uint64_t size) = 0;
  // Bytes that the host has free for this file; 0 where it cannot be told.
  virtual absl::StatusOr<uint64_t> HostFreeBytes() const { return uint64_t{0}; }
  // Bytes the host spends on the file.
  virtual absl::StatusOr<uint64_t> AllocatedBytes() const = 0;

  // Open-file-description locks on single bytes of a lock space; they end with the descriptor, so
  // with the process. TryLock returns false where another description holds a conflicting lock.
  virtual absl::StatusOr<bool> TryLock(uint64_t byte, LockKind kind) = 0;
  virtual absl::Status Unlock(uint64_t byte) = 0;
  // Smallest locked byte in [begin, end) held by another description; nullopt when there is none.
  virtual absl::StatusOr<std::optional<uint64_t>> FirstLocked(uint64_t begin,
                                                              uint64_t end) const = 0;

  // Descriptor for mmap, sendfile, splice; -1 for a file that has none (some fakes).
  virtual int descriptor() const = 0;
  // Path for messages.
  virtual const std::string& name() const = 0;
};

enum class OpenMode {
  kRead,    // existing file, read only
  kWrite,   // existing file, read and write
  kCreate,  // new file, fails with EEXIST when there is one (mode 0600)
};

// A regular file (or block device) of the host.
absl::StatusOr<std::unique_ptr<File>> OpenFile(const std::string& path, OpenMode mode);

// An anonymous file in memory (memfd): Flush does nothing.
absl::StatusOr<std::unique_ptr<File>> OpenMemoryFile(const std::string& name);

}  // namespace cow::os
