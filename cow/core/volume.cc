#include "cow/volume.h"

#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/core/handles.h"
#include "cow/fs/statistics.h"

namespace cow {

using core::Explain;
using core::FileState;
using core::Normal;
using core::SnapshotState;
using core::TreeState;
using core::VolumeState;

namespace {

// Runs `operation` with `path` made normal; errors say what was tried on what.
template <typename Operation>
auto AtPath(std::string_view name, std::string_view path, Operation operation)
    -> decltype(operation(std::string())) {
  absl::StatusOr<std::string> normal = Normal(path);
  if (!normal.ok()) return Explain(normal.status(), name, path);
  auto result = operation(*normal);
  if constexpr (std::is_same_v<decltype(result), absl::Status>) {
    return Explain(result, name, *normal);
  } else {
    if (!result.ok()) return Explain(result.status(), name, *normal);
    return result;
  }
}

fs::NewNode New(fs::FileType type) {
  return {.type = type,
          .mode = type == fs::FileType::kDirectory ? 0755u : 0644u,
          .uid = geteuid(),
          .gid = getegid()};
}

absl::StatusOr<fs::Node> MakeAt(fs::FileSystem& filesystem, const std::string& path,
                                fs::FileType type) {
  COW_ASSIGN_OR_RETURN(const auto place, filesystem.ResolveParent(path));
  return filesystem.Make(place.first, place.second, New(type));
}

// The name of the file is visible by now: what others wrote to it stays, and so does its size once
// they have mapped it (EBUSY).
absl::Status GrowNew(const FileState& file, uint64_t size) {
  if (size == 0) return absl::OkStatus();
  return file.head->ChangeAlone(
      [&] { return file.handle->size() < size ? file.handle->Truncate(size) : absl::OkStatus(); });
}

// The clone of `source`, which has been sealed, at `path`.
absl::StatusOr<fs::Node> CloneTo(fs::FileSystem& filesystem, const fs::NodeId& source,
                                 const std::string& path) {
  COW_ASSIGN_OR_RETURN(const auto place, filesystem.ResolveParent(path));
  return filesystem.Clone(source, place.first, place.second);
}

absl::Status SameVolume(const VolumeState& volume, const VolumeState& source) {
  if (&volume == &source) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, EXDEV, "the source is in another volume");
}

}  // namespace

Volume::Volume(std::shared_ptr<VolumeState> state) : state_(std::move(state)) {}
Volume::Volume(Volume&& other) noexcept = default;
Volume& Volume::operator=(Volume&& other) noexcept = default;
Volume::~Volume() = default;

absl::StatusOr<Volume> Volume::Open(std::string_view path, const OpenOptions& options) {
  COW_ASSIGN_OR_RETURN(auto state, VolumeState::Open(path, options));
  return Volume(std::move(state));
}

absl::StatusOr<Volume> Volume::InMemory(const MemoryOptions& options) {
  COW_ASSIGN_OR_RETURN(auto state, VolumeState::InMemory(options));
  return Volume(std::move(state));
}

absl::StatusOr<File> Volume::CreateFile(std::string_view path, uint64_t size) {
  return AtPath("create", path, [&](const std::string& at) -> absl::StatusOr<File> {
    COW_RETURN_IF_ERROR(state_->CheckWritable());
    COW_ASSIGN_OR_RETURN(const fs::Node node,
                         MakeAt(state_->filesystem(), at, fs::FileType::kRegular));
    COW_ASSIGN_OR_RETURN(File file, FileState::Open(state_, node.id, at));
    if (absl::Status grown = GrowNew(FileState::Of(file), size); !grown.ok()) {
      // Unless somebody has mapped it already.
      if (ErrnoOf(grown) != EBUSY) Remove(at).IgnoreError();
      return grown;
    }
    return file;
  });
}

absl::StatusOr<File> Volume::OpenFile(std::string_view path) {
  return AtPath("open", path, [&](const std::string& at) -> absl::StatusOr<File> {
    COW_ASSIGN_OR_RETURN(const fs::Node node, state_->filesystem().Resolve(at));
    return FileState::Open(state_, node.id, at);
  });
}

absl::StatusOr<Tree> Volume::CreateTree(std::string_view path) {
  return AtPath("create tree", path, [&](const std::string& at) -> absl::StatusOr<Tree> {
    COW_RETURN_IF_ERROR(state_->CheckWritable());
    fs::FileSystem& filesystem = state_->filesystem();
    COW_ASSIGN_OR_RETURN(const auto place, filesystem.ResolveParent(at));
    COW_ASSIGN_OR_RETURN(const fs::Node root, filesystem.CreateTree(place.first, place.second,
                                                                    New(fs::FileType::kDirectory)));
    return TreeState::Open(state_, root.id, at);
  });
}

absl::StatusOr<Tree> Volume::OpenTree(std::string_view path) {
  return AtPath("open tree", path, [&](const std::string& at) -> absl::StatusOr<Tree> {
    COW_ASSIGN_OR_RETURN(const fs::Node node, state_->filesystem().Resolve(at));
    if (node.attributes.type != fs::FileType::kDirectory) {
      return MakeError(absl::StatusCode::kFailedPrecondition, ENOTDIR, "not a directory");
    }
    if (!node.attributes.tree_root) {
      return MakeError(absl::StatusCode::kFailedPrecondition, EINVAL,
                       "a directory, but not the root of a tree; make one with CreateTree");
    }
    return TreeState::Open(state_, node.id, at);
  });
}

absl::Status Volume::CreateDirectory(std::string_view path) {
  return AtPath("create directory", path, [&](const std::string& at) -> absl::Status {
    COW_RETURN_IF_ERROR(state_->CheckWritable());
    return MakeAt(state_->filesystem(), at, fs::FileType::kDirectory).status();
  });
}

absl::Status Volume::Remove(std::string_view path) {
  return AtPath("remove", path, [&](const std::string& at) -> absl::Status {
    COW_RETURN_IF_ERROR(state_->CheckWritable());
    fs::FileSystem& filesystem = state_->filesystem();
    COW_ASSIGN_OR_RETURN(const auto place, filesystem.ResolveParent(at));
    COW_ASSIGN_OR_RETURN(const fs::Node node, filesystem.Lookup(place.first, place.second));
    if (node.attributes.type == fs::FileType::kDirectory) {
      return filesystem.RemoveDirectory(place.first, place.second);
    }
    return filesystem.Unlink(place.first, place.second);
  });
}

absl::Status Volume::Rename(std::string_view from, std::string_view to) {
  return AtPath("rename", from, [&](const std::string& source) -> absl::Status {
    COW_RETURN_IF_ERROR(state_->CheckWritable());
    fs::FileSystem& filesystem = state_->filesystem();
    COW_ASSIGN_OR_RETURN(const auto old_place, filesystem.ResolveParent(source));
    const auto rename = [&]() -> absl::Status {
      COW_ASSIGN_OR_RETURN(const std::string target, Normal(to));
      COW_ASSIGN_OR_RETURN(const auto new_place, filesystem.ResolveParent(target));
      return filesystem.Rename(old_place.first, old_place.second, new_place.first,
                               new_place.second);
    };
    return Annotate(rename(), absl::StrCat("to ", absl::string_view(to.data(), to.size())));
  });
}

absl::StatusOr<Entry> Volume::Stat(std::string_view path, const ListOptions& options) const {
  return AtPath("stat", path,
                [&](const std::string& at) { return core::EntryAt(*state_, at, options.space); });
}

absl::StatusOr<std::vector<Entry>> Volume::List(std::string_view path) const {
  return AtPath("list", path,
                [&](const std::string& at) { return core::DirectoryAt(*state_, at); });
}

absl::StatusOr<Snapshot> Volume::OpenSnapshot(std::string_view path, std::string_view name) const {
  return AtPath("open snapshot", core::SnapshotLabel(path, name),
                [&](const std::string&) -> absl::StatusOr<Snapshot> {
                  COW_ASSIGN_OR_RETURN(const std::string at, Normal(path));
                  COW_ASSIGN_OR_RETURN(fs::SnapshotInfo info,
                                       state_->filesystem().FindSnapshot(at, name));
                  return SnapshotState::Open(state_, std::move(info), at);
                });
}

absl::StatusOr<std::vector<Entry>> Volume::ListSnapshots(std::string_view path,
                                                         const ListOptions& options) const {
  return AtPath("list snapshots of", path,
                [&](const std::string& at) { return core::SnapshotsAt(*state_, at, options); });
}

absl::StatusOr<File> Volume::Clone(const Snapshot& source, std::string_view path) {
  return AtPath("clone to", path, [&](const std::string& at) -> absl::StatusOr<File> {
    const SnapshotState& snapshot = SnapshotState::Of(source);
    COW_RETURN_IF_ERROR(SameVolume(*state_, *snapshot.volume));
    COW_RETURN_IF_ERROR(state_->CheckWritable());
    if (snapshot.info.of_tree) {
      return MakeError(absl::StatusCode::kFailedPrecondition, EISDIR,
                       "the snapshot is of a tree; use CloneTree");
    }
    COW_ASSIGN_OR_RETURN(const fs::Node node,
                         CloneTo(state_->filesystem(), snapshot.info.node, at));
    return FileState::Open(state_, node.id, at);
  });
}

absl::StatusOr<File> Volume::Clone(const File& source, std::string_view path) {
  return AtPath("clone to", path, [&](const std::string& at) -> absl::StatusOr<File> {
    const FileState& file = FileState::Of(source);
    COW_RETURN_IF_ERROR(SameVolume(*state_, *file.volume));
    COW_RETURN_IF_ERROR(state_->CheckWritable());
    COW_RETURN_IF_ERROR(file.Seal());
    absl::ReaderMutexLock same_file(&state_->mapping_mu());
    COW_RETURN_IF_ERROR(file.CheckNumber());
    COW_ASSIGN_OR_RETURN(const fs::Node node, CloneTo(state_->filesystem(), file.handle->id(), at));
    return FileState::Open(state_, node.id, at);
  });
}

absl::StatusOr<Tree> Volume::CloneTree(const Snapshot& source, std::string_view path) {
  return AtPath("clone tree to", path, [&](const std::string& at) -> absl::StatusOr<Tree> {
    const SnapshotState& snapshot = SnapshotState::Of(source);
    COW_RETURN_IF_ERROR(SameVolume(*state_, *snapshot.volume));
    COW_RETURN_IF_ERROR(state_->CheckWritable());
    if (!snapshot.info.of_tree) {
      return MakeError(absl::StatusCode::kFailedPrecondition, ENOTDIR,
                       "the snapshot is of a file; use Clone");
    }
    COW_ASSIGN_OR_RETURN(const fs::Node root,
                         CloneTo(state_->filesystem(), snapshot.info.node, at));
    return TreeState::Open(state_, root.id, at);
  });
}

absl::StatusOr<Tree> Volume::CloneTree(const Tree& source, std::string_view path) {
  return AtPath("clone tree to", path, [&](const std::string& at) -> absl::StatusOr<Tree> {
    const TreeState& tree = TreeState::Of(source);
    COW_RETURN_IF_ERROR(SameVolume(*state_, *tree.volume));
    COW_RETURN_IF_ERROR(state_->CheckWritable());
    COW_RETURN_IF_ERROR(tree.Seal());
    COW_ASSIGN_OR_RETURN(const fs::Node root, CloneTo(state_->filesystem(), tree.root, at));
    return TreeState::Open(state_, root.id, at);
  });
}

absl::StatusOr<Snapshot> Volume::RollBack(const Snapshot& snapshot) {
  const SnapshotState& source = SnapshotState::Of(snapshot);
  return AtPath("roll back to", source.Label(),
                [&](const std::string&) -> absl::StatusOr<Snapshot> {
                  COW_RETURN_IF_ERROR(SameVolume(*state_, *source.volume));
                  COW_RETURN_IF_ERROR(state_->CheckWritable());
                  COW_ASSIGN_OR_RETURN(fs::SnapshotInfo kept, state_->RollBack(source.info));
                  return SnapshotState::Open(state_, std::move(kept), source.path);
                });
}

absl::Status Volume::Sync() {
  absl::Status sealed = state_->SealAll();
  absl::Status committed = state_->filesystem().Sync();
  if (!committed.ok()) return Annotate(committed, "sync");
  return Annotate(sealed, "sync");
}

absl::Status Volume::Health() const { return state_->store().health(); }

VolumeSpace Volume::Space() const {
  const fs::VolumeSpace space = state_->filesystem().StatFs();
  return {.total_bytes = space.total_bytes,
          .used_bytes = space.used_bytes,
          .available_bytes = space.available_bytes};
}

VolumeStatistics Volume::Statistics() const {
  return fs::StatisticsOf<VolumeStatistics>(state_->store());
}

absl::StatusOr<CheckResult> Volume::Check(
    const std::function<void(uint64_t done, uint64_t all)>& progress) const {
  const auto in_bytes = [&progress](uint64_t done, uint64_t all) {
    if (progress) progress(done * kPageSize, all * kPageSize);
    return true;
  };
  COW_ASSIGN_OR_RETURN(fs::CheckResult checked, state_->filesystem().Check(in_bytes));
  CheckResult result;
  result.checked_bytes = checked.frames_checked * kPageSize;
  for (fs::Damage& damage : checked.damages) {
    result.damages.push_back({std::move(damage.where), std::move(damage.what)});
  }
  return result;
}

absl::StatusOr<RepairResult> Volume::Repair(
    const std::function<void(uint64_t done, uint64_t all)>& progress) {
  COW_RETURN_IF_ERROR(state_->CheckWritable());
  COW_ASSIGN_OR_RETURN(store::RepairResult repaired,
                       state_->store().Repair([&progress](uint64_t done, uint64_t all) {
                         if (progress) progress(done * kPageSize, all * kPageSize);
                       }));
  return RepairResult{.corrected_counts = repaired.corrected_counts,
                      .freed_bytes = repaired.freed_frames * kPageSize,
                      .lost_frames = repaired.lost_nodes};
}

std::array<uint8_t, 16> Volume::Uuid() const { return state_->store().uuid(); }

}  // namespace cow
