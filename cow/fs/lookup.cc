// Finding nodes by name and by path, and names by node.
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cow/base/status.h"
#include "cow/fs/state.h"

namespace cow::fs {
namespace {

// A path of more components is longer than any call takes; so it is none.
constexpr int kMaxDepth = 4096;

absl::Status NotADirectory() {
  return MakeError(absl::StatusCode::kInvalidArgument, ENOTDIR, "not a directory");
}

}  // namespace

std::optional<std::pair<std::string_view, std::string_view>> SplitAt(std::string_view name) {
  const size_t at = name.rfind('@');
  if (at == std::string_view::npos || at == 0 || at + 1 == name.size()) return std::nullopt;
  return std::pair(name.substr(0, at), name.substr(at + 1));
}

absl::StatusOr<Directory> State::OpenDirectory(const Inode& directory) {
  return Directory::Open(*directory.object, SeedOf(directory.id.tree, directory.id.object));
}

absl::StatusOr<NodeId> State::TargetOf(NodeId directory, const NamedEntry& entry) {
  if (!entry.tree) return NodeId{directory.tree, entry.object};
  const NodeId stub = {directory.tree, NodeId::kStub | entry.object};
  if (directory.in_snapshot()) return stub;
  absl::StatusOr<TreeRecord> tree = LoadTree(entry.object);
  if (absl::IsNotFound(tree.status())) return stub;
  if (!tree.ok()) return tree.status();
  const bool named_here = tree->parent_tree == directory.tree && tree->parent == directory.object &&
                          tree->position == entry.position;
  return named_here ? NodeId{entry.object, kRootObject} : stub;
}

absl::StatusOr<NodeId> State::LookupId(NodeId directory, std::string_view name) {
  if (name.size() > 2 * kMaxName + 64) {
    return MakeError(absl::StatusCode::kInvalidArgument, ENAMETOOLONG, "name too long");
  }
  if (directory == kSnapshotsDirectory) {
    if (name == kDeletedName) return kDeletedDirectory;
    COW_ASSIGN_OR_RETURN(auto record, catalog_->Find(OwnerOf(kRoot), name));
    if (!record.has_value()) return NotFound("no such snapshot");
    return NodeOfSnapshot(*record);
  }
  if (directory == kDeletedDirectory) {
    const auto parts = SplitAt(name);
    if (!parts.has_value()) return NotFound("no such snapshot");
    COW_ASSIGN_OR_RETURN(auto record, FindDeleted(parts->first, parts->second));
    if (!record.has_value()) return NotFound("no such snapshot");
    return NodeOfSnapshot(*record);
  }
  if (directory.is_stub()) return NotFound("no such file");
  COW_ASSIGN_OR_RETURN(auto inode, GetInode(directory));
  COW_ASSIGN_OR_RETURN(InodeRecord record, inode->Load());
  if (!record.is_directory()) return NotADirectory();
  COW_ASSIGN_OR_RETURN(Directory entries, OpenDirectory(*inode));
  COW_ASSIGN_OR_RETURN(std::optional<NamedEntry> entry, entries.Find(name));
  if (entry.has_value()) return TargetOf(directory, *entry);
  if (directory == kRoot && name == kSnapshotsName) return kSnapshotsDirectory;
  if (!directory.in_snapshot()) {
    if (const auto parts = SplitAt(name); parts.has_value()) {
      COW_ASSIGN_OR_RETURN(auto snapshot, FindSnapshot(directory, parts->first, parts->second));
      if (snapshot.has_value()) return NodeOfSnapshot(*snapshot);
    }
  }
  if (name.size() > kMaxName) {
    return MakeError(absl::StatusCode::kInvalidArgument, ENAMETOOLONG, "name too long");
  }
  return NotFound("no such file");
}

absl::Status State::CheckFree(NodeId directory, const Directory& entries, std::string_view name) {
  COW_RETURN_IF_ERROR(CheckName(name));
  bool taken = directory == kRoot && name == kSnapshotsName;
  COW_ASSIGN_OR_RETURN(std::optional<NamedEntry> entry, entries.Find(name));
  taken = taken || entry.has_value();
  if (const auto parts = SplitAt(name); !taken && parts.has_value()) {
    COW_ASSIGN_OR_RETURN(auto snapshot, FindSnapshot(directory, parts->first, parts->second));
    taken = snapshot.has_value();
  }
  if (!taken) return absl::OkStatus();
  return MakeError(absl::StatusCode::kAlreadyExists, EEXIST, "the name exists already");
}

absl::StatusOr<std::optional<SnapshotRecord>> State::FindSnapshot(NodeId directory,
                                                                  std::string_view base,
                                                                  std::string_view snapshot) {
  if (catalog_->empty()) return std::nullopt;
  if (directory == kDeletedDirectory) return FindDeleted(base, snapshot);
  if (directory.in_snapshot() || directory.is_virtual() || directory.is_stub()) {
    return std::nullopt;
  }
  COW_ASSIGN_OR_RETURN(auto inode, GetInode(directory));
  COW_ASSIGN_OR_RETURN(Directory entries, OpenDirectory(*inode));
  COW_ASSIGN_OR_RETURN(std::optional<NamedEntry> entry, entries.Find(base));
  if (entry.has_value()) {
    if (const std::optional<Owner> owner = OwnerOf(directory, *entry); owner.has_value()) {
      COW_ASSIGN_OR_RETURN(auto record, catalog_->Find(*owner, snapshot));
      if (record.has_value()) return record;
    }
  }
  COW_ASSIGN_OR_RETURN(std::vector<DepartedOwner> departed,
                       catalog_->Departed({directory.tree, directory.object, std::string(base)}));
  for (const auto& [owner, newest] : departed) {
    COW_ASSIGN_OR_RETURN(auto record, catalog_->Find(owner, snapshot));
    // Later ones were taken of a file of another name.
    if (record.has_value() && record->number <= newest && !Alive(owner)) return record;
  }
  return std::nullopt;
}

absl::StatusOr<std::optional<NodeId>> State::ParentOf(NodeId directory) {
  if (directory == kRoot || directory.is_stub()) return std::nullopt;
  if (directory == kSnapshotsDirectory) return kRoot;
  if (directory == kDeletedDirectory) return kSnapshotsDirectory;
  if (directory.object == kRootObject) {
    uint64_t tree = directory.tree;
    if (directory.in_snapshot()) {
      COW_ASSIGN_OR_RETURN(auto record, catalog_->Find(directory.snapshot()));
      if (!record.has_value()) return NotFound("no such snapshot");
      tree = record->owner.tree;
    }
    if (tree == kRoot.tree) return directory.in_snapshot() ? kSnapshotsDirectory : kRoot;
    absl::StatusOr<TreeRecord> record = LoadTree(tree);
    if (!record.ok() || record->parent_tree == 0) return std::nullopt;
    return NodeId{record->parent_tree, record->parent};
  }
  COW_ASSIGN_OR_RETURN(auto inode, GetInode(directory));
  COW_ASSIGN_OR_RETURN(InodeRecord record, inode->Load());
  if (!record.is_directory()) return NotADirectory();
  return NodeId{directory.tree, record.parent};
}

absl::StatusOr<std::pair<NodeId, std::string>> State::PlaceOf(NodeId id) {
  NodeId parent;
  uint64_t position = 0;
  if (id.object == kRootObject) {
    COW_ASSIGN_OR_RETURN(TreeRecord tree, LoadTree(id.tree));
    parent = {tree.parent_tree, tree.parent};
    position = tree.position;
  } else {
    COW_ASSIGN_OR_RETURN(auto inode, GetInode(id));
    COW_ASSIGN_OR_RETURN(InodeRecord record, inode->Load());
    if (record.nlink == 0) return NotFound("the file was removed");
    parent = {id.tree, record.parent};
    position = record.position;
  }
  COW_ASSIGN_OR_RETURN(auto directory, GetInode(parent));
  COW_ASSIGN_OR_RETURN(Directory entries, OpenDirectory(*directory));
  COW_ASSIGN_OR_RETURN(std::optional<NamedEntry> entry, entries.At(position));
  if (!entry.has_value()) return NotFound("no name is known");
  COW_ASSIGN_OR_RETURN(const NodeId target, TargetOf(parent, *entry));
  if (target != id) return NotFound("no name is known");
  return std::pair(parent, std::move(entry->name));
}

absl::StatusOr<std::string> State::PathWithin(NodeId id, NodeId top) {
  std::vector<std::string> names;
  for (int depth = 0; id != top; ++depth) {
    if (id.is_virtual() || id.is_stub() || id.in_snapshot() != top.in_snapshot()) {
      return NotFound("not a live node");
    }
    if (depth > kMaxDepth) return NotFound("the path is too deep");
    COW_ASSIGN_OR_RETURN(auto place, PlaceOf(id));
    names.push_back(std::move(place.second));
    id = place.first;
  }
  return absl::StrJoin(names.rbegin(), names.rend(), "/");
}

absl::StatusOr<std::string> State::PathOf(NodeId id) { return PathWithin(id, kRoot); }

absl::StatusOr<std::string> State::AnyPathOf(NodeId id) {
  if (!id.in_snapshot()) return PathOf(id);
  COW_ASSIGN_OR_RETURN(SnapshotRecord record, RecordOf(id.snapshot()));
  COW_ASSIGN_OR_RETURN(SnapshotInfo info, InfoOf(record));
  std::string path = info.path.empty() ? absl::StrCat(std::string(kSnapshotsName), "/", info.name)
                                       : absl::StrCat(info.path, "@", info.name);
  if (id == info.node) return path;
  COW_ASSIGN_OR_RETURN(const std::string below, PathWithin(id, info.node));
  return absl::StrCat(path, "/", below);
}

absl::StatusOr<NodeId> State::ResolveId(std::string_view path) {
  NodeId id = kRoot;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view name = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      COW_ASSIGN_OR_RETURN(std::optional<NodeId> parent, ParentOf(id));
      id = parent.value_or(kRoot);
      continue;
    }
    COW_ASSIGN_OR_RETURN(id, LookupId(id, name));
  }
  return id;
}

absl::StatusOr<Node> FileSystem::Lookup(NodeId directory, std::string_view name) {
  absl::ReaderMutexLock lock(&state_->names);
  COW_ASSIGN_OR_RETURN(const NodeId id, state_->LookupId(directory, name));
  return state_->NodeOf(id);
}

absl::StatusOr<Node> FileSystem::Resolve(std::string_view path) {
  absl::ReaderMutexLock lock(&state_->names);
  COW_ASSIGN_OR_RETURN(const NodeId id, state_->ResolveId(path));
  return state_->NodeOf(id);
}

absl::StatusOr<std::pair<NodeId, std::string>> FileSystem::ResolveParent(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  const std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
  if (name.empty()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, EBUSY,
                     "the root of the volume has no directory that it is in");
  }
  const std::string_view above =
      slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
  absl::ReaderMutexLock lock(&state_->names);
  COW_ASSIGN_OR_RETURN(const NodeId id, state_->ResolveId(above));
  COW_ASSIGN_OR_RETURN(const Node node, state_->NodeOf(id));
  if (node.attributes.type != FileType::kDirectory) return NotADirectory();
  return std::pair(id, std::string(name));
}

absl::StatusOr<std::string> FileSystem::PathOf(NodeId id) {
  absl::ReaderMutexLock lock(&state_->names);
  return state_->PathOf(id);
}

absl::StatusOr<NodeId> FileSystem::Parent(NodeId directory) {
  absl::ReaderMutexLock lock(&state_->names);
  COW_ASSIGN_OR_RETURN(std::optional<NodeId> parent, state_->ParentOf(directory));
  return parent.value_or(kRoot);
}

}  // namespace cow::fs
