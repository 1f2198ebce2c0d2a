// What Stat and the lists answer.
#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/core/handles.h"

namespace cow::core {
namespace {

constexpr std::string_view kDeleted = "/.snapshots/@deleted";

Kind KindOf(const fs::Attributes& attributes) {
  switch (attributes.type) {
    case fs::FileType::kRegular:
      return Kind::kFile;
    case fs::FileType::kDirectory:
      return attributes.tree_root ? Kind::kTree : Kind::kDirectory;
    case fs::FileType::kSymlink:
      return Kind::kLink;
    default:
      return Kind::kOther;
  }
}

absl::StatusOr<std::optional<SpaceUse>> SpaceOf(VolumeState& volume, const fs::NodeId& id) {
  COW_ASSIGN_OR_RETURN(const fs::SpaceInfo space, volume.filesystem().SpaceOf(id));
  return SpaceUse{.referenced_bytes = space.referenced, .exclusive_bytes = space.exclusive};
}

// Of a head, or of something within a snapshot.
absl::StatusOr<Entry> EntryOfNode(VolumeState& volume, const fs::Node& node,
                                  const std::string& path, bool space) {
  Entry entry;
  entry.path = path;
  entry.kind = KindOf(node.attributes);
  entry.size = entry.kind == Kind::kFile ? node.attributes.size : 0;
  entry.created = TimeOf(node.attributes.btime);
  const bool has_versions = entry.kind == Kind::kFile || entry.kind == Kind::kTree;
  if (!has_versions || node.id.in_snapshot() || node.id.is_virtual()) return entry;
  COW_ASSIGN_OR_RETURN(entry.snapshots, volume.filesystem().CountSnapshots(node.id));
  if (space) {
    COW_ASSIGN_OR_RETURN(entry.space, SpaceOf(volume, node.id));
  }
  return entry;
}

// Whether `path` is `top` or lies below it.
bool IsWithin(std::string_view path, std::string_view top) {
  if (top == "/") return true;
  return path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/');
}

// The snapshots of heads whose paths are wanted.
absl::StatusOr<std::vector<Entry>> Select(VolumeState& volume, bool space,
                                          const std::function<bool(const std::string&)>& wanted) {
  COW_ASSIGN_OR_RETURN(const auto all, volume.filesystem().ListSnapshots());
  std::vector<Entry> entries;
  for (const fs::SnapshotInfo& info : all) {
    COW_ASSIGN_OR_RETURN(const std::string path, HeadPath(volume, info));
    if (!wanted(path)) continue;
    absl::StatusOr<Entry> entry = EntryOf(volume, info, path, space);
    if (absl::IsNotFound(entry.status())) continue;  // destroyed meanwhile
    if (!entry.ok()) return entry.status();
    entries.push_back(std::move(*entry));
  }
  std::ranges::stable_sort(entries, {}, &Entry::path);
  return entries;
}

}  // namespace

absl::StatusOr<std::string> HeadPath(VolumeState& volume, const fs::SnapshotInfo& info) {
  if (!info.path.empty() || !info.removed) return absl::StrCat("/", info.path);
  // Its directory is gone too: it is where such are listed, as HEAD@NAME.
  std::string path(kDeleted);
  COW_ASSIGN_OR_RETURN(const fs::Node deleted, volume.filesystem().Resolve(kDeleted));
  COW_RETURN_IF_ERROR(
      volume.filesystem().ReadDirectory(deleted.id, 0, [&](const fs::DirectoryEntry& entry) {
        if (entry.id != info.node) return true;
        absl::StrAppend(&path, "/", entry.name.substr(0, entry.name.rfind('@')));
        return false;
      }));
  return path;
}

absl::StatusOr<Entry> EntryOf(VolumeState& volume, const fs::SnapshotInfo& info,
                              const std::string& path, bool space) {
  Entry entry;
  entry.path = path;
  entry.snapshot = info.name;
  entry.kind = info.of_tree ? Kind::kTree : Kind::kFile;
  entry.removed = info.removed;
  entry.size = info.size;
  entry.created = TimeOf(info.created);
  if (space) {
    COW_ASSIGN_OR_RETURN(entry.space, SpaceOf(volume, info.node));
  }
  return entry;
}

absl::StatusOr<Entry> EntryAt(VolumeState& volume, const std::string& path, bool space) {
  fs::FileSystem& filesystem = volume.filesystem();
  COW_ASSIGN_OR_RETURN(const fs::Node node, filesystem.Resolve(path));
  if (!node.id.in_snapshot()) return EntryOfNode(volume, node, path, space);
  COW_ASSIGN_OR_RETURN(const fs::SnapshotInfo info, filesystem.GetSnapshot(node.id.snapshot()));
  if (info.node != node.id) return EntryOfNode(volume, node, path, space);
  COW_ASSIGN_OR_RETURN(const std::string head, HeadPath(volume, info));
  return EntryOf(volume, info, head, space);
}

absl::StatusOr<std::vector<Entry>> SnapshotsOf(VolumeState& volume, const fs::NodeId& head,
                                               const std::string& path, bool space) {
  COW_ASSIGN_OR_RETURN(const auto infos, volume.filesystem().ListSnapshots(head));
  std::vector<Entry> entries;
  for (const fs::SnapshotInfo& info : infos) {
    COW_ASSIGN_OR_RETURN(Entry entry, EntryOf(volume, info, path, space));
    entries.push_back(std::move(entry));
  }
  return entries;
}

absl::StatusOr<std::vector<Entry>> ListSnapshots(VolumeState& volume, const fs::NodeId& head,
                                                 const std::string& path) {
  auto entries = SnapshotsOf(volume, head, path, /*space=*/false);
  if (!entries.ok()) return Explain(entries.status(), "list snapshots of", path);
  return entries;
}

absl::StatusOr<std::vector<Entry>> SnapshotsAt(VolumeState& volume, const std::string& path,
                                               const ListOptions& options) {
  const absl::StatusOr<fs::Node> node = volume.filesystem().Resolve(path);
  if (!node.ok() && !absl::IsNotFound(node.status())) return node.status();
  if (node.ok() && (node->id.in_snapshot() || node->id.is_virtual())) return std::vector<Entry>();
  const bool has_versions =
      node.ok() && (node->attributes.tree_root || node->attributes.type == fs::FileType::kRegular);
  if (has_versions && !options.recursive) {
    return SnapshotsOf(volume, node->id, path, options.space);
  }
  COW_ASSIGN_OR_RETURN(std::vector<Entry> entries,
                       Select(volume, options.space, [&](const std::string& head) {
                         return head == path ? !node.ok() || options.recursive
                                             : options.recursive && IsWithin(head, path);
                       }));
  // What was removed is found by its snapshots; without one there is nothing of the name.
  if (entries.empty() && !node.ok()) return node.status();
  return entries;
}

absl::StatusOr<std::vector<Entry>> DirectoryAt(VolumeState& volume, const std::string& path) {
  fs::FileSystem& filesystem = volume.filesystem();
  COW_ASSIGN_OR_RETURN(const fs::Node directory, filesystem.Resolve(path));
  std::vector<fs::DirectoryEntry> found;
  COW_RETURN_IF_ERROR(
      filesystem.ReadDirectory(directory.id, 0, [&](const fs::DirectoryEntry& entry) {
        found.push_back(entry);
        return true;
      }));
  std::ranges::sort(found, {}, &fs::DirectoryEntry::name);
  std::vector<Entry> entries;
  for (const fs::DirectoryEntry& item : found) {
    const auto attributes = filesystem.GetAttributes(item.id);
    if (absl::IsNotFound(attributes.status())) continue;  // removed meanwhile
    if (!attributes.ok()) return attributes.status();
    const std::string below = absl::StrCat(path == "/" ? "" : path, "/", item.name);
    COW_ASSIGN_OR_RETURN(Entry entry,
                         EntryOfNode(volume, {item.id, *attributes}, below, /*space=*/false));
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace cow::core
