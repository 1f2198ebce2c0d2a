#include "cow/store/count_table.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <string>

#include "absl/strings/str_format.h"
#include "cow/base/checksum.h"
#include "cow/base/status.h"

namespace cow::store {

using format::Entry;

CountTable::CountTable(const os::File& file, uint64_t budget_bytes)
    : file_(file),
      max_leaves_(std::max<size_t>(64, budget_bytes / sizeof(LeafState))),
      evict_at_(max_leaves_) {}

void CountTable::Load(const Entry& root, uint64_t total_frames) {
  root_ = root;
  levels_ = root.empty() ? format::CountLevels(total_frames) : root.level();
}

absl::Status CountTable::ReadVerified(const Entry& entry, std::span<std::byte> bytes) {
  COW_RETURN_IF_ERROR(file_.Read(OffsetOf(entry.frame()), bytes));
  if (FrameChecksum(entry.frame(), entry.birth(), bytes) == entry.checksum()) {
    return absl::OkStatus();
  }
  ++checksum_failures_;
  return MakeError(absl::StatusCode::kDataLoss, EIO,
                   file_.name() + absl::StrFormat(": frame %d (counts): checksum does not match; "
                                                  "run `cowctl check`",
                                                  entry.frame().value()));
}

absl::StatusOr<CountTable::NodeState*> CountTable::GetNode(uint8_t level, uint64_t index,
                                                           bool repair) {
  auto it = nodes_.find({level, index});
  if (it != nodes_.end()) return it->second.get();
  Entry entry;
  if (level == levels_) {
    if (index == 0) entry = root_;
  } else if (level < levels_) {
    COW_ASSIGN_OR_RETURN(NodeState * parent, GetNode(level + 1, index / format::kFanout, repair));
    entry = parent->entries[index % format::kFanout];
  }
  auto node = std::make_unique<NodeState>();
  if (!entry.empty()) {
    absl::Status read = ReadVerified(entry, std::as_writable_bytes(std::span(node->entries)));
    if (!read.ok() && !repair) return read;
    if (!read.ok()) node->entries = {};
  }
  return nodes_.emplace(NodeKey{level, index}, std::move(node)).first->second.get();
}

absl::StatusOr<CountTable::LeafState*> CountTable::GetLeaf(uint64_t leaf, bool create) {
  auto it = leaves_.find(leaf);
  if (it != leaves_.end()) {
    it->second->touched = true;
    return it->second.get();
  }
  COW_ASSIGN_OR_RETURN(NodeState * parent, GetNode(1, leaf / format::kFanout));
  const Entry entry = parent->entries[leaf % format::kFanout];
  if (entry.empty() && !create) return nullptr;
  Evict();
  auto state = std::make_unique<LeafState>();
  if (!entry.empty()) {
    COW_RETURN_IF_ERROR(ReadVerified(entry, std::as_writable_bytes(std::span(state->counts))));
  }
  return leaves_.emplace(leaf, std::move(state)).first->second.get();
}

void CountTable::Evict() {
  if (leaves_.size() < evict_at_) return;
  // Half of the clean leaves that were not used since the last time go at once: amortised O(1).
  size_t goal = max_leaves_ / 2;
  for (auto it = leaves_.begin(); it != leaves_.end() && leaves_.size() > goal;) {
    LeafState& leaf = *it->second;
    if (!leaf.dirty && !leaf.touched && leaf.planned < plans_) {
      leaves_.erase(it++);
    } else {
      leaf.touched = false;
      ++it;
    }
  }
  evict_at_ = std::max(max_leaves_, leaves_.size() + leaves_.size() / 2);
}

absl::StatusOr<uint32_t> CountTable::Get(FrameNumber frame) {
  COW_ASSIGN_OR_RETURN(LeafState * leaf,
                       GetLeaf(frame.value() / format::kCountsPerLeaf, /*create=*/false));
  return leaf == nullptr ? 0 : leaf->counts[frame.value() % format::kCountsPerLeaf];
}

absl::Status CountTable::Set(FrameNumber frame, uint32_t count) {
  const uint64_t index = frame.value() / format::kCountsPerLeaf;
  COW_ASSIGN_OR_RETURN(LeafState * leaf, GetLeaf(index, /*create=*/true));
  if (frozen_ && !kept_.contains(index)) {
    kept_.emplace(index, std::make_unique<CountLeaf>(leaf->counts));
  }
  leaf->counts[frame.value() % format::kCountsPerLeaf] = count;
  if (!leaf->dirty) {
    leaf->dirty = true;
    dirty_leaves_.push_back(index);
  }
  return absl::OkStatus();
}

absl::StatusOr<const CountLeaf*> CountTable::Leaf(uint64_t leaf) {
  COW_ASSIGN_OR_RETURN(LeafState * state, GetLeaf(leaf, /*create=*/false));
  return state == nullptr ? nullptr : &state->counts;
}

void CountTable::Thaw() {
  frozen_ = false;
  kept_.clear();
}

absl::Status CountTable::ReadFrozen(uint64_t leaf, CountLeaf& counts) {
  if (auto it = kept_.find(leaf); it != kept_.end()) {
    counts = *it->second;
    return absl::OkStatus();
  }
  if (auto it = leaves_.find(leaf); it != leaves_.end()) {
    counts = it->second->counts;
    return absl::OkStatus();
  }
  COW_ASSIGN_OR_RETURN(const NodeState* parent, GetNode(1, leaf / format::kFanout));
  const Entry& entry = parent->entries[leaf % format::kFanout];
  counts = {};
  if (entry.empty()) return absl::OkStatus();
  return ReadVerified(entry, std::as_writable_bytes(std::span(counts)));
}

void CountTable::Reset(uint64_t leaf) {
  // It cannot fail: the nodes above are there, or made.
  GetNode(1, leaf / format::kFanout, /*repair=*/true).status().IgnoreError();
  std::unique_ptr<LeafState>& state = leaves_[leaf];
  if (state == nullptr) state = std::make_unique<LeafState>();
  state->counts = {};
  if (state->dirty) return;
  state->dirty = true;
  dirty_leaves_.push_back(leaf);
}

Entry CountTable::PlanFrame(FrameNumber pair, const Entry& old, uint8_t level,
                            Generation generation, std::span<const std::byte> bytes,
                            std::vector<PlannedWrite>& writes) {
  const FrameNumber frame = !old.empty() && old.frame() == pair ? pair + 1 : pair;
  auto copy = std::make_shared<std::array<std::byte, kPageSize>>();
  std::memcpy(copy->data(), bytes.data(), kPageSize);
  writes.push_back({frame, copy});
  return Entry(frame, generation, FrameChecksum(frame, generation, bytes), level, /*table=*/false);
}

absl::Status CountTable::Plan(Generation generation, uint64_t total_frames,
                              std::vector<PlannedWrite>& writes) {
  ++plans_;
  if (dirty_leaves_.empty()) return absl::OkStatus();
  // A volume that has outgrown its root gets levels above it; the old root is their first child.
  while (levels_ < format::CountLevels(total_frames)) {
    const Entry old = root_;
    root_ = Entry();
    ++levels_;
    COW_ASSIGN_OR_RETURN(NodeState * node, GetNode(levels_, 0));
    node->entries[0] = old;
  }
  std::vector<std::set<uint64_t>> dirty(levels_ + 1);
  for (uint64_t index : dirty_leaves_) {
    LeafState& leaf = *leaves_.at(index);
    COW_ASSIGN_OR_RETURN(NodeState * parent, GetNode(1, index / format::kFanout));
    Entry& entry = parent->entries[index % format::kFanout];
    entry = PlanFrame(format::CountLeafPair(index), entry, 0, generation,
                      std::as_bytes(std::span(leaf.counts)), writes);
    leaf.dirty = false;
    leaf.planned = plans_;
    dirty[1].insert(index / format::kFanout);
  }
  dirty_leaves_.clear();
  evict_at_ = max_leaves_;
  for (uint8_t level = 1; level <= levels_; ++level) {
    for (uint64_t index : dirty[level]) {
      COW_ASSIGN_OR_RETURN(NodeState * node, GetNode(level, index));
      const auto bytes = std::as_bytes(std::span(node->entries));
      const FrameNumber pair = format::CountNodePair(level, index);
      if (level == levels_) {
        root_ = PlanFrame(pair, root_, level, generation, bytes, writes);
        continue;
      }
      COW_ASSIGN_OR_RETURN(NodeState * parent, GetNode(level + 1, index / format::kFanout));
      Entry& entry = parent->entries[index % format::kFanout];
      entry = PlanFrame(pair, entry, level, generation, bytes, writes);
      dirty[level + 1].insert(index / format::kFanout);
    }
  }
  return absl::OkStatus();
}

}  // namespace cow::store
