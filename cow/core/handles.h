// What the public handles stand for. Each names the volume first, so that it is destroyed last.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "cow/base/status.h"
#include "cow/core/head.h"
#include "cow/core/volume_state.h"
#include "cow/file.h"
#include "cow/fs/filesystem.h"
#include "cow/snapshot.h"
#include "cow/tree.h"

namespace cow::core {

class FileState {
 public:
  // `path` is normal, and leads to `id`.
  static absl::StatusOr<File> Open(std::shared_ptr<VolumeState> volume, const fs::NodeId& id,
                                   std::string path);
  static const FileState& Of(const File& file) { return *file.state_; }

  FileState(std::shared_ptr<VolumeState> volume, fs::FileHandle handle, std::string path);

  const std::shared_ptr<VolumeState> volume;
  const std::string path;
  const std::shared_ptr<fs::FileHandle> handle;
  const bool read_only;
  const std::shared_ptr<Head> head;  // none where read_only

  // Seals the write mapping, where there is one.
  absl::Status Seal() const { return head == nullptr ? absl::OkStatus() : head->Seal(); }

  // What is done to the number of the file is done to this file. kNotFound (ESTALE) where the
  // number stands for another one now. Good while mapping_mu is held.
  absl::Status CheckNumber() const;
};

class TreeState {
 public:
  static Tree Open(std::shared_ptr<VolumeState> volume, const fs::NodeId& root, std::string path) {
    return Tree(std::make_shared<TreeState>(std::move(volume), root, std::move(path)));
  }
  static const TreeState& Of(const Tree& tree) { return *tree.state_; }

  TreeState(std::shared_ptr<VolumeState> volume, const fs::NodeId& root, std::string path)
      : volume(std::move(volume)), root(root), path(std::move(path)) {}

  bool read_only() const { return volume->read_only() || root.in_snapshot(); }
  absl::Status Seal() const { return read_only() ? absl::OkStatus() : volume->SealTree(root.tree); }
  absl::Status CheckNumber() const { return absl::OkStatus(); }  // those of trees are used once

  const std::shared_ptr<VolumeState> volume;
  const fs::NodeId root;
  const std::string path;
};

class SnapshotState {
 public:
  // `path`: of the head.
  static absl::StatusOr<Snapshot> Open(std::shared_ptr<VolumeState> volume, fs::SnapshotInfo info,
                                       std::string path);
  static const SnapshotState& Of(const Snapshot& snapshot) { return *snapshot.state_; }

  SnapshotState(std::shared_ptr<VolumeState> volume, fs::SnapshotInfo info, std::string path,
                std::shared_ptr<fs::FileHandle> handle);

  // Fails for snapshots of trees.
  absl::Status CheckIsOfFile(std::string_view operation) const;
  // For messages: "/state@before".
  std::string Label() const;

  const std::shared_ptr<VolumeState> volume;
  const fs::SnapshotInfo info;  // but for its name, which changes
  const std::string path;
  const std::shared_ptr<fs::FileHandle> handle;  // of files

  std::string name() const {
    absl::ReaderMutexLock lock(&mu_);
    return name_;
  }
  void set_name(std::string name) {
    absl::MutexLock lock(&mu_);
    name_ = std::move(name);
  }

 private:
  mutable absl::Mutex mu_;
  std::string name_ ABSL_GUARDED_BY(mu_);
};

// Takes a snapshot of `id`, the file or tree of `handle`, in which all that was stored before is.
template <typename State>
absl::StatusOr<Snapshot> TakeSnapshot(const State& handle, const fs::NodeId& id,
                                      std::string_view name) {
  const auto take = [&]() -> absl::StatusOr<Snapshot> {
    COW_RETURN_IF_ERROR(handle.volume->CheckWritable());
    COW_RETURN_IF_ERROR(handle.Seal());
    absl::ReaderMutexLock same_file(&handle.volume->mapping_mu());
    COW_RETURN_IF_ERROR(handle.CheckNumber());
    COW_ASSIGN_OR_RETURN(fs::SnapshotInfo info, handle.volume->filesystem().TakeSnapshot(id, name));
    return SnapshotState::Open(handle.volume, std::move(info), handle.path);
  };
  absl::StatusOr<Snapshot> snapshot = take();
  if (!snapshot.ok()) {
    return Explain(snapshot.status(), "take snapshot", SnapshotLabel(handle.path, name));
  }
  return snapshot;
}

absl::StatusOr<Snapshot> OpenSnapshot(const std::shared_ptr<VolumeState>& volume,
                                      const fs::NodeId& head, const std::string& path,
                                      std::string_view name);

// Entries, in entries.cc.

// The path by which the head of a snapshot is found, now or, where it was removed, again.
absl::StatusOr<std::string> HeadPath(VolumeState& volume, const fs::SnapshotInfo& info);

absl::StatusOr<Entry> EntryOf(VolumeState& volume, const fs::SnapshotInfo& info,
                              const std::string& path, bool space);
absl::StatusOr<Entry> EntryAt(VolumeState& volume, const std::string& path, bool space);
// As ListSnapshots of File and Tree.
absl::StatusOr<std::vector<Entry>> ListSnapshots(VolumeState& volume, const fs::NodeId& head,
                                                 const std::string& path);
// The snapshots of one head.
absl::StatusOr<std::vector<Entry>> SnapshotsOf(VolumeState& volume, const fs::NodeId& head,
                                               const std::string& path, bool space);
absl::StatusOr<std::vector<Entry>> SnapshotsAt(VolumeState& volume, const std::string& path,
                                               const ListOptions& options);
absl::StatusOr<std::vector<Entry>> DirectoryAt(VolumeState& volume, const std::string& path);

}  // namespace cow::core
