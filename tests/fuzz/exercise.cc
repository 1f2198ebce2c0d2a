#include "tests/fuzz/exercise.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"

namespace cow::fuzz {
namespace {

using fs::FileHandle;
using fs::FileType;
using fs::kRoot;
using fs::NodeId;

constexpr size_t kMostNodes = 40;
constexpr size_t kMostChanged = 8;
constexpr size_t kMostEntries = 24;
constexpr size_t kMostObjects = 64;
// A name that no directory of the base volume has.
constexpr std::string_view kNew = "new";

// What fails on a damaged volume fails.
template <typename Result>
bool Try(const Result& result) {
  return result.ok();
}

std::span<const std::byte> BytesOf(std::string_view text) { return std::as_bytes(std::span(text)); }

}  // namespace

void Exercise::Find() {
  Remember(kRoot);
  for (const std::string_view path :
       {"file", "dir/hard", "sparse", "short", "long", "tree/inside", "tree/nested", "clone/inside",
        "file@s2", "file@s1", "tree@t1/inside", "tree@t1", ".snapshots/r1/dir", ".snapshots",
        ".snapshots/@deleted", "moved@m1", "doomed@d1", "dir/../tree/./inside"}) {
    const auto node = fs_.Resolve(path);
    if (node.ok()) Remember(node->id);
  }
}

void Exercise::Look() {
  LookAtTables();
  Find();
  LookAtSnapshots();
  for (size_t i = 0; i < nodes_.size(); ++i) Visit(nodes_[i]);
}

void Exercise::Remember(NodeId id) {
  if (nodes_.size() < kMostNodes && known_.insert(id).second) nodes_.push_back(id);
}

void Exercise::Check() {
  const auto checked = fs_.Check();
  if (!checked.ok()) {
    damages_.push_back(checked.status().ToString());
    return;
  }
  for (const fs::Damage& damage : checked->damages) {
    damages_.push_back(damage.where + ": " + damage.what);
  }
}

void Exercise::LookAtTables() {
  for (store::Table* table : {&fs_.store().trees(), &fs_.store().catalog()}) {
    ObjectNumber at(0);
    for (size_t i = 0; i < kMostObjects; ++i) {
      const auto next = table->NextObject(at);
      if (!next.ok() || !next->has_value()) break;
      at = **next + 1;
      const auto object = table->Open(**next);
      if (!object.ok() || !(*object)->is_tree()) continue;
      const auto tree = fs_.store().OpenTree(*object);
      if (tree.ok()) Try((*tree)->NextObject(ObjectNumber(1)));
    }
  }
}

void Exercise::LookAtSnapshots() {
  Try(fs_.ListTrees());
  const auto snapshots = fs_.ListSnapshots();
  if (!snapshots.ok()) return;
  size_t left = kMostObjects;
  for (const fs::SnapshotInfo& info : *snapshots) {
    if (left-- == 0) break;
    Remember(info.node);
    Remember(info.owner);
    Try(fs_.GetSnapshot(info.number));
    Try(fs_.FindSnapshot(info.path, info.name));
    Try(fs_.Resolve(info.path));
  }
}

void Exercise::Visit(NodeId id) {
  const auto attributes = fs_.GetAttributes(id);
  Try(fs_.PathOf(id));
  Try(fs_.CountSnapshots(id));
  Try(fs_.ListSnapshots(id));
  const auto xattrs = fs_.ListXattrs(id);
  if (xattrs.ok()) {
    for (const std::string& name : *xattrs) Try(fs_.GetXattr(id, name));
  }
  if (!attributes.ok()) return;
  switch (attributes->type) {
    case FileType::kDirectory:
      return VisitDirectory(id);
    case FileType::kRegular:
      return VisitFile(id);
    default:
      Try(fs_.ReadLink(id));
  }
}

void Exercise::VisitDirectory(NodeId id) {
  Try(fs_.Parent(id));
  std::vector<fs::DirectoryEntry> entries;
  Try(fs_.ReadDirectory(id, 0, [&](const fs::DirectoryEntry& entry) {
    entries.push_back(entry);
    return entries.size() < kMostEntries;
  }));
  for (const fs::DirectoryEntry& entry : entries) {
    const auto node = fs_.Lookup(id, entry.name);
    // Of the files of a large directory a few will do.
    if (node.ok() && (entry.type != FileType::kRegular || entries.size() < kMostEntries / 2)) {
      Remember(node->id);
    }
  }
  if (entries.empty()) return;
  Try(fs_.ReadDirectory(id, entries.back().cookie,
                        [](const fs::DirectoryEntry&) { return false; }));
}

void Exercise::VisitFile(NodeId id) {
  const auto handle = fs_.OpenFile(id);
  if (!handle.ok()) return;
  std::array<std::byte, 3 * kPageSize> buffer;
  const uint64_t size = handle->size();
  Try(handle->Read(0, buffer));
  Try(handle->Read(size / 2 + 1, buffer));
  Try(handle->Read(size < 10 ? 0 : size - 10, buffer));
  const auto hole = handle->SeekHole(0);
  if (hole.ok()) Try(handle->SeekData(*hole));
  Try(handle->SeekData(0));
  Try(handle->object().Extents(PageNumber(0), PageNumber(600), /*verify=*/true));
  Try(fs_.SpaceOf(id));
}

void Exercise::Change() {
  Find();
  const std::vector<NodeId> nodes = nodes_;
  size_t changed = 0;
  for (const NodeId id : nodes) {
    if (id.in_snapshot() || id.is_virtual()) continue;
    const auto attributes = fs_.GetAttributes(id);
    if (!attributes.ok()) continue;
    if (changed++ == kMostChanged) break;
    ChangeAttributes(id);
    if (attributes->type == FileType::kRegular) ChangeFile(id);
    if (attributes->type == FileType::kDirectory) ChangeNames(id);
    ChangeVersions(id);
    if (changed % 4 == 0) Try(fs_.Sync());
  }
  Try(fs_.Sync());
}

void Exercise::Destroy() {
  const auto snapshots = fs_.ListSnapshots();
  if (snapshots.ok()) {
    for (const fs::SnapshotInfo& info :
         std::span(*snapshots).first(std::min<size_t>(snapshots->size(), kMostChanged))) {
      Try(fs_.DestroySnapshot(info.number));
    }
  }
  Try(fs_.store().Settle());
}

void Exercise::ChangeAttributes(NodeId id) {
  fs::AttributeChange change;
  change.fields = fs::AttributeChange::kMode | fs::AttributeChange::kMtimeNow;
  change.mode = 0700;
  Try(fs_.SetAttributes(id, change));
  const auto xattrs = fs_.ListXattrs(id);
  if (xattrs.ok() && !xattrs->empty()) Try(fs_.RemoveXattr(id, xattrs->front()));
  Try(fs_.SetXattr(id, "user.new", "value"));
  Try(fs_.SetXattr(id, "user.long", std::string(5000, 'w')));
}

void Exercise::ChangeFile(NodeId id) {
  auto handle = fs_.OpenFile(id);
  if (!handle.ok()) return;
  Try(handle->Write(5000, BytesOf(std::string(9000, 'b'))));
  Try(handle->Punch(kPageSize, kPageSize));
  Try(handle->ZeroRange(100, 5000, /*keep_size=*/true));
  const auto made = fs_.Make(kRoot, kNew, {.type = FileType::kRegular, .mode = 0600});
  if (made.ok()) {
    auto copy = fs_.OpenFile(made->id);
    if (copy.ok()) {
      Try(fs_.CopyRange(*handle, 0, *copy, 0, 4 * kPageSize + 1));
      Try(fs_.CopyRange(*handle, kPageSize, *copy, 8 * kPageSize, 2 * kPageSize));
      Try(fs_.CloneWhole(*handle, *copy));
      Try(copy->Write(0, BytesOf("copy")));
    }
    Try(fs_.Unlink(kRoot, kNew));
  }
  Try(handle->Truncate(6000));
  Try(handle->Write(0, BytesOf("head")));
  Try(handle->Allocate(0, 20000, /*keep_size=*/false));
}

void Exercise::ChangeNames(NodeId directory) {
  std::vector<fs::DirectoryEntry> entries;
  Try(fs_.ReadDirectory(directory, 0, [&](const fs::DirectoryEntry& entry) {
    entries.push_back(entry);
    return entries.size() < kMostEntries;
  }));
  Try(fs_.Make(directory, "file in", {.type = FileType::kRegular, .mode = 0600}));
  Try(fs_.Make(directory, "link in",
               {.type = FileType::kSymlink, .mode = 0777, .target = std::string(200, 't')}));
  Try(fs_.Make(directory, "directory in", {.type = FileType::kDirectory, .mode = 0700}));
  Try(fs_.CreateTree(directory, "tree in"));
  for (int i = 0; i < 16; ++i) {
    Try(fs_.Make(directory, std::string(240, static_cast<char>('a' + i)),
                 {.type = FileType::kRegular, .mode = 0600}));
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    const std::string& name = entries[i].name;
    if (i % 8 == 0) {
      Try(fs_.Rename(directory, name, kRoot, "renamed"));
    } else if (i % 8 == 1) {
      Try(fs_.Rename(directory, name, directory, "file in", fs::RenameMode::kExchange));
    } else if (i % 8 == 2) {
      Try(fs_.Link(entries[i].id, directory, "second name"));
    } else if (entries[i].type == FileType::kDirectory) {
      Try(fs_.RemoveDirectory(directory, name));
    } else if (entries.size() >= kMostEntries / 2) {
      // In a small directory files stay, for what comes after.
      Try(fs_.Unlink(directory, name));
    }
  }
  Try(fs_.RemoveDirectory(directory, "directory in"));
  Try(fs_.RemoveDirectory(directory, "tree in"));
}

void Exercise::ChangeVersions(NodeId head) {
  const auto taken = fs_.TakeSnapshot(head, kNew);
  Try(fs_.Clone(head, kRoot, "cloned"));
  const auto snapshots = fs_.ListSnapshots(head);
  if (!snapshots.ok() || snapshots->empty()) return;
  const fs::SnapshotInfo& oldest = snapshots->front();
  Try(fs_.RenameSnapshot(oldest.number, "oldest"));
  Try(fs_.Clone(oldest.node, kRoot, "of snapshot"));
  Try(fs_.RollBack(oldest.number));
  Try(fs_.SpaceOf(oldest.node));
  if (taken.ok()) Try(fs_.DestroySnapshot(taken->number));
}

}  // namespace cow::fuzz
