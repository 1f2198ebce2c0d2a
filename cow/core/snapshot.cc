#include "cow/snapshot.h"

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/core/handles.h"
#include "cow/core/mapping_state.h"
#include "cow/vm/fault_handler.h"

namespace cow::core {

SnapshotState::SnapshotState(std::shared_ptr<VolumeState> state, fs::SnapshotInfo snapshot,
                             std::string at, std::shared_ptr<fs::FileHandle> file)
    : volume(std::move(state)),
      info(std::move(snapshot)),
      path(std::move(at)),
      handle(std::move(file)),
      name_(info.name) {}

absl::StatusOr<Snapshot> SnapshotState::Open(std::shared_ptr<VolumeState> volume,
                                             fs::SnapshotInfo info, std::string path) {
  std::shared_ptr<fs::FileHandle> handle;
  if (!info.of_tree) {
    COW_ASSIGN_OR_RETURN(fs::FileHandle file, volume->filesystem().OpenFile(info.node));
    handle = std::make_shared<fs::FileHandle>(std::move(file));
  }
  return Snapshot(std::make_shared<SnapshotState>(std::move(volume), std::move(info),
                                                  std::move(path), std::move(handle)));
}

absl::Status SnapshotState::CheckIsOfFile(std::string_view operation) const {
  if (handle != nullptr) return absl::OkStatus();
  return Explain(MakeError(absl::StatusCode::kFailedPrecondition, EISDIR,
                           "the snapshot is of a tree; open a file in it by its path"),
                 operation, Label());
}

std::string SnapshotState::Label() const { return SnapshotLabel(path, name()); }

absl::StatusOr<Snapshot> OpenSnapshot(const std::shared_ptr<VolumeState>& volume,
                                      const fs::NodeId& head, const std::string& path,
                                      std::string_view name) {
  const auto open = [&]() -> absl::StatusOr<Snapshot> {
    COW_ASSIGN_OR_RETURN(fs::SnapshotInfo info, volume->filesystem().GetSnapshot(head, name));
    return SnapshotState::Open(volume, std::move(info), path);
  };
  absl::StatusOr<Snapshot> snapshot = open();
  if (!snapshot.ok()) {
    return Explain(snapshot.status(), "open snapshot", SnapshotLabel(path, name));
  }
  return snapshot;
}

}  // namespace cow::core

namespace cow {

using core::Explain;
using core::SnapshotState;

Snapshot::Snapshot(std::shared_ptr<SnapshotState> state) : state_(std::move(state)) {}
Snapshot::Snapshot(Snapshot&& other) noexcept = default;
Snapshot& Snapshot::operator=(Snapshot&& other) noexcept = default;
Snapshot::~Snapshot() = default;

std::string Snapshot::name() const { return state_->name(); }
const std::string& Snapshot::path() const { return state_->path; }
bool Snapshot::is_tree() const { return state_->info.of_tree; }
uint64_t Snapshot::size() const { return state_->info.size; }

std::chrono::system_clock::time_point Snapshot::time() const {
  return core::TimeOf(state_->info.created);
}

absl::StatusOr<size_t> Snapshot::Read(uint64_t offset, std::span<std::byte> buffer) const {
  if (absl::Status status = state_->CheckIsOfFile("read"); !status.ok()) return status;
  vm::FaultHandler::Touch(buffer);
  absl::StatusOr<size_t> count = state_->handle->Read(offset, buffer);
  if (!count.ok()) return Explain(count.status(), "read", state_->Label());
  return count;
}

absl::StatusOr<Mapping> Snapshot::Map(Access access) const {
  if (absl::Status status = state_->CheckIsOfFile("map"); !status.ok()) return status;
  if (access == Access::kWrite) {
    return Explain(core::SnapshotError("a snapshot cannot be mapped for writing"), "map",
                   state_->Label());
  }
  std::shared_ptr<store::Object> version(state_->handle, &state_->handle->object());
  return core::MappingState::MapVersion(state_->volume, std::move(version), state_->Label(),
                                        access);
}

absl::StatusOr<SpaceUse> Snapshot::Space() const {
  const auto space = state_->volume->filesystem().SpaceOf(state_->info.node);
  if (!space.ok()) return Explain(space.status(), "count the space of", state_->Label());
  return SpaceUse{.referenced_bytes = space->referenced, .exclusive_bytes = space->exclusive};
}

absl::Status Snapshot::Rename(std::string_view name) {
  if (absl::Status writable = state_->volume->CheckWritable(); !writable.ok()) {
    return Explain(writable, "rename snapshot", state_->Label());
  }
  const auto renamed = state_->volume->filesystem().RenameSnapshot(state_->info.number, name);
  if (!renamed.ok()) return Explain(renamed.status(), "rename snapshot", state_->Label());
  state_->set_name(renamed->name);
  return absl::OkStatus();
}

absl::Status Snapshot::Destroy() {
  if (absl::Status writable = state_->volume->CheckWritable(); !writable.ok()) {
    return Explain(writable, "destroy snapshot", state_->Label());
  }
  return Explain(state_->volume->filesystem().DestroySnapshot(state_->info.number),
                 "destroy snapshot", state_->Label());
}

}  // namespace cow
