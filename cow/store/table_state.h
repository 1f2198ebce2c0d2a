// What all open handles of one table share.
#pragma once

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "cow/store/core.h"
#include "cow/store/object_state.h"

namespace cow::store {

class TableState : public std::enable_shared_from_this<TableState> {
 public:
  // `owner` is the object whose root this is; nullptr for the tables of the superblock.
  TableState(Core& core, std::shared_ptr<ObjectState> owner, bool read_only,
             const format::TableRoot& root);

  absl::StatusOr<std::shared_ptr<ObjectState>> Open(ObjectNumber number);
  absl::StatusOr<std::shared_ptr<ObjectState>> Create(uint64_t& reserved, format::Record record);
  // Moves the object's record to `orphans`.
  absl::Status Remove(uint64_t& reserved, const std::shared_ptr<ObjectState>& object,
                      TableState& orphans);
  // Takes a record out for good and gives up its root.
  absl::Status Erase(uint64_t& reserved, ObjectNumber number);

  absl::Status DropLeafIfUnused(uint64_t& reserved, ObjectNumber number, const Node& leaf)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  absl::StatusOr<std::optional<ObjectNumber>> NextObject(ObjectNumber number);
  absl::StatusOr<format::Record> ReadRecord(ObjectNumber number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // The leaf of `number`'s record, to be changed in this generation.
  absl::StatusOr<NodePointer> MutableLeafOf(uint64_t& reserved, ObjectNumber number)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // The next seal looks at this table. Before its nodes are changed: a path that was copied in part
  // when an error came is sealed like any other.
  void MarkDirty() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // The state of an object that is not open yet.
  std::shared_ptr<ObjectState> Remember(ObjectNumber number, const format::Record& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Makes the object's record writable and the object one of `dirty`.
  absl::Status Touch(uint64_t& reserved, const std::shared_ptr<ObjectState>& object,
                     ObjectNumber record_number);

  // Writes the records of dirty objects and fills in checksums. Gate held alone.
  absl::Status Seal(std::vector<NodePointer>& sealed);
  // Every open object takes what `root` has for it. Gate held alone.
  absl::Status Rebind(const format::TableRoot& root);

  Core& core;
  const std::shared_ptr<ObjectState> owner;
  const bool read_only;
  Radix radix;

  absl::Mutex mu;
  format::Entry root ABSL_GUARDED_BY(mu);
  uint64_t next_object ABSL_GUARDED_BY(mu);
  absl::flat_hash_map<ObjectNumber, std::weak_ptr<ObjectState>> open ABSL_GUARDED_BY(mu);
  absl::flat_hash_set<std::shared_ptr<ObjectState>> dirty ABSL_GUARDED_BY(mu);

 private:
  size_t forget_at_ ABSL_GUARDED_BY(mu) = 64;  // size of `open` at which to look for closed ones
};

}  // namespace cow::store
