// A tree: a directory whose files are snapshotted, cloned and rolled back together.
//
//   cow::Tree data = volume.CreateTree("/data").value();
//   cow::File table = volume.CreateFile("/data/table").value();
//   cow::Snapshot monday = data.TakeSnapshot("monday").value();  // all files, as one instant
//   cow::File old = volume.OpenFile("/data@monday/table").value();
//   cow::Tree copy = volume.CloneTree(monday, "/trial").value();
//   cow::Snapshot replaced = volume.RollBack(monday).value();
//
// The volume's root is a tree as well: volume.OpenTree("/"). A tree within a tree is not part of
// the outer one's snapshots. Files are not renamed from one tree into another (EXDEV): clone them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/entry.h"
#include "cow/snapshot.h"

namespace cow {

namespace core {
class TreeState;
}

// A handle of a tree.
//
// Thread safety: all methods may be called from many threads. Lifetime: keeps open what it needs of
// the volume; destroy handles in any order. One that was moved from may only be assigned or
// destroyed.
class Tree {
 public:
  Tree(Tree&& other) noexcept;
  Tree& operator=(Tree&& other) noexcept;
  ~Tree();

  // The path it was opened by.
  const std::string& path() const;
  // It is a snapshot ("/data@monday"), or the volume was opened for reading.
  bool read_only() const;

  // Keeps all of the tree as it is now under a name. It holds everything that was written to any of
  // its files before the call, as one instant; files that are mapped for writing are sealed first,
  // one after the other. The rest costs the same for any size, any number of files and of
  // snapshots. kAlreadyExists (EEXIST) when it has a snapshot of that name; kInvalidArgument
  // (EINVAL) for a name that is none: 1 to 255 bytes without '/' and '@'; kFailedPrecondition
  // (EROFS) when it is read_only(); kResourceExhausted (ENOSPC) when the volume is full.
  absl::StatusOr<Snapshot> TakeSnapshot(std::string_view name);

  // kNotFound (ENOENT) when it has none of that name.
  absl::StatusOr<Snapshot> OpenSnapshot(std::string_view name) const;

  // Its own snapshots, oldest first; not those of its files.
  absl::StatusOr<std::vector<Entry>> ListSnapshots() const;

 private:
  friend class core::TreeState;
  explicit Tree(std::shared_ptr<core::TreeState> state);
  std::shared_ptr<core::TreeState> state_;
};

}  // namespace cow
