// Versions: handing out a root, and putting one in the place of another.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "cow/store/core.h"
#include "cow/store/object_state.h"
#include "cow/store/table_state.h"

namespace cow::store {

using format::CountOperation;
using format::Entry;
using format::Record;

namespace {

absl::Status CheckFrozen(const Transaction& transaction) {
  if (transaction.frozen()) return absl::OkStatus();
  return absl::InternalError("versions are handed out in frozen transactions only");
}

}  // namespace

absl::StatusOr<std::shared_ptr<Object>> Store::CreateTree(Transaction& transaction,
                                                          std::string attributes) {
  if (attributes.size() > kMaxAttributes) {
    return MakeError(absl::StatusCode::kInvalidArgument, EINVAL, "too many attribute bytes");
  }
  Record record;
  record.flags = format::kRecordTree;
  record.size = 1;
  record.attribute_length = static_cast<uint16_t>(attributes.size());
  std::copy(attributes.begin(), attributes.end(), record.attributes.begin());
  COW_ASSIGN_OR_RETURN(std::shared_ptr<ObjectState> state,
                       core_->trees_->Create(transaction.reserved_, record));
  return std::shared_ptr<Object>(new Object(std::move(state)));
}

absl::StatusOr<std::shared_ptr<Table>> Store::OpenTree(const std::shared_ptr<Object>& tree) {
  const std::shared_ptr<ObjectState>& owner = tree->state_;
  if (!owner->tree) {
    return MakeError(absl::StatusCode::kInvalidArgument, ENOTDIR, "the object is not a tree");
  }
  absl::MutexLock lock(&owner->state_mu);
  std::shared_ptr<TableState> state = owner->opened_tree.lock();
  if (state == nullptr) {
    format::TableRoot root;
    root.root = owner->root;
    root.next_object = owner->size;
    state = std::make_shared<TableState>(*core_, owner, owner->version, root);
    owner->opened_tree = state;
  }
  return std::shared_ptr<Table>(new Table(std::move(state)));
}

absl::StatusOr<std::shared_ptr<Object>> Store::Share(Transaction& frozen, const Object& source,
                                                     Table& target, bool version,
                                                     std::optional<std::string> attributes) {
  COW_RETURN_IF_ERROR(CheckFrozen(frozen));
  COW_RETURN_IF_ERROR(core_->Seal());
  const ObjectState& from = *source.state_;
  Record record;
  {
    absl::ReaderMutexLock lock(&from.state_mu);
    if (from.gone) return MakeError(absl::StatusCode::kNotFound, ESTALE, "the object is gone");
    record = from.ToRecord();
  }
  if (attributes.has_value()) {
    if (attributes->size() > kMaxAttributes) {
      return MakeError(absl::StatusCode::kInvalidArgument, EINVAL, "too many attribute bytes");
    }
    record.attributes = {};
    record.attribute_length = static_cast<uint16_t>(attributes->size());
    std::copy(attributes->begin(), attributes->end(), record.attributes.begin());
  }
  record.flags &= ~(format::kRecordVersion);
  if (version) record.flags |= format::kRecordVersion;
  COW_ASSIGN_OR_RETURN(std::shared_ptr<ObjectState> state,
                       target.state_->Create(frozen.reserved_, record));
  (version ? core_->counters_.snapshots : core_->counters_.clones).Add();
  if (!record.root.empty()) core_->LogCount(record.root, CountOperation::kAdd);
  return std::shared_ptr<Object>(new Object(std::move(state)));
}

absl::Status TableState::Rebind(const format::TableRoot& new_root) {
  absl::MutexLock lock(&mu);
  root = new_root.root;
  next_object = std::max(next_object, new_root.next_object);
  for (auto& [number, weak] : open) {
    std::shared_ptr<ObjectState> object = weak.lock();
    if (object == nullptr) continue;
    COW_ASSIGN_OR_RETURN(Record record, ReadRecord(number));
    absl::MutexLock object_lock(&object->state_mu);
    object->gone = !record.used();
    object->TakeRecord(record);
  }
  return absl::OkStatus();
}

absl::Status Store::Replace(Transaction& frozen, Object& head, const Object& source) {
  COW_RETURN_IF_ERROR(CheckFrozen(frozen));
  ObjectState& to = *head.state_;
  const ObjectState& from = *source.state_;
  if (&to == &from) return absl::OkStatus();
  if (to.tree != from.tree) {
    return MakeError(absl::StatusCode::kInvalidArgument, EINVAL,
                     "a tree cannot take the place of a file");
  }
  absl::MutexLock write_lock(&to.write_mu);
  COW_RETURN_IF_ERROR(to.CheckWritable());
  COW_RETURN_IF_ERROR(core_->Seal());
  Record record;
  {
    absl::ReaderMutexLock lock(&from.state_mu);
    COW_RETURN_IF_ERROR(from.CheckPresent());
    record = from.ToRecord();
  }
  COW_RETURN_IF_ERROR(to.MakeDirty(frozen.reserved_));
  if (!record.root.empty()) core_->LogCount(record.root, CountOperation::kAdd);
  std::shared_ptr<TableState> table;
  {
    absl::MutexLock lock(&to.state_mu);
    COW_RETURN_IF_ERROR(to.radix.Drop(to.root));
    to.root = record.root;
    to.pages = record.pages;
    to.size = to.tree ? std::max(to.size, record.size) : record.size;
    to.leaves.Clear();
    table = to.opened_tree.lock();
  }
  if (table == nullptr) return absl::OkStatus();
  format::TableRoot root;
  root.root = record.root;
  root.next_object = record.size;
  absl::Status bound = table->Rebind(root);
  return bound.ok() ? bound : core_->Fail(bound);
}

absl::Status Store::ShareRange(Transaction& frozen, const Object& source, PageNumber source_page,
                               Object& target, PageNumber target_page,
                               uint64_t count) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  COW_RETURN_IF_ERROR(CheckFrozen(frozen));
  const ObjectState& from = *source.state_;
  ObjectState& to = *target.state_;
  // The gate is held alone: nobody else writes either of them.
  absl::MutexLock write_lock(&to.write_mu);
  COW_RETURN_IF_ERROR(to.CheckWritable());
  if (from.tree || to.tree) {
    return MakeError(absl::StatusCode::kInvalidArgument, EINVAL, "a tree has no pages");
  }
  COW_RETURN_IF_ERROR(core_->Seal());
  COW_RETURN_IF_ERROR(to.MakeDirty(frozen.reserved_));
  std::array<Entry, format::kFanout> entries;
  while (count > 0) {
    const uint64_t part = std::min({count, format::kFanout - source_page.value() % format::kFanout,
                                    format::kFanout - target_page.value() % format::kFanout});
    COW_RETURN_IF_ERROR(from.EntriesOf(source_page, part, entries.data()));
    COW_RETURN_IF_ERROR(
        to.EnterShared(frozen.reserved_, target_page, std::span(entries).first(part)));
    source_page += part;
    target_page += part;
    count -= part;
  }
  return absl::OkStatus();
}

absl::Status ObjectState::EnterShared(uint64_t& reserved, PageNumber first,
                                      std::span<const Entry> shared) {
  const bool any =
      std::any_of(shared.begin(), shared.end(), [](const Entry& entry) { return !entry.empty(); });
  if (!any) return ClearPages(reserved, first, first + shared.size());
  COW_ASSIGN_OR_RETURN(NodePointer leaf,
                       radix.MutableLeaf(root, first.value(), state_mu, reserved));
  absl::MutexLock lock(&state_mu);
  for (size_t i = 0; i < shared.size(); ++i) {
    Entry& slot = leaf->content.entries[first.value() % format::kFanout + i];
    if (slot == shared[i]) continue;
    if (!shared[i].empty()) {
      core.LogCount(shared[i], CountOperation::kAdd);
      ++pages;
    }
    if (!slot.empty()) {
      core.LogCount(slot, CountOperation::kDrop);
      --pages;
    }
    slot = shared[i];
  }
  leaves.Put(first.value() / format::kFanout, std::move(leaf),
             PagesFor(size) / format::kFanout + 1);
  return absl::OkStatus();
}

}  // namespace cow::store
