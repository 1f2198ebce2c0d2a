// Renaming: one transaction, whatever is replaced or exchanged.
#include <cerrno>
#include <utility>

#include "cow/base/status.h"
#include "cow/fs/state.h"

namespace cow::fs {
namespace {

absl::Status Error(int error, std::string_view what) { return ErrnoStatus(error, what); }

}  // namespace

absl::Status State::SetPlace(store::Transaction& transaction, NodeId target, NodeId directory,
                             uint64_t position) {
  if (target.is_stub()) return absl::OkStatus();
  if (target.tree != directory.tree) {
    COW_ASSIGN_OR_RETURN(auto object, TreeObject(target.tree));
    COW_ASSIGN_OR_RETURN(TreeRecord tree, TreeRecord::Decode(object->attributes()));
    tree.parent_tree = directory.tree;
    tree.parent = directory.object;
    tree.position = position;
    return object->SetAttributes(transaction, tree.Encode());
  }
  COW_ASSIGN_OR_RETURN(auto inode, GetInode(target));
  const timespec now = Now();
  return Change(transaction, *inode, [&](InodeRecord& record) {
    record.parent = directory.object;
    record.position = position;
    record.ctime = now;
  });
}

absl::Status State::CheckNotWithin(NodeId directory, NodeId id) {
  for (int depth = 0; directory.object != kRootObject; ++depth) {
    if (directory == id) return Error(EINVAL, "a directory cannot move into itself");
    // More would be a ring, unless somebody went to great lengths.
    if (depth > 100000) return Error(ELOOP, "the directory is too deep");
    COW_ASSIGN_OR_RETURN(auto inode, GetInode(directory));
    COW_ASSIGN_OR_RETURN(InodeRecord record, inode->Load());
    directory.object = record.parent;
  }
  return absl::OkStatus();
}

// What a rename is about to do, all of it checked.
struct RenamePlan {
  std::shared_ptr<Inode> from;
  std::shared_ptr<Inode> to;
  Directory* from_entries = nullptr;
  Directory* to_entries = nullptr;  // the same where both are one directory
  NamedEntry source;
  NodeId source_id;
  std::optional<NamedEntry> target;
  NodeId target_id;
  std::string new_name;
};

static absl::Status CheckReplace(State& state, const RenamePlan& plan,
                                 State::EmptyDirectory& removed)
    ABSL_SHARED_LOCKS_REQUIRED(state.names) {
  if (!plan.source.is_directory()) {
    return plan.target->is_directory() ? Error(EISDIR, "the target is a directory")
                                       : absl::OkStatus();
  }
  if (!plan.target->is_directory()) return Error(ENOTDIR, "the target is not a directory");
  if (plan.target->tree && !plan.target_id.is_stub()) {
    return Error(EBUSY, "the target is the root of a tree");
  }
  COW_ASSIGN_OR_RETURN(removed, state.CheckEmpty(plan.to->id, *plan.target));
  return absl::OkStatus();
}

static absl::Status Exchange(State& state, store::Transaction& transaction, const RenamePlan& plan)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.names) {
  const NamedEntry& a = plan.source;
  const NamedEntry& b = *plan.target;
  COW_RETURN_IF_ERROR(state.Depart(transaction, plan.from->id, a));
  COW_RETURN_IF_ERROR(state.Depart(transaction, plan.to->id, b));
  COW_RETURN_IF_ERROR(plan.from_entries->Replace(transaction, a.position, b));
  COW_RETURN_IF_ERROR(plan.to_entries->Replace(transaction, b.position, a));
  COW_RETURN_IF_ERROR(state.SetPlace(transaction, plan.source_id, plan.to->id, b.position));
  COW_RETURN_IF_ERROR(state.SetPlace(transaction, plan.target_id, plan.from->id, a.position));
  const int gained = int{a.is_directory()} - int{b.is_directory()};
  if (plan.from == plan.to) return state.TouchDirectory(transaction, *plan.from, 0);
  COW_RETURN_IF_ERROR(state.TouchDirectory(transaction, *plan.from, -gained));
  return state.TouchDirectory(transaction, *plan.to, gained);
}

static absl::Status Move(State& state, store::Transaction& transaction, const RenamePlan& plan,
                         const State::EmptyDirectory& removed)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.names) {
  const NamedEntry& source = plan.source;
  COW_RETURN_IF_ERROR(state.Depart(transaction, plan.from->id, source));
  uint64_t position = 0;
  if (plan.target.has_value()) {
    COW_RETURN_IF_ERROR(state.Depart(transaction, plan.to->id, *plan.target));
    position = plan.target->position;
    COW_RETURN_IF_ERROR(plan.to_entries->Replace(transaction, position, source));
  } else {
    NamedEntry entry = source;
    entry.name = plan.new_name;
    COW_ASSIGN_OR_RETURN(position, plan.to_entries->Insert(transaction, entry));
  }
  COW_RETURN_IF_ERROR(plan.from_entries->Erase(transaction, source.position));
  COW_RETURN_IF_ERROR(state.SetPlace(transaction, plan.source_id, plan.to->id, position));
  const int moved = source.is_directory() ? 1 : 0;
  const int replaced = plan.target.has_value() && plan.target->is_directory() ? 1 : 0;
  if (plan.from == plan.to) {
    COW_RETURN_IF_ERROR(state.TouchDirectory(transaction, *plan.from, -replaced));
  } else {
    COW_RETURN_IF_ERROR(state.TouchDirectory(transaction, *plan.from, -moved));
    COW_RETURN_IF_ERROR(state.TouchDirectory(transaction, *plan.to, moved - replaced));
  }
  if (!plan.target.has_value()) return absl::OkStatus();
  if (plan.target->is_directory()) {
    return state.RemoveEmpty(transaction, plan.to->id, *plan.target, removed);
  }
  COW_ASSIGN_OR_RETURN(auto dropped, state.GetInode(plan.target_id));
  return state.DropLink(transaction, *dropped);
}

static absl::Status Perform(State& state, const RenamePlan& plan, RenameMode mode)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.names) {
  const bool exchange = mode == RenameMode::kExchange;
  if (plan.source.is_directory() && !plan.source.tree) {
    COW_RETURN_IF_ERROR(state.CheckNotWithin(plan.to->id, plan.source_id));
  }
  if (exchange && plan.target->is_directory() && !plan.target->tree) {
    COW_RETURN_IF_ERROR(state.CheckNotWithin(plan.from->id, plan.target_id));
  }
  State::EmptyDirectory removed;
  if (plan.target.has_value() && !exchange) {
    COW_RETURN_IF_ERROR(CheckReplace(state, plan, removed));
  }
  uint64_t frames = 2 * kFramesPerIndexChange + 8 * store::kFramesToChange + removed.frames;
  COW_ASSIGN_OR_RETURN(const uint64_t source_departs,
                       state.FramesToDepart(plan.from->id, plan.source));
  frames += source_departs;
  if (plan.target.has_value()) {
    COW_ASSIGN_OR_RETURN(const uint64_t target_departs,
                         state.FramesToDepart(plan.to->id, *plan.target));
    frames += target_departs;
  }
  COW_ASSIGN_OR_RETURN(store::Transaction transaction, state.store->Begin(frames));
  return exchange ? Exchange(state, transaction, plan) : Move(state, transaction, plan, removed);
}

absl::Status FileSystem::Rename(NodeId directory, std::string_view name, NodeId new_directory,
                                std::string_view new_name, RenameMode mode) {
  COW_RETURN_IF_ERROR(CheckName(new_name));
  State& state = *state_;
  absl::MutexLock lock(&state.names);
  RenamePlan plan;
  COW_ASSIGN_OR_RETURN(plan.from, state.GetLiveDirectory(directory));
  COW_ASSIGN_OR_RETURN(plan.to, state.GetLiveDirectory(new_directory));
  if (directory.tree != new_directory.tree) return Error(EXDEV, "a rename to another tree");
  COW_ASSIGN_OR_RETURN(Directory from_entries, state.OpenDirectory(*plan.from));
  COW_ASSIGN_OR_RETURN(Directory other_entries, state.OpenDirectory(*plan.to));
  plan.from_entries = &from_entries;
  plan.to_entries = plan.from == plan.to ? &from_entries : &other_entries;
  COW_ASSIGN_OR_RETURN(std::optional<NamedEntry> source, from_entries.Find(name));
  if (!source.has_value()) {
    COW_RETURN_IF_ERROR(state.LookupId(directory, name).status());
    return ReadOnlyNode();
  }
  plan.source = *std::move(source);
  plan.new_name = std::string(new_name);
  COW_ASSIGN_OR_RETURN(plan.source_id, state.TargetOf(directory, plan.source));
  COW_ASSIGN_OR_RETURN(plan.target, plan.to_entries->Find(new_name));
  if (!plan.target.has_value()) {
    if (mode == RenameMode::kExchange) return NotFound("nothing to exchange with");
    COW_RETURN_IF_ERROR(state.CheckFree(new_directory, *plan.to_entries, new_name));
    return Perform(state, plan, mode);
  }
  if (mode == RenameMode::kNoReplace) return Error(EEXIST, "the name exists already");
  COW_ASSIGN_OR_RETURN(plan.target_id, state.TargetOf(new_directory, *plan.target));
  // Two names of one node: nothing happens, says POSIX.
  if (plan.source_id == plan.target_id) return absl::OkStatus();
  return Perform(state, plan, mode);
}

}  // namespace cow::fs
