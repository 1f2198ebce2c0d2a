// Making trees, and cloning files and trees.
#include <sys/stat.h>

#include <cerrno>
#include <span>
#include <utility>

#include "cow/base/status.h"
#include "cow/fs/state.h"

namespace cow::fs {
namespace {

constexpr uint64_t kFramesToPlant =
    kFramesPerIndexChange + 4 * store::kFramesToChange + Catalog::kFramesToNest;

// Enters a tree that was just made in a directory.
absl::Status Plant(State& state, store::Transaction& transaction,
                   const std::shared_ptr<store::Object>& tree, Inode& parent, Directory& entries,
                   std::string_view name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.names) {
  const uint64_t number = tree->number().value();
  const NamedEntry entry = {
      .name = std::string(name), .object = number, .type = FileType::kDirectory, .tree = true};
  const absl::StatusOr<uint64_t> position = state.AddEntry(transaction, parent, entries, entry, 1);
  if (!position.ok()) {
    COW_RETURN_IF_ERROR(state.store->trees().Remove(transaction, tree));
    return position.status();
  }
  TreeRecord record;
  record.parent_tree = parent.id.tree;
  record.parent = parent.id.object;
  record.position = *position;
  record.created = state.Now();
  COW_RETURN_IF_ERROR(tree->SetAttributes(transaction, record.Encode()));
  return state.catalog().AddNested(transaction, parent.id.tree, number);
}

absl::StatusOr<NodeId> CloneTree(State& state, NodeId source, Inode& parent, Directory& entries,
                                 std::string_view name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.names) {
  COW_ASSIGN_OR_RETURN(auto from, state.TreeObject(source.tree));
  COW_ASSIGN_OR_RETURN(store::Transaction frozen, state.store->BeginFrozen(kFramesToPlant));
  COW_ASSIGN_OR_RETURN(auto tree, state.store->Share(frozen, *from, state.store->trees(),
                                                     /*version=*/false));
  COW_RETURN_IF_ERROR(Plant(state, frozen, tree, parent, entries, name));
  return NodeId{tree->number().value(), kRootObject};
}

// What a clone's record and extended attributes start as.
struct CloneStart {
  InodeRecord record;
  // To be shared; nullptr where they are in `record` or in `xattr_bytes`.
  std::shared_ptr<store::Object> xattrs;
  // To be written anew, where they do not fit the record.
  std::string xattr_bytes;
};

// What only root may give a file, and the kernel trusts.
bool IsRootsToGive(std::string_view name) {
  return name.starts_with("security.") || name.starts_with("trusted.");
}

absl::StatusOr<CloneStart> StartOfClone(State& state, const Inode& source,
                                        const std::optional<CloneMaker>& maker)
    ABSL_SHARED_LOCKS_REQUIRED(state.names) {
  CloneStart start;
  COW_ASSIGN_OR_RETURN(start.record, source.Load());
  InodeRecord& record = start.record;
  if (maker.has_value()) {
    record.uid = maker->uid;
    record.gid = maker->gid;
    record.mode &= 0777;
    COW_ASSIGN_OR_RETURN(Xattrs xattrs, state.LoadXattrs(source));
    if (std::erase_if(xattrs, [](const auto& item) { return IsRootsToGive(item.first); }) > 0) {
      record.xattrs = 0;
      record.inline_kind = InodeRecord::Inline::kNothing;
      record.inlined.clear();
      start.xattr_bytes = EncodeXattrs(xattrs);
      if (!xattrs.empty() && start.xattr_bytes.size() <= kMaxInline) {
        record.inline_kind = InodeRecord::Inline::kXattrs;
        record.inlined = std::exchange(start.xattr_bytes, {});
      }
      return start;
    }
  }
  if (record.xattrs != 0 && source.id.in_snapshot()) {
    COW_ASSIGN_OR_RETURN(start.xattrs, state.XattrsInSnapshot(source, record));
  } else if (record.xattrs != 0) {
    COW_ASSIGN_OR_RETURN(auto from, state.TableOf(source.id.tree));
    COW_ASSIGN_OR_RETURN(start.xattrs, from->Open(ObjectNumber(record.xattrs)));
  }
  return start;
}

// Makes the object of the clone's extended attributes, where it has one.
absl::Status MakeXattrs(State& state, store::Transaction& frozen, store::Table& table,
                        CloneStart& start) {
  std::shared_ptr<store::Object> made;
  if (start.xattrs != nullptr) {
    COW_ASSIGN_OR_RETURN(made, state.store->Share(frozen, *start.xattrs, table, false));
  } else if (!start.xattr_bytes.empty()) {
    COW_ASSIGN_OR_RETURN(made, table.Create(frozen));
    COW_RETURN_IF_ERROR(made->Write(frozen, 0, std::as_bytes(std::span(start.xattr_bytes))));
  }
  if (made != nullptr) start.record.xattrs = made->number().value();
  return absl::OkStatus();
}

absl::StatusOr<NodeId> CloneFile(State& state, Inode& source,
                                 const std::optional<CloneMaker>& maker, Inode& parent,
                                 Directory& entries, std::string_view name)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.names) {
  COW_ASSIGN_OR_RETURN(CloneStart start, StartOfClone(state, source, maker));
  COW_ASSIGN_OR_RETURN(auto table, state.TableOf(parent.id.tree));
  COW_ASSIGN_OR_RETURN(store::Transaction frozen,
                       state.store->BeginFrozen(kFramesPerIndexChange + 5 * store::kFramesToChange +
                                                store::FramesToWrite(start.xattr_bytes.size())));
  COW_RETURN_IF_ERROR(MakeXattrs(state, frozen, *table, start));
  InodeRecord& record = start.record;
  // As it is now that nobody writes.
  COW_ASSIGN_OR_RETURN(InodeRecord now_there, source.Load());
  record.mtime = now_there.mtime;
  record.nlink = 1;
  record.parent = parent.id.object;
  record.btime = record.ctime = state.Now();
  COW_ASSIGN_OR_RETURN(auto object, state.store->Share(frozen, *source.object, *table,
                                                       /*version=*/false, record.Encode()));
  const NodeId id = {parent.id.tree, object->number().value()};
  const NamedEntry entry = {.name = std::string(name), .object = id.object};
  const absl::StatusOr<uint64_t> position = state.AddEntry(frozen, parent, entries, entry, 0);
  if (!position.ok()) {
    const std::shared_ptr<Inode> inode = state.Adopt(id, std::move(object));
    COW_RETURN_IF_ERROR(state.RemoveInode(frozen, *inode));
    return position.status();
  }
  record.position = *position;
  COW_RETURN_IF_ERROR(object->SetAttributes(frozen, record.Encode()));
  return id;
}

}  // namespace

absl::StatusOr<Node> FileSystem::CreateTree(NodeId directory, std::string_view name,
                                            const NewNode& node) {
  State& state = *state_;
  absl::MutexLock lock(&state.names);
  COW_ASSIGN_OR_RETURN(auto parent, state.GetLiveDirectory(directory));
  COW_ASSIGN_OR_RETURN(Directory entries, state.OpenDirectory(*parent));
  COW_RETURN_IF_ERROR(state.CheckFree(directory, entries, name));
  COW_ASSIGN_OR_RETURN(InodeRecord parent_record, parent->Load());
  InodeRecord root;
  root.type = FileType::kDirectory;
  root.mode = node.mode & 07777;
  root.uid = node.uid;
  root.gid = node.gid;
  if ((parent_record.mode & S_ISGID) != 0) {
    root.gid = parent_record.gid;
    root.mode |= S_ISGID;
  }
  root.nlink = 2;
  root.atime = root.mtime = root.ctime = root.btime = state.Now();
  NodeId id;
  {
    COW_ASSIGN_OR_RETURN(store::Transaction transaction, state.store->Begin(kFramesToPlant));
    COW_ASSIGN_OR_RETURN(auto tree, state.store->CreateTree(transaction, TreeRecord().Encode()));
    COW_ASSIGN_OR_RETURN(auto table, state.store->OpenTree(tree));
    COW_RETURN_IF_ERROR(table->Create(transaction, root.Encode()).status());
    COW_RETURN_IF_ERROR(Plant(state, transaction, tree, *parent, entries, name));
    id = {tree->number().value(), kRootObject};
  }
  return state.NodeOf(id);
}

absl::StatusOr<Node> FileSystem::Clone(NodeId source, NodeId directory, std::string_view name,
                                       const std::optional<CloneMaker>& maker) {
  State& state = *state_;
  absl::MutexLock lock(&state.names);
  if (source.is_virtual() || source.is_stub()) {
    return ErrnoStatus(EINVAL, "there is nothing to clone");
  }
  COW_ASSIGN_OR_RETURN(auto inode, state.GetInode(source));
  COW_ASSIGN_OR_RETURN(InodeRecord record, inode->Load());
  if (record.is_directory() && source.object != kRootObject) {
    return ErrnoStatus(EISDIR, "only files and trees can be cloned");
  }
  if (!record.is_directory() && record.type != FileType::kRegular) {
    return ErrnoStatus(EINVAL, "only files and trees can be cloned");
  }
  COW_ASSIGN_OR_RETURN(auto parent, state.GetLiveDirectory(directory));
  COW_ASSIGN_OR_RETURN(Directory entries, state.OpenDirectory(*parent));
  COW_RETURN_IF_ERROR(state.CheckFree(directory, entries, name));
  NodeId id;
  if (record.is_directory()) {
    COW_ASSIGN_OR_RETURN(id, CloneTree(state, source, *parent, entries, name));
  } else {
    COW_ASSIGN_OR_RETURN(id, CloneFile(state, *inode, maker, *parent, entries, name));
  }
  return state.NodeOf(id);
}

absl::StatusOr<std::vector<TreeInfo>> FileSystem::ListTrees() {
  State& state = *state_;
  absl::ReaderMutexLock lock(&state.names);
  std::vector<TreeInfo> trees;
  for (uint64_t number = 1;; ++number) {
    COW_ASSIGN_OR_RETURN(std::optional<ObjectNumber> next,
                         state.trees().NextObject(ObjectNumber(number)));
    if (!next.has_value()) return trees;
    number = next->value();
    TreeInfo info;
    info.number = number;
    COW_ASSIGN_OR_RETURN(TreeRecord record, state.LoadTree(number));
    info.created = record.created;
    absl::StatusOr<std::string> path = state.PathOf({number, kRootObject});
    if (absl::IsNotFound(path.status())) path = state.DeletedPath({number, 0});
    COW_ASSIGN_OR_RETURN(info.path, std::move(path));
    COW_ASSIGN_OR_RETURN(info.snapshots, state.catalog().CountOf({number, 0}));
    trees.push_back(std::move(info));
  }
}

}  // namespace cow::fs
