// Making, linking and removing nodes.
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "cow/base/status.h"
#include "cow/fs/state.h"

namespace cow::fs {
namespace {

constexpr uint64_t kFramesToEnter = kFramesPerIndexChange + store::kFramesToChange;

absl::Status CheckNew(const NewNode& node) {
  if (node.type == FileType::kSymlink && node.target.size() > kMaxLink) {
    return MakeError(absl::StatusCode::kInvalidArgument, ENAMETOOLONG, "link target too long");
  }
  if (node.type == FileType::kSymlink && node.target.empty()) return NotFound("empty link target");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<uint64_t> State::AddEntry(store::Transaction& transaction, Inode& directory,
                                         Directory& entries, const NamedEntry& entry, int links) {
  COW_ASSIGN_OR_RETURN(const uint64_t position, entries.Insert(transaction, entry));
  COW_RETURN_IF_ERROR(TouchDirectory(transaction, directory, links));
  return position;
}

absl::Status State::TouchDirectory(store::Transaction& transaction, Inode& directory, int links) {
  const timespec now = Now();
  return Change(transaction, directory, [&](InodeRecord& record) {
    record.nlink = static_cast<uint32_t>(static_cast<int64_t>(record.nlink) + links);
    record.mtime = record.ctime = now;
  });
}

absl::Status State::DropLink(store::Transaction& transaction, Inode& inode) {
  bool last = false;
  const timespec now = Now();
  COW_RETURN_IF_ERROR(Change(transaction, inode, [&](InodeRecord& record) {
    if (record.nlink > 0) --record.nlink;
    record.ctime = now;
    last = record.nlink == 0;
  }));
  return last ? RemoveInode(transaction, inode) : absl::OkStatus();
}

uint64_t State::FramesToDrop(const InodeRecord& record) {
  // Its place in the table and that among what is to be freed.
  return (record.xattrs == 0 ? 2 : 4) * store::kFramesToChange;
}

absl::Status State::RemoveInode(store::Transaction& transaction, Inode& inode) {
  COW_ASSIGN_OR_RETURN(InodeRecord record, inode.Load());
  COW_ASSIGN_OR_RETURN(auto table, TableOf(inode.id.tree));
  if (record.xattrs != 0) {
    COW_ASSIGN_OR_RETURN(auto xattrs, table->Open(ObjectNumber(record.xattrs)));
    COW_RETURN_IF_ERROR(table->Remove(transaction, xattrs));
  }
  return table->Remove(transaction, inode.object);
}

absl::StatusOr<uint64_t> State::FramesToDepart(NodeId directory, const NamedEntry& entry) {
  if (catalog_->empty()) return 0;
  const std::optional<Owner> owner = OwnerOf(directory, entry);
  if (!owner.has_value()) return 0;
  COW_ASSIGN_OR_RETURN(const uint64_t snapshots, catalog_->CountOf(*owner));
  return snapshots == 0 ? 0 : Catalog::kFramesToDepart;
}

absl::Status State::Depart(store::Transaction& transaction, NodeId directory,
                           const NamedEntry& entry) {
  COW_ASSIGN_OR_RETURN(const uint64_t frames, FramesToDepart(directory, entry));
  if (frames == 0) return absl::OkStatus();
  const Owner owner = *OwnerOf(directory, entry);
  return catalog_->Depart(transaction, owner, {directory.tree, directory.object, entry.name});
}

absl::StatusOr<Node> FileSystem::Make(NodeId directory, std::string_view name,
                                      const NewNode& node) {
  COW_RETURN_IF_ERROR(CheckNew(node));
  State& state = *state_;
  absl::MutexLock lock(&state.names);
  COW_ASSIGN_OR_RETURN(auto parent, state.GetLiveDirectory(directory));
  COW_ASSIGN_OR_RETURN(InodeRecord parent_record, parent->Load());
  COW_ASSIGN_OR_RETURN(Directory entries, state.OpenDirectory(*parent));
  COW_RETURN_IF_ERROR(state.CheckFree(directory, entries, name));
  COW_ASSIGN_OR_RETURN(auto table, state.TableOf(directory.tree));

  InodeRecord record;
  record.type = node.type;
  record.mode = node.mode & 07777;
  record.uid = node.uid;
  record.gid = node.gid;
  if ((parent_record.mode & S_ISGID) != 0) {
    record.gid = parent_record.gid;
    if (node.type == FileType::kDirectory) record.mode |= S_ISGID;
  }
  record.nlink = node.type == FileType::kDirectory ? 2 : 1;
  record.rdev = node.rdev;
  record.parent = directory.object;
  record.atime = record.mtime = record.ctime = record.btime = state.Now();
  const bool long_link = node.type == FileType::kSymlink && node.target.size() > kMaxInline;
  if (node.type == FileType::kSymlink && !long_link) {
    record.inline_kind = InodeRecord::Inline::kLink;
    record.inlined = node.target;
  }

  COW_ASSIGN_OR_RETURN(
      store::Transaction transaction,
      state.store->Begin(kFramesToEnter + 2 * store::kFramesToChange +
                         (long_link ? store::FramesToWrite(node.target.size()) : 0)));
  COW_ASSIGN_OR_RETURN(auto object, table->Create(transaction, record.Encode()));
  if (long_link) {
    COW_RETURN_IF_ERROR(object->Write(transaction, 0, std::as_bytes(std::span(node.target))));
  }
  const NodeId id = {directory.tree, object->number().value()};
  const NamedEntry entry = {.name = std::string(name), .object = id.object, .type = node.type};
  const absl::StatusOr<uint64_t> position =
      state.AddEntry(transaction, *parent, entries, entry, node.type == FileType::kDirectory);
  if (!position.ok()) {
    COW_RETURN_IF_ERROR(table->Remove(transaction, object));
    return position.status();
  }
  record.position = *position;
  COW_RETURN_IF_ERROR(object->SetAttributes(transaction, record.Encode()));
  const std::shared_ptr<Inode> inode = state.Adopt(id, std::move(object));
  COW_ASSIGN_OR_RETURN(Attributes attributes, state.AttributesOf(*inode));
  return Node{id, attributes};
}

absl::StatusOr<Node> FileSystem::Link(NodeId id, NodeId directory, std::string_view name) {
  State& state = *state_;
  absl::MutexLock lock(&state.names);
  COW_ASSIGN_OR_RETURN(auto parent, state.GetLiveDirectory(directory));
  if (id.tree != directory.tree) {
    return MakeError(absl::StatusCode::kFailedPrecondition, EXDEV, "a link to another tree");
  }
  COW_ASSIGN_OR_RETURN(auto inode, state.GetLive(id));
  COW_ASSIGN_OR_RETURN(InodeRecord record, inode->Load());
  if (record.is_directory()) {
    return MakeError(absl::StatusCode::kPermissionDenied, EPERM, "a link to a directory");
  }
  if (record.nlink == 0) return NotFound("the file was removed");
  COW_ASSIGN_OR_RETURN(Directory entries, state.OpenDirectory(*parent));
  COW_RETURN_IF_ERROR(state.CheckFree(directory, entries, name));
  COW_ASSIGN_OR_RETURN(store::Transaction transaction,
                       state.store->Begin(kFramesToEnter + store::kFramesToChange));
  const NamedEntry entry = {.name = std::string(name), .object = id.object, .type = record.type};
  COW_ASSIGN_OR_RETURN(const uint64_t position,
                       state.AddEntry(transaction, *parent, entries, entry, 0));
  const timespec now = state.Now();
  COW_RETURN_IF_ERROR(state.Change(transaction, *inode, [&](InodeRecord& changed) {
    ++changed.nlink;
    changed.parent = directory.object;
    changed.position = position;
    changed.ctime = now;
  }));
  COW_ASSIGN_OR_RETURN(Attributes attributes, state.AttributesOf(*inode));
  return Node{id, attributes};
}

absl::Status FileSystem::Unlink(NodeId directory, std::string_view name) {
  State& state = *state_;
  absl::MutexLock lock(&state.names);
  if (directory.is_virtual()) return ReadOnlyNode();
  COW_ASSIGN_OR_RETURN(auto parent, state.GetLiveDirectory(directory));
  COW_ASSIGN_OR_RETURN(Directory entries, state.OpenDirectory(*parent));
  COW_ASSIGN_OR_RETURN(std::optional<NamedEntry> entry, entries.Find(name));
  if (!entry.has_value()) {
    // What is there by the name of a snapshot cannot be unlinked.
    COW_RETURN_IF_ERROR(state.LookupId(directory, name).status());
    return ReadOnlyNode();
  }
  if (entry->is_directory()) {
    return MakeError(absl::StatusCode::kInvalidArgument, EISDIR, "a directory");
  }
  COW_ASSIGN_OR_RETURN(auto inode, state.GetInode({directory.tree, entry->object}));
  COW_ASSIGN_OR_RETURN(InodeRecord record, inode->Load());
  COW_ASSIGN_OR_RETURN(const uint64_t departs, state.FramesToDepart(directory, *entry));
  COW_ASSIGN_OR_RETURN(store::Transaction transaction,
                       state.store->Begin(kFramesToEnter + State::FramesToDrop(record) + departs,
                                          /*use_reserve=*/true));
  COW_RETURN_IF_ERROR(state.Depart(transaction, directory, *entry));
  COW_RETURN_IF_ERROR(entries.Erase(transaction, entry->position));
  COW_RETURN_IF_ERROR(state.TouchDirectory(transaction, *parent, 0));
  return state.DropLink(transaction, *inode);
}

absl::Status FileSystem::RemoveDirectory(NodeId directory, std::string_view name) {
  State& state = *state_;
  absl::MutexLock lock(&state.names);
  COW_ASSIGN_OR_RETURN(auto parent, state.GetLiveDirectory(directory));
  COW_ASSIGN_OR_RETURN(Directory entries, state.OpenDirectory(*parent));
  COW_ASSIGN_OR_RETURN(std::optional<NamedEntry> entry, entries.Find(name));
  if (!entry.has_value()) {
    COW_RETURN_IF_ERROR(state.LookupId(directory, name).status());
    return ReadOnlyNode();
  }
  COW_ASSIGN_OR_RETURN(State::EmptyDirectory removed, state.CheckEmpty(directory, *entry));
  COW_ASSIGN_OR_RETURN(store::Transaction transaction,
                       state.store->Begin(kFramesToEnter + removed.frames, /*use_reserve=*/true));
  COW_RETURN_IF_ERROR(entries.Erase(transaction, entry->position));
  COW_RETURN_IF_ERROR(state.TouchDirectory(transaction, *parent, -1));
  return state.RemoveEmpty(transaction, directory, *entry, removed);
}

absl::StatusOr<State::EmptyDirectory> State::CheckEmpty(NodeId directory, const NamedEntry& entry) {
  if (!entry.is_directory()) {
    return MakeError(absl::StatusCode::kInvalidArgument, ENOTDIR, "not a directory");
  }
  COW_ASSIGN_OR_RETURN(const NodeId id, TargetOf(directory, entry));
  if (id.is_stub()) return EmptyDirectory{id, nullptr, 0};
  COW_ASSIGN_OR_RETURN(auto inode, GetInode(id));
  COW_ASSIGN_OR_RETURN(Directory entries, OpenDirectory(*inode));
  if (!entries.empty()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, ENOTEMPTY,
                     "the directory is not empty");
  }
  COW_ASSIGN_OR_RETURN(InodeRecord record, inode->Load());
  uint64_t frames = FramesToDrop(record);
  if (entry.tree) {
    COW_ASSIGN_OR_RETURN(const uint64_t departs, FramesToDepart(directory, entry));
    frames += departs + Catalog::kFramesToNest;
  }
  return EmptyDirectory{id, std::move(inode), frames};
}

absl::Status State::RemoveEmpty(store::Transaction& transaction, NodeId directory,
                                const NamedEntry& entry, const EmptyDirectory& removed) {
  if (removed.inode == nullptr) return absl::OkStatus();
  const timespec now = Now();
  COW_RETURN_IF_ERROR(Change(transaction, *removed.inode, [&](InodeRecord& record) {
    record.nlink = 0;
    record.ctime = now;
  }));
  if (!entry.tree) return RemoveInode(transaction, *removed.inode);
  COW_RETURN_IF_ERROR(Depart(transaction, directory, entry));
  COW_RETURN_IF_ERROR(catalog_->RemoveNested(transaction, directory.tree, removed.id.tree));
  COW_ASSIGN_OR_RETURN(auto tree, TreeObject(removed.id.tree));
  COW_RETURN_IF_ERROR(store->trees().Remove(transaction, tree));
  Forget(removed.id.tree);
  return absl::OkStatus();
}

}  // namespace cow::fs
