// A file in a volume: bytes that are read, written, mapped, and kept as they were.
//
//   cow::File log = volume.CreateFile("/log").value();
//   absl::Status written = log.Write(log.size(), line);        // grows as needed
//   cow::Snapshot monday = log.TakeSnapshot("monday").value();
//   cow::Mapping live = log.Map(cow::Access::kWrite).value();  // see cow/mapping.h
//   for (const cow::Entry& entry : log.ListSnapshots().value()) {
//     Show(entry.snapshot, entry.created);
//   }
//
// A file that lies in a snapshot ("/log@monday", "/data@monday/log") opens as well; it is
// read_only().
//
// Units: bytes. Offsets are below 2^52. Writes in multiples of 4 KiB at multiples of 4 KiB are the
// fastest: they read nothing.
//
// Errors of all methods that change the file: kFailedPrecondition (EROFS) when it is read_only() or
// the volume has failed; kFailedPrecondition (EBUSY) while it is mapped for writing;
// kResourceExhausted (ENOSPC) when the volume or its host is full; kOutOfRange (EFBIG) beyond 2^52;
// kNotFound (ESTALE) when a rollback of its tree took the file away. Of all methods that read:
// kDataLoss (EIO) where the disk does not give back what was written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/entry.h"
#include "cow/mapping.h"
#include "cow/snapshot.h"

namespace cow {

namespace core {
class FileState;
}

struct DefragmentOptions {
  // Move what snapshots and clones share with the file as well: it takes as much space again, which
  // is theirs alone then.
  bool unshare = false;
  // Called by the calling thread with the bytes of the file looked at so far, and in all.
  std::function<void(uint64_t done, uint64_t total)> progress = {};
};

struct DefragmentResult {
  uint64_t extents_before = 0;  // of the file: runs of pages that lie one after the other
  uint64_t extents_after = 0;
  uint64_t moved_bytes = 0;
  uint64_t shared_bytes = 0;  // scattered, and left where they are as others share them
};

// A handle of an open file. The file can be renamed and removed meanwhile; a removed file lives
// until its last handle and mapping are gone.
//
// Thread safety: all methods may be called from many threads. Readers wait for no writer's I/O; a
// read beside a write of the same bytes sees old ones, new ones or both, as read(2) does. Lifetime:
// keeps open what it needs of the volume; destroy handles in any order. One that was moved from may
// only be assigned or destroyed.
class File {
 public:
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  // The path it was opened by.
  const std::string& path() const;
  // It is, or lies in, a snapshot, or the volume was opened for reading.
  bool read_only() const;
  uint64_t size() const;

  // Reads up to buffer.size() bytes at `offset` and returns how many: fewer only at the end of the
  // file. Holes read as zero. Of a file that is mapped for writing: as of the last seal.
  absl::StatusOr<size_t> Read(uint64_t offset, std::span<std::byte> buffer) const;

  // Writes all of `bytes` at `offset`, growing the file as needed. They must not change during the
  // call. After an error a part may have been written.
  absl::Status Write(uint64_t offset, std::span<const std::byte> bytes);

  // Sets the size. What is cut off is freed; what is added is a hole and reads as zero.
  absl::Status Truncate(uint64_t size);

  // Makes [offset, offset + length) read as zero and frees the whole pages in it. The size stays,
  // and what of the range lies beyond it does not count; length 0 changes nothing.
  absl::Status Punch(uint64_t offset, uint64_t length);

  // Writes what lies scattered in the volume anew, in extents of 1 MiB where free space has such; so
  // reading it in order, and mapping it, takes fewer steps. Its content stays, and what it shares
  // with snapshots and clones stays shared, unless that is asked for. What others do with the file
  // meanwhile is as without it. Where free space is scattered too, a second call finds what the
  // first has freed. Costs reading and writing what is moved, and the space for 4 MiB of it at a
  // time; `unshare` also that of what is moved. An error leaves what was done so far.
  absl::StatusOr<DefragmentResult> Defragment(const DefragmentOptions& options = {});

  // The file as memory. kWrite: the file itself, see cow/mapping.h. kRead and kScratch: the file as
  // it is at the call, whatever is written to it later. Costs the verification of frames that are
  // not known good; kWrite also reads all of the file's data into the kernel's cache.
  // kInvalidArgument (EINVAL) for size 0; kResourceExhausted (ENOMEM) when the process has too many
  // maps or too little memory.
  absl::StatusOr<Mapping> Map(Access access);

  // Keeps the file as it is now under a name. A write mapping is sealed first; so the snapshot
  // holds everything that was written or stored before the call. The rest costs the same for any
  // size and any number of snapshots. kAlreadyExists (EEXIST) when it has a snapshot of that name;
  // kInvalidArgument (EINVAL) for a name that is none: 1 to 255 bytes without '/' and '@'; kNotFound
  // (ENOENT, ESTALE) when the file was removed, also where a rollback brought another state of it
  // back.
  absl::StatusOr<Snapshot> TakeSnapshot(std::string_view name);

  // kNotFound (ENOENT) when it has none of that name.
  absl::StatusOr<Snapshot> OpenSnapshot(std::string_view name) const;

  // Its snapshots, oldest first.
  absl::StatusOr<std::vector<Entry>> ListSnapshots() const;

 private:
  friend class core::FileState;
  explicit File(std::shared_ptr<core::FileState> state);
  std::shared_ptr<core::FileState> state_;
};

}  // namespace cow
