// Tables: objects by number, and the states of those that are open.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "cow/store/object_state.h"
#include "cow/store/table_state.h"

namespace cow::store {

using format::kRecordsPerLeaf;
using format::Record;

ObjectState::ObjectState(Core& core, std::shared_ptr<TableState> table, ObjectNumber number,
                         const Record& record)
    : core(core),
      number(number),
      version((record.flags & format::kRecordVersion) != 0 || table->read_only),
      tree((record.flags & format::kRecordTree) != 0),
      radix(core, tree),
      table(std::move(table)),
      record_number(number),
      leaves(core) {
  absl::MutexLock lock(&state_mu);
  TakeRecord(record);
}

ObjectState::~ObjectState() {
  if (!orphan || core.read_only_) return;
  absl::MutexLock lock(&core.dirty_mu_);
  core.closed_orphans_.push_back(record_number);
}

absl::Status ObjectState::CheckWritable() const {
  if (version) {
    return MakeError(absl::StatusCode::kFailedPrecondition, EROFS,
                     "a snapshot cannot be written; clone it");
  }
  COW_RETURN_IF_ERROR(core.CheckWritable());
  absl::ReaderMutexLock lock(&state_mu);
  return CheckPresent();
}

absl::Status ObjectState::CheckPresent() const {
  if (!gone) return absl::OkStatus();
  return MakeError(absl::StatusCode::kNotFound, ESTALE,
                   "the object is gone since its tree was rolled back");
}

Record ObjectState::ToRecord() const {
  Record record;
  record.root = root;
  record.size = size;
  record.pages = pages;
  record.flags = format::kRecordUsed | (version ? format::kRecordVersion : 0) |
                 (tree ? format::kRecordTree : 0);
  record.attribute_length = static_cast<uint16_t>(attributes.size());
  std::memcpy(record.attributes.data(), attributes.data(), attributes.size());
  return record;
}

void ObjectState::TakeRecord(const Record& record) {
  root = record.root;
  size = record.size;
  pages = record.pages;
  attributes.assign(record.attributes.data(),
                    std::min<size_t>(record.attribute_length, format::kAttributeBytes));
  leaves.Clear();
}

absl::Status ObjectState::MakeDirty(uint64_t& reserved) {
  if (dirty_generation.load() == core.generation().value()) return absl::OkStatus();
  std::shared_ptr<TableState> in;
  ObjectNumber record;
  {
    absl::ReaderMutexLock lock(&state_mu);
    in = table;
    record = record_number;
  }
  return in->Touch(reserved, shared_from_this(), record);
}

TableState::TableState(Core& core, std::shared_ptr<ObjectState> owner, bool read_only,
                       const format::TableRoot& root)
    : core(core),
      owner(std::move(owner)),
      read_only(read_only),
      radix(core, /*table=*/true),
      root(root.root),
      next_object(root.next_object) {}

absl::StatusOr<Record> TableState::ReadRecord(ObjectNumber number) {
  COW_ASSIGN_OR_RETURN(format::Entry entry, radix.Find(root, number.value() / kRecordsPerLeaf));
  if (entry.empty()) return Record();
  COW_ASSIGN_OR_RETURN(NodePointer leaf, core.nodes_.Get(entry));
  return leaf->content.records[number.value() % kRecordsPerLeaf];
}

absl::StatusOr<std::shared_ptr<ObjectState>> TableState::Open(ObjectNumber number) {
  const ReaderSlots::Hold hold = core.readers_.Enter(core.generation());
  absl::MutexLock lock(&mu);
  if (auto it = open.find(number); it != open.end()) {
    if (auto object = it->second.lock(); object != nullptr) {
      absl::ReaderMutexLock object_lock(&object->state_mu);
      if (!object->gone) return object;
      return MakeError(absl::StatusCode::kNotFound, ENOENT, "no object has this number");
    }
    open.erase(it);
  }
  COW_ASSIGN_OR_RETURN(Record record, ReadRecord(number));
  if (!record.used()) {
    return MakeError(absl::StatusCode::kNotFound, ENOENT, "no object has this number");
  }
  return Remember(number, record);
}

std::shared_ptr<ObjectState> TableState::Remember(ObjectNumber number, const Record& record) {
  // Entries of closed objects go when there may be as many of them as of open ones: amortised O(1).
  if (open.size() >= forget_at_) {
    absl::erase_if(open, [](const auto& item) { return item.second.expired(); });
    forget_at_ = std::max<size_t>(64, 2 * open.size());
  }
  // Not make_shared: what still refers to it weakly would keep all of its memory.
  std::shared_ptr<ObjectState> object(new ObjectState(core, shared_from_this(), number, record));
  open[number] = object;
  return object;
}

absl::StatusOr<NodePointer> TableState::MutableLeafOf(uint64_t& reserved, ObjectNumber number) {
  absl::Mutex unshared;  // `mu` keeps readers out
  return radix.MutableUnit(root, number.value() / kRecordsPerLeaf, unshared, reserved);
}

absl::Status TableState::Touch(uint64_t& reserved, const std::shared_ptr<ObjectState>& object,
                               ObjectNumber record_number) {
  // The table's own record first: should that fail, nothing depends on it yet.
  if (owner != nullptr) COW_RETURN_IF_ERROR(owner->MakeDirty(reserved));
  absl::MutexLock lock(&mu);
  MarkDirty();
  COW_RETURN_IF_ERROR(MutableLeafOf(reserved, record_number).status());
  dirty.insert(object);
  object->dirty_generation = core.generation().value();
  return absl::OkStatus();
}

void TableState::MarkDirty() {
  absl::MutexLock dirty_lock(&core.dirty_mu_);
  core.dirty_tables_.insert(shared_from_this());
  core.changed_ = true;
}

absl::StatusOr<std::shared_ptr<ObjectState>> TableState::Create(uint64_t& reserved, Record record) {
  if (read_only) {
    return MakeError(absl::StatusCode::kFailedPrecondition, EROFS, "a snapshot cannot be written");
  }
  COW_RETURN_IF_ERROR(core.CheckWritable());
  record.flags |= format::kRecordUsed;
  std::shared_ptr<ObjectState> object;
  {
    absl::MutexLock lock(&mu);
    object = Remember(ObjectNumber(next_object++), record);
  }
  absl::Status touched = Touch(reserved, object, object->number);
  if (touched.ok()) return object;
  absl::MutexLock lock(&mu);
  open.erase(object->number);
  return touched;
}

absl::Status TableState::Remove(uint64_t& reserved, const std::shared_ptr<ObjectState>& object,
                                TableState& orphans) {
  if (read_only) {
    return MakeError(absl::StatusCode::kFailedPrecondition, EROFS, "a snapshot cannot be written");
  }
  COW_RETURN_IF_ERROR(core.CheckWritable());
  absl::MutexLock write_lock(&object->write_mu);
  ObjectNumber old_number;
  {
    absl::ReaderMutexLock lock(&object->state_mu);
    if (object->table.get() != this || object->gone) {
      return MakeError(absl::StatusCode::kNotFound, ESTALE, "the object was removed already");
    }
    old_number = object->record_number;
  }
  ObjectNumber orphan_number;
  {
    absl::MutexLock lock(&orphans.mu);
    orphan_number = ObjectNumber(orphans.next_object++);
    orphans.open[orphan_number] = object;
  }
  // Both records are made writable before either changes.
  COW_RETURN_IF_ERROR(Touch(reserved, object, old_number));
  COW_RETURN_IF_ERROR(orphans.Touch(reserved, object, orphan_number));
  {
    absl::MutexLock lock(&mu);
    COW_ASSIGN_OR_RETURN(NodePointer leaf, MutableLeafOf(reserved, old_number));
    leaf->content.records[old_number.value() % kRecordsPerLeaf] = Record();
    open.erase(old_number);
    dirty.erase(object);
    COW_RETURN_IF_ERROR(DropLeafIfUnused(reserved, old_number, *leaf));
    // The table stays among the dirty ones: its leaf changed.
  }
  absl::MutexLock lock(&object->state_mu);
  object->table = orphans.shared_from_this();
  object->record_number = orphan_number;
  object->orphan = true;
  return absl::OkStatus();
}

// Numbers are never used again: a leaf whose records were all removed has done its work.
absl::Status TableState::DropLeafIfUnused(uint64_t& reserved, ObjectNumber number,
                                          const Node& leaf) {
  const uint64_t unit = number.value() / kRecordsPerLeaf;
  if (next_object <= (unit + 1) * kRecordsPerLeaf) return absl::OkStatus();
  for (uint64_t slot = 0; slot < kRecordsPerLeaf; ++slot) {
    if (leaf.content.records[slot].used()) return absl::OkStatus();
    // An object may be open whose record is written only when the generation advances.
    auto it = open.find(ObjectNumber(unit * kRecordsPerLeaf + slot));
    if (it != open.end() && !it->second.expired()) return absl::OkStatus();
  }
  absl::Mutex unshared;
  return radix.Clear(root, unit, unit + 1, unshared, reserved);
}

absl::Status TableState::Erase(uint64_t& reserved, ObjectNumber number) {
  Record record;
  {
    absl::MutexLock lock(&mu);
    COW_ASSIGN_OR_RETURN(record, ReadRecord(number));
    if (!record.used()) return absl::OkStatus();
    MarkDirty();
    COW_ASSIGN_OR_RETURN(NodePointer leaf, MutableLeafOf(reserved, number));
    leaf->content.records[number.value() % kRecordsPerLeaf] = Record();
    open.erase(number);
    COW_RETURN_IF_ERROR(DropLeafIfUnused(reserved, number, *leaf));
  }
  return Radix(core, (record.flags & format::kRecordTree) != 0).Drop(record.root);
}

absl::StatusOr<std::optional<ObjectNumber>> TableState::NextObject(ObjectNumber number) {
  const ReaderSlots::Hold hold = core.readers_.Enter(core.generation());
  absl::MutexLock lock(&mu);
  Visited barren;
  for (uint64_t at = number.value();;) {
    COW_ASSIGN_OR_RETURN(auto unit, radix.NextUsed(root, at / kRecordsPerLeaf));
    if (!unit.has_value()) return std::nullopt;
    at = std::max(at, *unit * kRecordsPerLeaf);
    COW_ASSIGN_OR_RETURN(format::Entry entry, radix.Find(root, *unit));
    COW_ASSIGN_OR_RETURN(NodePointer leaf, core.nodes_.Get(entry));
    for (; at < (*unit + 1) * kRecordsPerLeaf; ++at) {
      if (leaf->content.records[at % kRecordsPerLeaf].used()) return ObjectNumber(at);
      // A new object has its record written when the generation advances.
      auto it = open.find(ObjectNumber(at));
      if (it == open.end()) continue;
      if (auto object = it->second.lock(); object != nullptr) {
        absl::ReaderMutexLock object_lock(&object->state_mu);
        if (!object->gone) return ObjectNumber(at);
      }
    }
    COW_RETURN_IF_ERROR(barren.Add(entry.frame()));
  }
}

Object::Object(std::shared_ptr<ObjectState> state) : state_(std::move(state)) {}
Object::~Object() = default;
ObjectNumber Object::number() const { return state_->number; }
bool Object::read_only() const { return state_->version; }
bool Object::is_tree() const { return state_->tree; }

uint64_t Object::size() const {
  absl::ReaderMutexLock lock(&state_->state_mu);
  return state_->size;
}

uint64_t Object::allocated_pages() const {
  absl::ReaderMutexLock lock(&state_->state_mu);
  return state_->pages;
}

std::string Object::attributes() const {
  absl::ReaderMutexLock lock(&state_->state_mu);
  return state_->attributes;
}

Table::Table(std::shared_ptr<TableState> state) : state_(std::move(state)) {}
Table::~Table() = default;
bool Table::read_only() const { return state_->read_only; }

absl::StatusOr<std::shared_ptr<Object>> Table::Open(ObjectNumber number) {
  COW_ASSIGN_OR_RETURN(std::shared_ptr<ObjectState> state, state_->Open(number));
  return std::shared_ptr<Object>(new Object(std::move(state)));
}

absl::StatusOr<std::shared_ptr<Object>> Table::Create(Transaction& transaction,
                                                      std::string attributes) {
  if (attributes.size() > kMaxAttributes) {
    return MakeError(absl::StatusCode::kInvalidArgument, EINVAL, "too many attribute bytes");
  }
  Record record;
  record.attribute_length = static_cast<uint16_t>(attributes.size());
  std::memcpy(record.attributes.data(), attributes.data(), attributes.size());
  COW_ASSIGN_OR_RETURN(std::shared_ptr<ObjectState> state,
                       state_->Create(transaction.reserved_, record));
  return std::shared_ptr<Object>(new Object(std::move(state)));
}

absl::Status Table::Remove(Transaction& transaction, const std::shared_ptr<Object>& object) {
  return state_->Remove(transaction.reserved_, object->state_, *state_->core.orphans_);
}

absl::StatusOr<std::optional<ObjectNumber>> Table::NextObject(ObjectNumber number) const {
  return state_->NextObject(number);
}

}  // namespace cow::store
