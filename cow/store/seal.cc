// The seal: when the generation advances, all that changed in it becomes immutable, and gets its
// checksums, from the leaves to the roots.
#include <utility>
#include <vector>

#include "cow/store/object_state.h"
#include "cow/store/table_state.h"

namespace cow::store {

absl::Status TableState::Seal(std::vector<NodePointer>& sealed) {
  absl::MutexLock lock(&mu);
  uint64_t nothing_reserved = 0;
  for (const std::shared_ptr<ObjectState>& object : dirty) {
    absl::MutexLock object_lock(&object->state_mu);
    if (!object->tree) COW_RETURN_IF_ERROR(object->radix.Seal(object->root, sealed));
    // Touch made it: this finds the leaf, and allocates nothing.
    const ObjectNumber number = object->record_number;
    COW_ASSIGN_OR_RETURN(NodePointer leaf, MutableLeafOf(nothing_reserved, number));
    leaf->content.records[number.value() % format::kRecordsPerLeaf] = object->ToRecord();
  }
  dirty.clear();
  COW_RETURN_IF_ERROR(radix.Seal(root, sealed));
  if (owner != nullptr) {
    absl::MutexLock owner_lock(&owner->state_mu);
    owner->root = root;
    owner->size = next_object;
  }
  return absl::OkStatus();
}

absl::Status Core::Seal() {
  std::set<std::shared_ptr<TableState>> tables;
  {
    absl::MutexLock lock(&dirty_mu_);
    tables.swap(dirty_tables_);
  }
  if (tables.empty()) return absl::OkStatus();
  std::vector<NodePointer> sealed;
  // The table of an object comes before the table of that table's object.
  for (const bool of_superblock : {false, true}) {
    for (const std::shared_ptr<TableState>& table : tables) {
      if ((table->owner == nullptr) != of_superblock) continue;
      if (absl::Status status = table->Seal(sealed); !status.ok()) return Fail(status);
    }
  }
  generation_.fetch_add(1);
  absl::MutexLock lock(&dirty_mu_);
  sealed_.insert(sealed_.end(), sealed.begin(), sealed.end());
  return absl::OkStatus();
}

}  // namespace cow::store
