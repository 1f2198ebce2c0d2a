// Which snapshots belong to what, and where the snapshots of what is gone are found.
#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/fs/state.h"

namespace cow::fs {
namespace {

// Bytes of a name that are shown in @deleted; the numbers behind it make it unique.
constexpr size_t kMaxDeletedName = 160;

// NAME#TREE.OBJECT, with 0 as OBJECT for a tree.
std::optional<Owner> ParseDeletedName(std::string_view name) {
  const size_t hash = name.rfind('#');
  if (hash == std::string_view::npos) return std::nullopt;
  const char* at = name.data() + hash + 1;
  const char* end = name.data() + name.size();
  Owner owner;
  const auto tree = std::from_chars(at, end, owner.tree);
  if (tree.ec != std::errc() || tree.ptr == end || *tree.ptr != '.') return std::nullopt;
  const auto object = std::from_chars(tree.ptr + 1, end, owner.object);
  if (object.ec != std::errc() || object.ptr != end) return std::nullopt;
  return owner;
}

}  // namespace

std::optional<Owner> State::OwnerOf(NodeId directory, const NamedEntry& entry) {
  if (directory.in_snapshot()) return std::nullopt;
  if (!entry.tree) {
    if (entry.type != FileType::kRegular) return std::nullopt;
    return Owner{directory.tree, entry.object};
  }
  const absl::StatusOr<NodeId> target = TargetOf(directory, entry);
  if (!target.ok() || target->is_stub()) return std::nullopt;
  return Owner{entry.object, 0};
}

Owner State::OwnerOf(NodeId head) {
  return {head.tree, head.object == kRootObject ? 0 : head.object};
}

NodeId State::HeadOf(Owner owner) {
  return {owner.tree, owner.is_tree() ? kRootObject : owner.object};
}

bool State::Alive(Owner owner) {
  const absl::StatusOr<std::shared_ptr<Inode>> inode = GetInode(HeadOf(owner));
  if (!inode.ok()) return false;
  const absl::StatusOr<InodeRecord> record = (*inode)->Load();
  return record.ok() && record->nlink > 0;
}

NodeId State::NodeOfSnapshot(const SnapshotRecord& record) {
  return {NodeId::kSnapshot | record.number, HeadOf(record.owner).object};
}

absl::StatusOr<SnapshotRecord> State::RecordOf(uint64_t number) {
  COW_ASSIGN_OR_RETURN(std::optional<SnapshotRecord> record, catalog_->Find(number));
  if (!record.has_value()) return NotFound("no such snapshot");
  return *std::move(record);
}

absl::StatusOr<SnapshotInfo> State::InfoOf(const SnapshotRecord& record) {
  SnapshotInfo info;
  info.number = record.number;
  info.name = record.name;
  info.owner = HeadOf(record.owner);
  info.of_tree = record.owner.is_tree();
  info.node = NodeOfSnapshot(record);
  info.created = record.created;
  if (!info.of_tree) {
    COW_ASSIGN_OR_RETURN(auto inode, GetInode(info.node));
    info.size = inode->object->size();
  }
  const bool alive = Alive(record.owner);
  info.removed = !alive;
  if (!alive) {
    COW_ASSIGN_OR_RETURN(info.deleted_path, DeletedPath(record.owner));
  }
  COW_ASSIGN_OR_RETURN(info.path, PathOfOwner(record, alive));
  return info;
}

absl::StatusOr<std::string> State::PathOfOwner(const SnapshotRecord& record, bool alive) {
  if (alive) {
    absl::StatusOr<std::string> path = PathOf(HeadOf(record.owner));
    // A file whose last name went while an older one stays has none that is known.
    if (path.ok() || !absl::IsNotFound(path.status())) return path;
  } else {
    COW_ASSIGN_OR_RETURN(std::optional<std::string> path, LastPath(record));
    if (path.has_value()) return *std::move(path);
  }
  return DeletedPath(record.owner);
}

absl::StatusOr<std::string> State::DeletedPath(Owner owner) {
  COW_ASSIGN_OR_RETURN(const std::string name, DeletedName(owner));
  return absl::StrCat(std::string(kSnapshotsName), "/", std::string(kDeletedName), "/", name);
}

absl::StatusOr<std::optional<std::string>> State::LastPath(const SnapshotRecord& record) {
  COW_ASSIGN_OR_RETURN(std::vector<PlaceName> places, catalog_->LeftBy(record.owner));
  if (places.empty()) return std::nullopt;
  const PlaceName& place = places.front();
  const NodeId directory = {place.tree, place.directory};
  const absl::StatusOr<std::string> path = PathOf(directory);
  if (absl::IsNotFound(path.status())) return std::nullopt;
  if (!path.ok()) return path.status();
  COW_ASSIGN_OR_RETURN(std::optional<SnapshotRecord> found,
                       FindSnapshot(directory, place.name, record.name));
  if (!found.has_value() || found->number != record.number) return std::nullopt;
  return path->empty() ? place.name : *path + "/" + place.name;
}

absl::StatusOr<std::string> State::DeletedName(Owner owner) {
  COW_ASSIGN_OR_RETURN(std::vector<PlaceName> places, catalog_->LeftBy(owner));
  std::string name = places.empty() ? std::string() : places.front().name;
  name.resize(std::min(name.size(), kMaxDeletedName));
  return name + absl::StrCat("#", owner.tree, ".", owner.object);
}

absl::StatusOr<std::optional<SnapshotRecord>> State::FindDeleted(std::string_view base,
                                                                 std::string_view snapshot) {
  if (const std::optional<Owner> owner = ParseDeletedName(base); owner.has_value()) {
    COW_ASSIGN_OR_RETURN(auto record, catalog_->Find(*owner, snapshot));
    // What is alive is found where it is, by whoever may go there; or here, where no path is known.
    const bool here = !Alive(*owner) || absl::IsNotFound(PathOf(HeadOf(*owner)).status());
    if (record.has_value() && here) return record;
  }
  COW_ASSIGN_OR_RETURN(auto deleted, ListDeleted());
  std::optional<SnapshotRecord> newest;
  for (auto& [name, record] : deleted) {
    if (record.name == snapshot && std::string_view(name).substr(0, name.rfind('#')) == base) {
      newest = record;
    }
  }
  return newest;
}

absl::StatusOr<std::vector<std::pair<std::string, SnapshotRecord>>> State::ListDeleted() {
  COW_ASSIGN_OR_RETURN(std::vector<SnapshotRecord> records, catalog_->ListAll());
  std::map<Owner, bool> alive;
  std::vector<std::pair<std::string, SnapshotRecord>> deleted;
  for (SnapshotRecord& record : records) {
    auto known = alive.find(record.owner);
    if (known == alive.end()) known = alive.emplace(record.owner, Alive(record.owner)).first;
    if (known->second) continue;
    COW_ASSIGN_OR_RETURN(std::optional<std::string> path, LastPath(record));
    if (path.has_value()) continue;
    COW_ASSIGN_OR_RETURN(std::string name, DeletedName(record.owner));
    deleted.emplace_back(std::move(name), std::move(record));
  }
  return deleted;
}

}  // namespace cow::fs
