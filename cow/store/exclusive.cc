// What only one version holds.
#include <cerrno>
#include <memory>
#include <vector>

#include "cow/store/core.h"
#include "cow/store/object_state.h"
#include "cow/store/table_state.h"

namespace cow::store {

using format::Entry;

namespace {

// Frames below `entry`, itself included, that are reached through counts of one only.
absl::StatusOr<uint64_t> ExclusiveBelow(Core& core, const Entry& entry, Visited& visited) {
  if (entry.empty()) return 0;
  COW_ASSIGN_OR_RETURN(uint32_t count, core.allocator_.Count(entry.frame()));
  if (count != 1) return 0;
  uint64_t frames = 1;
  if (!entry.has_children()) return frames;
  COW_RETURN_IF_ERROR(visited.Add(entry.frame()));
  COW_ASSIGN_OR_RETURN(std::vector<Entry> children, core.Children(entry));
  for (const Entry& child : children) {
    // A tree has no tree in it; so the depth of this is bounded, whatever an image says.
    if (entry.level() == 0 && child.table()) {
      return MakeError(absl::StatusCode::kDataLoss, EIO, "a tree within a tree");
    }
    COW_ASSIGN_OR_RETURN(uint64_t below, ExclusiveBelow(core, child, visited));
    frames += below;
  }
  return frames;
}

// Whether the leaf of records `unit` is shared with another version of the table.
absl::StatusOr<bool> IsShared(Core& core, Entry entry, uint64_t unit) {
  while (!entry.empty()) {
    COW_ASSIGN_OR_RETURN(uint32_t count, core.allocator_.Count(entry.frame()));
    if (count != 1) return true;
    if (entry.level() == 0) return false;
    COW_ASSIGN_OR_RETURN(NodePointer node, core.nodes_.Get(entry));
    entry =
        node->content
            .entries[unit >> (format::kFanoutShift * (entry.level() - 1)) & (format::kFanout - 1)];
  }
  return false;
}

// Counts everything that is pending. The root of the object; an empty entry where another version
// has the record that it is in. Gate held alone.
absl::StatusOr<Entry> CountedRoot(Core& core, const ObjectState& object) {
  COW_RETURN_IF_ERROR(core.Seal());
  COW_RETURN_IF_ERROR(core.FoldAll());
  Entry root;
  ObjectNumber number;
  std::shared_ptr<TableState> table;
  {
    absl::ReaderMutexLock lock(&object.state_mu);
    root = object.root;
    number = object.record_number;
    table = object.table;
  }
  Entry table_root;
  {
    absl::MutexLock lock(&table->mu);
    table_root = table->root;
  }
  if (table->owner != nullptr) {
    // A record of a tree that has snapshots is in them too, until its leaf is copied.
    COW_ASSIGN_OR_RETURN(bool shared,
                         IsShared(core, table_root, number.value() / format::kRecordsPerLeaf));
    if (shared) return Entry();
  }
  return root;
}

// Marks of pages [begin, end) those below `entry`, whose first is `page`, that are reached through
// counts of one only.
absl::Status MarkExclusive(Core& core, const Entry& entry, uint64_t page, uint64_t begin,
                           uint64_t end, std::vector<bool>& marks) {
  COW_ASSIGN_OR_RETURN(const uint32_t count, core.allocator_.Count(entry.frame()));
  if (count != 1) return absl::OkStatus();
  if (entry.level() == 0) {
    marks[page - begin] = true;
    return absl::OkStatus();
  }
  COW_ASSIGN_OR_RETURN(const NodePointer node, core.nodes_.Get(entry));
  const uint64_t span = uint64_t{1} << (format::kFanoutShift * (entry.level() - 1));
  for (const Entry& child : node->content.entries) {
    if (!child.empty() && page < end && page + span > begin) {
      COW_RETURN_IF_ERROR(MarkExclusive(core, child, page, begin, end, marks));
    }
    page += span;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<bool>> Store::ExclusivePages(const Object& object, PageNumber begin,
                                                        PageNumber end) {
  Core& core = *core_;
  COW_RETURN_IF_ERROR(core.Settle());
  absl::MutexLock gate(&core.gate_);
  COW_ASSIGN_OR_RETURN(const Entry root, CountedRoot(core, *object.state_));
  std::vector<bool> marks(end - begin);
  if (!root.empty()) {
    COW_RETURN_IF_ERROR(MarkExclusive(core, root, 0, begin.value(), end.value(), marks));
  }
  return marks;
}

absl::StatusOr<uint64_t> Store::ExclusiveBytes(const Object& object) {
  Core& core = *core_;
  if (!core.read_only_) COW_RETURN_IF_ERROR(core.Settle());
  absl::MutexLock gate(&core.gate_);
  if (core.read_only_) COW_RETURN_IF_ERROR(core.LoadForCheck());
  COW_ASSIGN_OR_RETURN(const Entry root, CountedRoot(core, *object.state_));
  Visited visited;
  COW_ASSIGN_OR_RETURN(uint64_t frames, ExclusiveBelow(core, root, visited));
  return frames * kPageSize;
}

}  // namespace cow::store
