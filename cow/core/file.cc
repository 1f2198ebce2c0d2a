#include "cow/file.h"

#include <algorithm>
#include <cerrno>

#include "cow/base/status.h"
#include "cow/base/types.h"
#include "cow/core/handles.h"
#include "cow/core/mapping_state.h"
#include "cow/vm/fault_handler.h"

namespace cow::core {

FileState::FileState(std::shared_ptr<VolumeState> state, fs::FileHandle file, std::string at)
    : volume(std::move(state)),
      path(std::move(at)),
      handle(std::make_shared<fs::FileHandle>(std::move(file))),
      read_only(volume->read_only() || handle->id().in_snapshot()),
      head(read_only ? nullptr : volume->HeadOf(handle)) {}

absl::StatusOr<File> FileState::Open(std::shared_ptr<VolumeState> volume, const fs::NodeId& id,
                                     std::string path) {
  absl::StatusOr<fs::FileHandle> handle = volume->filesystem().OpenFile(id);
  if (!handle.ok()) return handle.status();
  return File(std::make_shared<FileState>(std::move(volume), std::move(*handle), std::move(path)));
}

absl::Status FileState::CheckNumber() const {
  const absl::StatusOr<fs::FileHandle> named = volume->filesystem().OpenFile(handle->id());
  if (!named.ok()) return named.status();
  if (&named->object() == &handle->object()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kNotFound, ESTALE,
                   "the file was removed, and a rollback of its tree brought another back");
}

namespace {

// Runs what changes the file, unless something speaks against it.
template <typename Change>
absl::Status ChangeFile(const FileState& file, std::string_view operation, Change change) {
  absl::Status status = file.volume->CheckWritable();
  if (status.ok() && file.head == nullptr) {
    status = SnapshotError("a snapshot cannot be changed");
  } else if (status.ok()) {
    status = file.head->ChangeUnmapped(change);
  }
  return Explain(status, operation, file.path);
}

}  // namespace
}  // namespace cow::core

namespace cow {

using core::Explain;
using core::FileState;
using core::MappingState;

File::File(std::shared_ptr<FileState> state) : state_(std::move(state)) {}
File::File(File&& other) noexcept = default;
File& File::operator=(File&& other) noexcept = default;
File::~File() = default;

const std::string& File::path() const { return state_->path; }
bool File::read_only() const { return state_->read_only; }
uint64_t File::size() const { return state_->handle->size(); }

absl::StatusOr<size_t> File::Read(uint64_t offset, std::span<std::byte> buffer) const {
  vm::FaultHandler::Touch(buffer);
  absl::StatusOr<size_t> count = state_->handle->Read(offset, buffer);
  if (!count.ok()) return Explain(count.status(), "read", state_->path);
  return count;
}

absl::Status File::Write(uint64_t offset, std::span<const std::byte> bytes) {
  vm::FaultHandler::Touch(bytes);
  return core::ChangeFile(*state_, "write", [&] { return state_->handle->Write(offset, bytes); });
}

absl::Status File::Truncate(uint64_t size) {
  return core::ChangeFile(*state_, "truncate", [&] { return state_->handle->Truncate(size); });
}

absl::Status File::Punch(uint64_t offset, uint64_t length) {
  return core::ChangeFile(*state_, "punch", [&] {
    // Whole pages go, the last one too.
    const uint64_t end = PagesFor(state_->handle->size()) << kPageShift;
    if (length == 0 || offset >= end) return absl::OkStatus();
    return state_->handle->Punch(offset, std::min(length, end - offset));
  });
}

absl::StatusOr<DefragmentResult> File::Defragment(const DefragmentOptions& options) {
  DefragmentResult result;
  for (uint64_t at = 0; at < size(); at += fs::FileHandle::kDefragmentStep) {
    if (options.progress) options.progress(at, size());
    store::DefragmentResult step;
    COW_RETURN_IF_ERROR(core::ChangeFile(*state_, "defragment", [&]() -> absl::Status {
      COW_ASSIGN_OR_RETURN(step, state_->handle->Defragment(at, options.unshare));
      return absl::OkStatus();
    }));
    result.extents_before += step.extents_before;
    result.extents_after += step.extents_after;
    result.moved_bytes += step.moved_pages * kPageSize;
    result.shared_bytes += step.shared_pages * kPageSize;
  }
  return result;
}

absl::StatusOr<Mapping> File::Map(Access access) {
  const FileState& file = *state_;
  if (access == Access::kWrite) {
    absl::Status possible = file.volume->CheckWritable();
    if (possible.ok() && file.head == nullptr) {
      possible = core::SnapshotError("a snapshot cannot be mapped for writing");
    }
    if (!possible.ok()) return Explain(possible, "map", file.path);
    return MappingState::MapHead(file.volume, file.handle, file.head, file.path);
  }
  std::shared_ptr<store::Object> version(file.handle, &file.handle->object());
  if (!file.read_only) {
    absl::Status sealed = file.Seal();
    if (!sealed.ok()) return Explain(sealed, "map", file.path);
    auto frozen = file.volume->Freeze(*version);
    if (!frozen.ok()) return Explain(frozen.status(), "map", file.path);
    version = std::move(*frozen);
  }
  return MappingState::MapVersion(file.volume, std::move(version), file.path, access);
}

absl::StatusOr<Snapshot> File::TakeSnapshot(std::string_view name) {
  return core::TakeSnapshot(*state_, state_->handle->id(), name);
}

absl::StatusOr<Snapshot> File::OpenSnapshot(std::string_view name) const {
  return core::OpenSnapshot(state_->volume, state_->handle->id(), state_->path, name);
}

absl::StatusOr<std::vector<Entry>> File::ListSnapshots() const {
  return core::ListSnapshots(*state_->volume, state_->handle->id(), state_->path);
}

}  // namespace cow
