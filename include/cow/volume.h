// A volume: one file of the host, or a piece of memory, that holds files and all their versions.
//
//   cow::Volume volume = cow::Volume::Open("app.cow", {.create = true}).value();
//   cow::File state = volume.CreateFile("/state", 8 * cow::kGiB).value();  // a hole: no space
//   cow::Mapping live = state.Map(cow::Access::kWrite).value();
//   live.bytes()[0] = std::byte{1};
//   cow::Snapshot before = state.TakeSnapshot("before").value();  // cost: what changed
//   live.bytes()[0] = std::byte{2};
//   cow::Mapping old = before.Map(cow::Access::kRead).value();    // old.bytes()[0] is 1
//   cow::File fork = volume.Clone(before, "/what-if").value();    // a new file
//   absl::Status durable = volume.Sync();                         // it survives a crash now
//
// Link with `find_package(cow)` and cow::cow, or `pkg-config cow`. The same volume can be mounted
// with cowfs and driven with cowctl while no process has it open for writing.
//
// Paths begin at the root of the volume: "/a/b"; a slash that is missing in front is added, and "."
// and ".." are refused. The last '@' of a component splits a snapshot from what it is of:
// "/state@before", "/data@monday/table"; snapshots of the root are under "/.snapshots/NAME". An
// entry that really has that name comes first; then snapshots of the file or tree that has the name
// now; then those of files that had it here and were removed, newest first. Symbolic links are not
// followed.
//
// Errors are values: nothing throws, and no bad argument, bad file, full or failing disk ends the
// process. Messages name the operation, the path, the cause, and what can be done. The codes, with
// the errno that belongs to each:
//   kNotFound (ENOENT), kAlreadyExists (EEXIST): of paths and names.
//   kInvalidArgument (EINVAL): a path or name that is none; kFailedPrecondition: ENOTDIR, EISDIR,
//     ENOTEMPTY, EBUSY (mapped for writing), EROFS (opened for reading, a snapshot, or see below).
//   kResourceExhausted (ENOSPC): the volume or the disk below it is full. Nothing was damaged.
//     Destroying snapshots and removing files works still.
//   kDataLoss (EIO): the disk does not give back what was written. Everything else stays readable.
// After a write or flush of the volume itself failed it is read-only until it is opened again, and
// Sync keeps failing with that first error: nothing that was not synced can be trusted to be there.
//
// Opening a volume switches Abseil's detection of deadlocks off for the whole process
// (absl::SetMutexDeadlockDetectionMode): where Abseil is built with it, as in Debian, it would cost
// as much as what the locks protect.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/entry.h"
#include "cow/file.h"
#include "cow/mapping.h"
#include "cow/snapshot.h"
#include "cow/statistics.h"
#include "cow/tree.h"
#include "cow/units.h"

namespace cow {

namespace core {
class VolumeState;
}

struct OpenOptions {
  bool create = false;     // make the volume if there is no file of that name
  bool exclusive = false;  // with `create`: there must be none
  bool read_only = false;  // any number of processes, beside one that writes; what they see is the
                           // state that was durable when they opened it
  uint64_t max_bytes = 0;  // of a volume that is made: limit of its file; 0: as large as the disk
  uint64_t cache_bytes = 64 * kMiB;  // memory for page-table nodes, most of it
  int commit_seconds = 5;  // what was written is durable after so long without a Sync; 0: never
};

struct MemoryOptions {
  uint64_t max_bytes = 0;  // limit of the memory for data and versions; 0: none
};

struct VolumeSpace {
  uint64_t total_bytes = 0;      // of the volume file now, or its limit where it has one
  uint64_t used_bytes = 0;       // data, page tables, and what waits to be freed
  uint64_t available_bytes = 0;  // that can be written yet
};

struct Damage {
  std::string where;  // "/data/table, page 12 (at byte 49152)", "/data/table@monday"
  std::string what;
};

struct CheckResult {
  std::vector<Damage> damages;  // none: the volume is sound. At most 1000
  uint64_t checked_bytes = 0;
};

struct RepairResult {
  uint64_t corrected_counts = 0;  // of references to frames, that were wrong
  uint64_t freed_bytes = 0;       // in use by nothing
  // Frames of names and page tables that cannot be read. What they refer to is not known; so, where
  // there are any, no count was touched: remove what is damaged (Check names it), and repair again.
  uint64_t lost_frames = 0;
};

struct ListOptions {
  bool recursive = false;  // also the snapshots of everything below the path
  bool space = false;      // fill in Entry::space; costs a look at each frame of each snapshot
};

// A handle of an open volume.
//
// Thread safety: all methods may be called from many threads. Lifetime: files, trees, snapshots and
// mappings keep the volume open; it is closed, and everything committed, when the last of them and
// this are gone. Call Sync before where an error matters. One that was moved from may only be
// assigned or destroyed. A child made by fork(2) must neither use nor destroy handles: it ends with
// exec(3) or _exit(2).
class Volume {
 public:
  // Opens the volume in file `path` of the host; one process at a time for writing: kUnavailable
  // (EBUSY) names the other. kNotFound (ENOENT), kAlreadyExists (EEXIST); kInvalidArgument (EINVAL)
  // when the file is no volume; kUnimplemented when it needs a newer version of cow.
  static absl::StatusOr<Volume> Open(std::string_view path, const OpenOptions& options = {});
  // A volume in memory, gone with its last handle.
  static absl::StatusOr<Volume> InMemory(const MemoryOptions& options = {});

  Volume(Volume&& other) noexcept;
  Volume& operator=(Volume&& other) noexcept;
  ~Volume();

  // Names. A new file reads as `size` zero bytes. Directories must be there: CreateDirectory.
  absl::StatusOr<File> CreateFile(std::string_view path, uint64_t size = 0);
  absl::StatusOr<File> OpenFile(std::string_view path);
  absl::StatusOr<Tree> CreateTree(std::string_view path);
  absl::StatusOr<Tree> OpenTree(std::string_view path);
  absl::Status CreateDirectory(std::string_view path);
  // A file, a link, or a directory or tree without entries. Snapshots of it stay.
  absl::Status Remove(std::string_view path);
  // Replaces a file at `to`, as rename(2) does; the snapshots of both stay.
  absl::Status Rename(std::string_view from, std::string_view to);
  // What is at a path, snapshots included ("/state@before").
  absl::StatusOr<Entry> Stat(std::string_view path, const ListOptions& options = {}) const;
  // The entries of a directory, by name.
  absl::StatusOr<std::vector<Entry>> List(std::string_view path) const;

  // Versions. A snapshot by the path of its head, which may be gone, and its name.
  absl::StatusOr<Snapshot> OpenSnapshot(std::string_view path, std::string_view name) const;
  // Snapshots of what is at `path`, by path, oldest first.
  absl::StatusOr<std::vector<Entry>> ListSnapshots(std::string_view path,
                                                   const ListOptions& options = {}) const;
  // A new file, or tree, that starts as what the source is now. It costs the same for any size, and
  // no more space than what is changed in it. A write mapping of `source` is sealed first.
  absl::StatusOr<File> Clone(const Snapshot& source, std::string_view path);
  absl::StatusOr<File> Clone(const File& source, std::string_view path);
  absl::StatusOr<Tree> CloneTree(const Snapshot& source, std::string_view path);
  absl::StatusOr<Tree> CloneTree(const Tree& source, std::string_view path);
  // The file or tree that `snapshot` belongs to becomes what the snapshot holds; newer snapshots
  // stay. What is replaced is kept: the result is a snapshot of it, named `rollback-TIME`. Costs
  // the same for any size. Files of a tree that were open and are not in the snapshot fail with
  // ESTALE.
  absl::StatusOr<Snapshot> RollBack(const Snapshot& snapshot);

  // Makes everything written, stored and taken before the call durable, write mappings included.
  // Callers that wait together share one flush. In memory: seals, and that is all.
  absl::Status Sync();
  // OK, or the error that made the volume read-only.
  absl::Status Health() const;
  VolumeSpace Space() const;
  // Cheap, at any time.
  VolumeStatistics Statistics() const;
  // Verifies every frame, count and name, as they are when it begins; reads, writes, snapshots and
  // all else go on meanwhile. Space that could be reached then is not used again before it ends.
  // `progress` is called by this thread after every little that was read, with bytes done and in
  // all; it may wait, to keep the check slow. Damage is a result; an error is that the check could
  // not run. One check or repair at a time: others wait for it.
  absl::StatusOr<CheckResult> Check(
      const std::function<void(uint64_t done, uint64_t all)>& progress = {}) const;
  // Mends what can be mended without guessing: counts of references, space that nothing uses. (A
  // copy of the superblock is made good when the volume is opened.) All else waits. kUnavailable
  // (EBUSY) while other processes read the volume. Memory: 4 bytes for each 4 KiB in use.
  absl::StatusOr<RepairResult> Repair(
      const std::function<void(uint64_t done, uint64_t all)>& progress = {});
  std::array<uint8_t, 16> Uuid() const;

 private:
  explicit Volume(std::shared_ptr<core::VolumeState> state);
  std::shared_ptr<core::VolumeState> state_;
};

}  // namespace cow
