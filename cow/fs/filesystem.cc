#include "cow/fs/filesystem.h"

#include <utility>

#include "cow/base/status.h"
#include "cow/fs/state.h"

namespace cow::fs {

FileSystem::FileSystem(std::unique_ptr<State> state) : state_(std::move(state)) {}
FileSystem::~FileSystem() = default;

store::Store& FileSystem::store() { return *state_->store; }
bool FileSystem::read_only() const { return state_->store->read_only(); }
absl::Status FileSystem::Sync() { return state_->store->Commit(); }

absl::StatusOr<std::unique_ptr<FileSystem>> FileSystem::Create(std::unique_ptr<os::File> file,
                                                               const CreateOptions& create,
                                                               const OpenOptions& options) {
  COW_ASSIGN_OR_RETURN(auto store,
                       store::Store::Create(std::move(file), create.store, options.store));
  auto state = std::make_unique<State>(std::move(store), options);
  COW_RETURN_IF_ERROR(state->Format(create));
  return std::unique_ptr<FileSystem>(new FileSystem(std::move(state)));
}

absl::StatusOr<std::unique_ptr<FileSystem>> FileSystem::Create(const std::string& path,
                                                               const CreateOptions& create,
                                                               const OpenOptions& options) {
  COW_ASSIGN_OR_RETURN(auto file, os::OpenFile(path, os::OpenMode::kCreate));
  return Create(std::move(file), create, options);
}

absl::StatusOr<std::unique_ptr<FileSystem>> FileSystem::Open(std::unique_ptr<os::File> file,
                                                             const OpenOptions& options) {
  COW_ASSIGN_OR_RETURN(auto store, store::Store::Open(std::move(file), options.store));
  auto state = std::make_unique<State>(std::move(store), options);
  COW_RETURN_IF_ERROR(state->Load());
  return std::unique_ptr<FileSystem>(new FileSystem(std::move(state)));
}

absl::StatusOr<std::unique_ptr<FileSystem>> FileSystem::Open(const std::string& path,
                                                             const OpenOptions& options) {
  const os::OpenMode mode = options.store.read_only ? os::OpenMode::kRead : os::OpenMode::kWrite;
  COW_ASSIGN_OR_RETURN(auto file, os::OpenFile(path, mode));
  return Open(std::move(file), options);
}

VolumeSpace FileSystem::StatFs() const {
  const store::Space space = state_->store->space();
  VolumeSpace volume;
  volume.total_bytes = space.total_frames * kPageSize;
  volume.used_bytes = space.used_frames * kPageSize;
  volume.available_bytes = space.available_frames * kPageSize;
  return volume;
}

absl::StatusOr<SpaceInfo> FileSystem::SpaceOf(NodeId id) {
  SpaceInfo space;
  if (id.is_virtual() || id.is_stub()) return space;
  COW_ASSIGN_OR_RETURN(auto inode, state_->GetInode(id));
  COW_ASSIGN_OR_RETURN(InodeRecord record, inode->Load());
  if (!record.is_directory() || id.object != kRootObject) {
    space.referenced = inode->object->allocated_pages() * kPageSize;
    COW_ASSIGN_OR_RETURN(space.exclusive, state_->store->ExclusiveBytes(*inode->object));
    return space;
  }
  COW_ASSIGN_OR_RETURN(auto table, state_->TableOf(id.tree));
  for (uint64_t number = 1;; ++number) {
    COW_ASSIGN_OR_RETURN(std::optional<ObjectNumber> next, table->NextObject(ObjectNumber(number)));
    if (!next.has_value()) break;
    number = next->value();
    absl::StatusOr<std::shared_ptr<store::Object>> object = table->Open(*next);
    if (absl::IsNotFound(object.status())) continue;  // removed meanwhile
    if (!object.ok()) return object.status();
    space.referenced += (*object)->allocated_pages() * kPageSize;
  }
  COW_ASSIGN_OR_RETURN(auto tree, state_->TreeObject(id.tree));
  COW_ASSIGN_OR_RETURN(space.exclusive, state_->store->ExclusiveBytes(*tree));
  return space;
}

}  // namespace cow::fs
