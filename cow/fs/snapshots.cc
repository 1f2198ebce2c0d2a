// Taking, finding, renaming and destroying snapshots.
#include <algorithm>
#include <cerrno>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/fs/state.h"

namespace cow::fs {
namespace {

absl::Status Exists(std::string_view name) {
  return MakeError(absl::StatusCode::kAlreadyExists, EEXIST,
                   "there is a snapshot " + std::string(name) + " already");
}

// Whether `inode` is something that has snapshots.
absl::Status CheckHead(const Inode& inode) {
  COW_ASSIGN_OR_RETURN(InodeRecord record, inode.Load());
  if (record.nlink == 0) return NotFound("the file was removed");
  if (record.is_directory() && inode.id.object != kRootObject) {
    return MakeError(absl::StatusCode::kInvalidArgument, EISDIR,
                     "a directory within a tree has no snapshots of its own; snapshot its tree, or "
                     "make the directory a tree");
  }
  if (!record.is_directory() && record.type != FileType::kRegular) {
    return MakeError(absl::StatusCode::kInvalidArgument, EINVAL,
                     "only files and trees have snapshots");
  }
  return absl::OkStatus();
}

// Before the last snapshot of `owner` goes: the names that it left, few at a time and before the
// rest, so that a full volume has room for each step.
absl::Status ForgetPlaces(State& state, Owner owner) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.names) {
  constexpr size_t kAtOnce = 4;
  COW_ASSIGN_OR_RETURN(const uint64_t count, state.catalog().CountOf(owner));
  if (count > 1) return absl::OkStatus();
  COW_ASSIGN_OR_RETURN(const std::vector<PlaceName> places, state.catalog().LeftBy(owner));
  // The last that it left is where it is found should a crash come between.
  std::span<const PlaceName> rest = std::span(places).subspan(std::min<size_t>(1, places.size()));
  while (!rest.empty()) {
    const auto oldest = rest.last(std::min(kAtOnce, rest.size()));
    COW_ASSIGN_OR_RETURN(store::Transaction transaction,
                         state.store->Begin(Catalog::FramesToForget(oldest.size()),
                                            /*use_reserve=*/true));
    COW_RETURN_IF_ERROR(state.catalog().ForgetPlaces(transaction, owner, oldest));
    rest = rest.first(rest.size() - oldest.size());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status State::CheckNotHidden(NodeId head, std::string_view name) {
  if (head == kRoot) return absl::OkStatus();
  const auto place = PlaceOf(head);
  if (absl::IsNotFound(place.status())) return absl::OkStatus();
  if (!place.ok()) return place.status();
  COW_ASSIGN_OR_RETURN(auto directory, GetInode(place->first));
  COW_ASSIGN_OR_RETURN(Directory entries, OpenDirectory(*directory));
  const std::string shown = absl::StrCat(place->second, "@", std::string(name));
  COW_ASSIGN_OR_RETURN(std::optional<NamedEntry> entry, entries.Find(shown));
  if (!entry.has_value()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kAlreadyExists, EEXIST,
                   absl::StrCat("there is a file ", shown, ", which would hide the snapshot"));
}

absl::Status CheckSnapshotName(std::string_view name) {
  COW_RETURN_IF_ERROR(CheckName(name));
  if (name.find('@') == std::string_view::npos) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, EINVAL,
                   "the name of a snapshot has no '@' in it");
}

absl::StatusOr<SnapshotRecord> State::TakeSnapshot(store::Transaction& frozen, Owner owner,
                                                   std::string_view name) {
  SnapshotRecord record;
  record.owner = owner;
  record.name = std::string(name);
  record.created = Now();
  std::shared_ptr<store::Object> source;
  if (owner.is_tree()) {
    COW_ASSIGN_OR_RETURN(source, TreeObject(owner.tree));
  } else {
    COW_ASSIGN_OR_RETURN(auto inode, GetInode(HeadOf(owner)));
    source = inode->object;
    COW_ASSIGN_OR_RETURN(InodeRecord inode_record, inode->Load());
    if (inode_record.xattrs != 0) {
      COW_ASSIGN_OR_RETURN(auto table, TableOf(owner.tree));
      COW_ASSIGN_OR_RETURN(auto xattrs, table->Open(ObjectNumber(inode_record.xattrs)));
      COW_ASSIGN_OR_RETURN(auto shared,
                           store->Share(frozen, *xattrs, store->catalog(), /*version=*/true));
      record.xattrs = shared->number().value();
    }
  }
  COW_ASSIGN_OR_RETURN(auto version,
                       store->Share(frozen, *source, store->catalog(), /*version=*/true));
  record.number = version->number().value();
  COW_RETURN_IF_ERROR(catalog_->Add(frozen, record));
  return record;
}

absl::StatusOr<SnapshotInfo> FileSystem::TakeSnapshot(NodeId head, std::string_view name) {
  COW_RETURN_IF_ERROR(CheckSnapshotName(name));
  State& state = *state_;
  absl::MutexLock lock(&state.names);
  COW_ASSIGN_OR_RETURN(auto inode, state.GetLive(head));
  COW_RETURN_IF_ERROR(CheckHead(*inode));
  const Owner owner = State::OwnerOf(head);
  COW_ASSIGN_OR_RETURN(auto taken, state.catalog().Find(owner, name));
  if (taken.has_value()) return Exists(name);
  COW_RETURN_IF_ERROR(state.CheckNotHidden(head, name));
  SnapshotRecord record;
  {
    COW_ASSIGN_OR_RETURN(store::Transaction frozen,
                         state.store->BeginFrozen(State::kFramesToSnapshot));
    COW_ASSIGN_OR_RETURN(record, state.TakeSnapshot(frozen, owner, name));
  }
  return state.InfoOf(record);
}

absl::StatusOr<SnapshotInfo> FileSystem::GetSnapshot(NodeId head, std::string_view name) {
  absl::ReaderMutexLock lock(&state_->names);
  if (head.in_snapshot() || head.is_virtual()) return NotFound("no such snapshot");
  COW_ASSIGN_OR_RETURN(auto record, state_->catalog().Find(State::OwnerOf(head), name));
  if (!record.has_value()) return NotFound("no such snapshot");
  return state_->InfoOf(*record);
}

absl::StatusOr<SnapshotInfo> FileSystem::GetSnapshot(uint64_t number) {
  absl::ReaderMutexLock lock(&state_->names);
  COW_ASSIGN_OR_RETURN(SnapshotRecord record, state_->RecordOf(number));
  return state_->InfoOf(record);
}

absl::StatusOr<SnapshotInfo> FileSystem::FindSnapshot(std::string_view path,
                                                      std::string_view name) {
  while (path.ends_with('/')) path.remove_suffix(1);
  while (path.starts_with('/')) path.remove_prefix(1);
  if (path.empty()) return GetSnapshot(kRoot, name);
  const size_t slash = path.rfind('/');
  const std::string_view base = slash == std::string_view::npos ? path : path.substr(slash + 1);
  const std::string_view above =
      slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
  absl::ReaderMutexLock lock(&state_->names);
  COW_ASSIGN_OR_RETURN(const NodeId directory, state_->ResolveId(above));
  COW_ASSIGN_OR_RETURN(auto record, state_->FindSnapshot(directory, base, name));
  if (!record.has_value()) return NotFound("no such snapshot");
  return state_->InfoOf(*record);
}

absl::StatusOr<std::vector<SnapshotInfo>> FileSystem::ListSnapshots(NodeId head) {
  absl::ReaderMutexLock lock(&state_->names);
  std::vector<SnapshotInfo> infos;
  if (head.in_snapshot() || head.is_virtual() || head.is_stub()) return infos;
  COW_ASSIGN_OR_RETURN(auto records, state_->catalog().List(State::OwnerOf(head)));
  for (const SnapshotRecord& record : records) {
    COW_ASSIGN_OR_RETURN(SnapshotInfo info, state_->InfoOf(record));
    infos.push_back(std::move(info));
  }
  return infos;
}

absl::StatusOr<std::vector<SnapshotInfo>> FileSystem::ListSnapshots() {
  absl::ReaderMutexLock lock(&state_->names);
  COW_ASSIGN_OR_RETURN(auto records, state_->catalog().ListAll());
  std::vector<SnapshotInfo> infos;
  infos.reserve(records.size());
  for (const SnapshotRecord& record : records) {
    COW_ASSIGN_OR_RETURN(SnapshotInfo info, state_->InfoOf(record));
    infos.push_back(std::move(info));
  }
  return infos;
}

absl::StatusOr<uint64_t> FileSystem::CountSnapshots(NodeId head) {
  absl::ReaderMutexLock lock(&state_->names);
  if (head.in_snapshot() || head.is_virtual() || head.is_stub()) return 0;
  return state_->catalog().CountOf(State::OwnerOf(head));
}

absl::Status FileSystem::DestroySnapshot(uint64_t number) {
  State& state = *state_;
  absl::MutexLock lock(&state.names);
  COW_ASSIGN_OR_RETURN(SnapshotRecord record, state.RecordOf(number));
  COW_RETURN_IF_ERROR(ForgetPlaces(state, record.owner));
  COW_ASSIGN_OR_RETURN(const uint64_t frames, state.catalog().FramesToRemove(record.owner));
  COW_ASSIGN_OR_RETURN(auto version, state.store->catalog().Open(ObjectNumber(record.number)));
  std::shared_ptr<store::Object> xattrs;
  if (record.xattrs != 0) {
    COW_ASSIGN_OR_RETURN(xattrs, state.store->catalog().Open(ObjectNumber(record.xattrs)));
  }
  COW_ASSIGN_OR_RETURN(
      store::Transaction transaction,
      state.store->Begin(frames + (xattrs == nullptr ? 2 : 4) * store::kFramesToChange,
                         /*use_reserve=*/true));
  COW_RETURN_IF_ERROR(state.catalog().Remove(transaction, record));
  COW_RETURN_IF_ERROR(state.store->catalog().Remove(transaction, version));
  if (xattrs != nullptr) {
    COW_RETURN_IF_ERROR(state.store->catalog().Remove(transaction, xattrs));
  }
  state.Forget(NodeId::kSnapshot | number);
  return absl::OkStatus();
}

absl::StatusOr<SnapshotInfo> FileSystem::RenameSnapshot(uint64_t number,
                                                        std::string_view new_name) {
  COW_RETURN_IF_ERROR(CheckSnapshotName(new_name));
  State& state = *state_;
  absl::MutexLock lock(&state.names);
  COW_ASSIGN_OR_RETURN(SnapshotRecord record, state.RecordOf(number));
  if (record.name == new_name) return state.InfoOf(record);
  COW_ASSIGN_OR_RETURN(auto taken, state.catalog().Find(record.owner, new_name));
  if (taken.has_value()) return Exists(new_name);
  if (state.Alive(record.owner)) {
    COW_RETURN_IF_ERROR(state.CheckNotHidden(State::HeadOf(record.owner), new_name));
  }
  {
    COW_ASSIGN_OR_RETURN(store::Transaction transaction, state.store->Begin(Catalog::kFramesToAdd));
    COW_RETURN_IF_ERROR(state.catalog().Rename(transaction, record, new_name));
  }
  record.name = std::string(new_name);
  return state.InfoOf(record);
}

}  // namespace cow::fs
