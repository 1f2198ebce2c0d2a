// Rolling back: what a snapshot holds takes the place of the head; what was there becomes a
// snapshot.
#include <cerrno>
#include <cstdio>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/fs/state.h"

namespace cow::fs {
namespace {

// A tree nested in the one that is rolled back, whose entry is not in the snapshot.
struct Replanted {
  uint64_t tree = 0;
  uint64_t directory = 0;
  NamedEntry entry;
};

// `rollback-TIME`, in UTC; "-2" and so on where the second has one already.
absl::StatusOr<std::string> RollBackName(State& state, Owner owner) {
  const timespec now = state.Now();
  tm utc = {};
  gmtime_r(&now.tv_sec, &utc);
  char time[64];
  if (strftime(time, sizeof(time), "%Y%m%dT%H%M%SZ", &utc) == 0) time[0] = '\0';
  const std::string base = std::string("rollback-") + time;
  std::string name = base;
  for (int i = 2;; ++i) {
    COW_ASSIGN_OR_RETURN(auto taken, state.catalog().Find(owner, name));
    if (!taken.has_value()) return name;
    name = absl::StrCat(base, "-", i);
  }
}

// Extended attributes of the file become those of the snapshot; answers the number of their object.
absl::StatusOr<uint64_t> ReplaceXattrs(State& state, store::Transaction& frozen,
                                       const InodeRecord& head, store::Table& table,
                                       uint64_t version_number) {
  std::shared_ptr<store::Object> own;
  if (head.xattrs != 0) {
    COW_ASSIGN_OR_RETURN(own, table.Open(ObjectNumber(head.xattrs)));
  }
  if (version_number == 0) {
    if (own != nullptr) COW_RETURN_IF_ERROR(table.Remove(frozen, own));
    return 0;
  }
  COW_ASSIGN_OR_RETURN(auto version, state.store->catalog().Open(ObjectNumber(version_number)));
  if (own != nullptr) {
    COW_RETURN_IF_ERROR(state.store->Replace(frozen, *own, *version));
    return head.xattrs;
  }
  COW_ASSIGN_OR_RETURN(auto shared, state.store->Share(frozen, *version, table, /*version=*/false));
  return shared->number().value();
}

absl::StatusOr<SnapshotRecord> RollBackFile(State& state, const SnapshotRecord& to,
                                            const std::string& keep_as)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.names) {
  COW_ASSIGN_OR_RETURN(auto head, state.GetInode(State::HeadOf(to.owner)));
  COW_ASSIGN_OR_RETURN(auto version, state.GetInode(State::NodeOfSnapshot(to)));
  COW_ASSIGN_OR_RETURN(InodeRecord old, version->Load());
  COW_ASSIGN_OR_RETURN(auto table, state.TableOf(to.owner.tree));
  COW_ASSIGN_OR_RETURN(
      store::Transaction frozen,
      state.store->BeginFrozen(State::kFramesToSnapshot + 4 * store::kFramesToChange,
                               /*use_reserve=*/true));
  COW_ASSIGN_OR_RETURN(SnapshotRecord kept, state.TakeSnapshot(frozen, to.owner, keep_as));
  COW_RETURN_IF_ERROR(state.store->Replace(frozen, *head->object, *version->object));
  COW_ASSIGN_OR_RETURN(InodeRecord record, head->Load());
  COW_ASSIGN_OR_RETURN(const uint64_t xattrs,
                       ReplaceXattrs(state, frozen, record, *table, to.xattrs));
  const timespec now = state.Now();
  COW_RETURN_IF_ERROR(state.Change(frozen, *head, [&](InodeRecord& changed) {
    changed.mode = old.mode;
    changed.uid = old.uid;
    changed.gid = old.gid;
    changed.atime = old.atime;
    changed.mtime = old.mtime;
    changed.ctime = now;
    changed.inline_kind = old.inline_kind;
    changed.inlined = old.inlined;
    changed.xattrs = xattrs;
  }));
  return kept;
}

// Trees nested in `tree` that have to be entered anew after it was rolled back to `version`. EBUSY
// where one would have no place.
absl::StatusOr<std::vector<Replanted>> FindReplanted(State& state, uint64_t tree, NodeId version)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.names) {
  std::vector<Replanted> replanted;
  COW_ASSIGN_OR_RETURN(std::vector<uint64_t> nested, state.catalog().Nested(tree));
  for (const uint64_t number : nested) {
    COW_ASSIGN_OR_RETURN(TreeRecord record, state.LoadTree(number));
    COW_ASSIGN_OR_RETURN(auto now_in, state.GetInode({tree, record.parent}));
    COW_ASSIGN_OR_RETURN(Directory now_entries, state.OpenDirectory(*now_in));
    COW_ASSIGN_OR_RETURN(std::optional<NamedEntry> entry, now_entries.At(record.position));
    if (!entry.has_value()) return NotFound("a nested tree has no entry");
    const absl::Status lost =
        MakeError(absl::StatusCode::kFailedPrecondition, EBUSY,
                  absl::StrCat("the nested tree ", entry->name,
                               " has no place in the snapshot; move it first"));
    const auto then_in = state.GetInode({version.tree, record.parent});
    if (absl::IsNotFound(then_in.status())) return lost;
    if (!then_in.ok()) return then_in.status();
    COW_ASSIGN_OR_RETURN(InodeRecord then_record, (*then_in)->Load());
    if (!then_record.is_directory()) return lost;
    COW_ASSIGN_OR_RETURN(Directory then_entries, state.OpenDirectory(**then_in));
    COW_ASSIGN_OR_RETURN(std::optional<NamedEntry> then, then_entries.Find(entry->name));
    if (!then.has_value()) {
      replanted.push_back({number, record.parent, *std::move(entry)});
    } else if (!then->SameTarget(*entry) || then->position != entry->position) {
      return lost;
    }
  }
  return replanted;
}

// Files with snapshots of their own that the rollback takes away leave their names first; so those
// snapshots are found there. A transaction each: a crash between them leaves only names too many.
absl::Status DepartTaken(State& state, uint64_t tree, NodeId version)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.names) {
  COW_ASSIGN_OR_RETURN(std::vector<SnapshotRecord> records, state.catalog().ListAll());
  std::set<uint64_t> seen;
  for (const SnapshotRecord& record : records) {
    const Owner owner = record.owner;
    if (owner.tree != tree || owner.is_tree() || !seen.insert(owner.object).second) continue;
    if (!state.Alive(owner) || state.GetInode({version.tree, owner.object}).ok()) continue;
    const auto place = state.PlaceOf(State::HeadOf(owner));
    if (absl::IsNotFound(place.status())) continue;
    if (!place.ok()) return place.status();
    COW_ASSIGN_OR_RETURN(store::Transaction transaction,
                         state.store->Begin(Catalog::kFramesToDepart, /*use_reserve=*/true));
    COW_RETURN_IF_ERROR(state.catalog().Depart(
        transaction, owner, {place->first.tree, place->first.object, place->second}));
  }
  return absl::OkStatus();
}

absl::StatusOr<SnapshotRecord> RollBackTree(State& state, const SnapshotRecord& to,
                                            const std::string& keep_as)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.names) {
  const uint64_t tree = to.owner.tree;
  COW_ASSIGN_OR_RETURN(std::vector<Replanted> replanted,
                       FindReplanted(state, tree, State::NodeOfSnapshot(to)));
  COW_RETURN_IF_ERROR(DepartTaken(state, tree, State::NodeOfSnapshot(to)));
  COW_ASSIGN_OR_RETURN(auto head, state.TreeObject(tree));
  COW_ASSIGN_OR_RETURN(auto version, state.TreeObject(NodeId::kSnapshot | to.number));
  const uint64_t frames = State::kFramesToSnapshot + 2 * store::kFramesToChange +
                          replanted.size() * (kFramesPerIndexChange + 2 * store::kFramesToChange);
  COW_ASSIGN_OR_RETURN(store::Transaction frozen,
                       state.store->BeginFrozen(frames, /*use_reserve=*/true));
  COW_ASSIGN_OR_RETURN(SnapshotRecord kept, state.TakeSnapshot(frozen, to.owner, keep_as));
  COW_RETURN_IF_ERROR(state.store->Replace(frozen, *head, *version));
  state.ForgetRemoved(tree);
  for (const Replanted& item : replanted) {
    const NodeId directory = {tree, item.directory};
    COW_ASSIGN_OR_RETURN(auto inode, state.GetInode(directory));
    COW_ASSIGN_OR_RETURN(Directory entries, state.OpenDirectory(*inode));
    COW_ASSIGN_OR_RETURN(const uint64_t position,
                         state.AddEntry(frozen, *inode, entries, item.entry, 1));
    COW_RETURN_IF_ERROR(state.SetPlace(frozen, {item.tree, kRootObject}, directory, position));
  }
  return kept;
}

}  // namespace

absl::StatusOr<SnapshotInfo> FileSystem::RollBack(uint64_t number,
                                                  const std::function<void()>& ready) {
  State& state = *state_;
  absl::MutexLock lock(&state.names);
  COW_ASSIGN_OR_RETURN(SnapshotRecord to, state.RecordOf(number));
  if (!state.Alive(to.owner)) {
    return NotFound("what the snapshot was taken of is gone; clone the snapshot instead");
  }
  COW_ASSIGN_OR_RETURN(const std::string name, RollBackName(state, to.owner));
  if (ready) ready();
  COW_ASSIGN_OR_RETURN(SnapshotRecord kept, to.owner.is_tree() ? RollBackTree(state, to, name)
                                                               : RollBackFile(state, to, name));
  return state.InfoOf(kept);
}

}  // namespace cow::fs
