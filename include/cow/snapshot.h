// A named version of a file or of a tree: it never changes, and it costs what has changed since.
//
//   cow::Snapshot before = state.TakeSnapshot("before").value();
//   ... the file goes on changing ...
//   std::vector<std::byte> page(4096);
//   size_t count = before.Read(0, page).value();                   // as it was
//   cow::Mapping old = before.Map(cow::Access::kRead).value();     // the same, as a pointer
//   cow::Mapping trial = before.Map(cow::Access::kScratch).value();  // to write on, and forget
//   cow::Snapshot replaced = volume.RollBack(before).value();      // the file is as it was
//   absl::Status gone = before.Destroy();
//
// A snapshot belongs to the file or tree it was taken of: it moves with it when that is renamed,
// and stays when that is removed. It is there at once and survives a crash after the next
// Volume::Sync, or a few seconds later.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/entry.h"
#include "cow/mapping.h"

namespace cow {

namespace core {
class SnapshotState;
}

// A handle of a snapshot. It goes on reading after the snapshot was destroyed, by this handle or in
// any other way; its frames are freed when the last handle and mapping of it are gone.
//
// Thread safety: all methods may be called from many threads. Lifetime: keeps open what it needs of
// the volume; destroy handles in any order. One that was moved from may only be assigned or
// destroyed.
class Snapshot {
 public:
  Snapshot(Snapshot&& other) noexcept;
  Snapshot& operator=(Snapshot&& other) noexcept;
  ~Snapshot();

  // Its name now.
  std::string name() const;
  // Of the head, when this handle was made.
  const std::string& path() const;
  // Of a tree, not of a file. Such a snapshot has no bytes: Read and Map fail, kFailedPrecondition
  // (EISDIR). Open what is in it by path: volume.OpenFile("/data@monday/table").
  bool is_tree() const;
  // Of the file, in bytes; 0 for a tree.
  uint64_t size() const;
  // When it was taken.
  std::chrono::system_clock::time_point time() const;

  // Reads up to buffer.size() bytes at `offset` and returns how many: fewer only at the end of the
  // file. kDataLoss (EIO) where the disk does not give back what was written: never wrong data.
  absl::StatusOr<size_t> Read(uint64_t offset, std::span<std::byte> buffer) const;

  // The snapshot as memory: kRead, or kScratch to write on it privately; any number of either.
  // Every frame that is not known good is verified first. kFailedPrecondition (EROFS) for kWrite:
  // clone it, and map the clone. kInvalidArgument (EINVAL) for size 0. kResourceExhausted (ENOMEM)
  // when the process has too many maps or too little memory. kDataLoss (EIO) as Read.
  absl::StatusOr<Mapping> Map(Access access) const;

  // Bytes it can reach, and those that only it holds. Costs a look at each of its frames.
  absl::StatusOr<SpaceUse> Space() const;

  // Gives it another name. kInvalidArgument (EINVAL) for a name that is none: 1 to 255 bytes
  // without '/' and '@'. kAlreadyExists (EEXIST); kNotFound (ENOENT) when it was destroyed.
  absl::Status Rename(std::string_view name);

  // Destroys it, at once; its frames are freed in the background, in bounded steps, and that goes
  // on after a crash. kNotFound (ENOENT) when it was destroyed before.
  //
  // This and Rename: kFailedPrecondition (EROFS) in a volume that was opened for reading.
  absl::Status Destroy();

 private:
  friend class core::SnapshotState;
  explicit Snapshot(std::shared_ptr<core::SnapshotState> state);
  std::shared_ptr<core::SnapshotState> state_;
};

}  // namespace cow
