#include "cow/store/radix.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "cow/base/checksum.h"

namespace cow::store {

using format::CountOperation;
using format::kFanout;

absl::StatusOr<NodePointer> Radix::Leaf(const Entry& root, uint64_t unit) const {
  if (root.empty() || unit >= Covers(root.level())) return NodePointer();
  Entry entry = root;
  while (true) {
    COW_ASSIGN_OR_RETURN(NodePointer node, core_.nodes_.Get(entry));
    if (entry.level() <= 1) return node;
    entry = node->content.entries[unit >> (8 * (entry.level() - 1)) & (kFanout - 1)];
    if (entry.empty()) return NodePointer();
  }
}

absl::StatusOr<format::Entry> Radix::Find(const Entry& root, uint64_t unit) const {
  if (root.empty() || unit >= Covers(root.level())) return Entry();
  if (root.level() == 0) return root;
  COW_ASSIGN_OR_RETURN(NodePointer leaf, Leaf(root, unit));
  return leaf == nullptr ? Entry() : leaf->content.entries[unit % kFanout];
}

absl::StatusOr<std::optional<uint64_t>> Radix::NextUsed(const Entry& root, uint64_t unit) const {
  if (root.empty() || unit >= Covers(root.level())) return std::nullopt;
  Visited barren;
  return NextBelow(root, 0, unit, barren);
}

absl::StatusOr<std::optional<uint64_t>> Radix::NextBelow(const Entry& entry, uint64_t first,
                                                         uint64_t unit, Visited& barren) const {
  if (entry.level() == 0) return std::max(first, unit);
  COW_ASSIGN_OR_RETURN(NodePointer node, core_.nodes_.Get(entry));
  const uint64_t span = Covers(entry.level() - 1);
  for (uint64_t i = unit > first ? (unit - first) / span : 0; i < kFanout; ++i) {
    const Entry& child = node->content.entries[i];
    if (child.empty()) continue;
    COW_ASSIGN_OR_RETURN(std::optional<uint64_t> found,
                         NextBelow(child, first + i * span, unit, barren));
    if (found.has_value()) return found;
  }
  // Found empty once, the same node is not looked through again.
  COW_RETURN_IF_ERROR(barren.Add(entry.frame()));
  return std::nullopt;
}

absl::StatusOr<uint64_t> Radix::CountUsed(const Entry& root, uint64_t begin, uint64_t end) const {
  if (root.empty() || begin >= end) return 0;
  Visited visited;
  return CountBelow(root, 0, begin, end, visited);
}

absl::StatusOr<uint64_t> Radix::CountBelow(const Entry& entry, uint64_t first, uint64_t begin,
                                           uint64_t end, Visited& visited) const {
  if (entry.level() == 0) return first >= begin && first < end ? 1 : 0;
  COW_RETURN_IF_ERROR(visited.Add(entry.frame()));
  COW_ASSIGN_OR_RETURN(NodePointer node, core_.nodes_.Get(entry));
  const uint64_t span = Covers(entry.level() - 1);
  uint64_t count = 0;
  for (uint64_t i = begin > first ? (begin - first) / span : 0;
       i < kFanout && first + i * span < end; ++i) {
    const Entry& child = node->content.entries[i];
    if (child.empty()) continue;
    COW_ASSIGN_OR_RETURN(uint64_t below, CountBelow(child, first + i * span, begin, end, visited));
    count += below;
  }
  return count;
}

absl::StatusOr<NodePointer> Radix::MutableNode(Entry& slot, uint8_t level, absl::Mutex& mu,
                                               uint64_t& reserved) {
  const Generation generation = core_.generation();
  if (!slot.empty() && slot.birth() == generation) return core_.nodes_.Get(slot);
  NodePointer old;
  if (!slot.empty()) {
    COW_ASSIGN_OR_RETURN(old, core_.nodes_.Get(slot));
  }
  COW_ASSIGN_OR_RETURN(FrameRun run, core_.allocator_.Allocate(1, FrameUse::kNode, reserved));
  NodePointer node = core_.nodes_.Create(run.frame, generation, level, table_);
  if (old != nullptr) {
    node->content = old->content;
    core_.LogCount(slot, CountOperation::kShare);
  }
  absl::MutexLock lock(&mu);
  slot = Entry(run.frame, generation, 0, level, table_);
  return node;
}

absl::Status Radix::Raise(Entry& root, uint64_t unit, uint8_t least, absl::Mutex& mu,
                          uint64_t& reserved) {
  while (root.empty() ? false : root.level() < least || unit >= Covers(root.level())) {
    const Generation generation = core_.generation();
    if (root.level() >= format::kMaxLevel) {
      return MakeError(absl::StatusCode::kOutOfRange, EFBIG, "beyond the largest size");
    }
    COW_ASSIGN_OR_RETURN(FrameRun run, core_.allocator_.Allocate(1, FrameUse::kNode, reserved));
    const auto level = static_cast<uint8_t>(root.level() + 1);
    NodePointer node = core_.nodes_.Create(run.frame, generation, level, table_);
    node->content.entries[0] = root;
    absl::MutexLock lock(&mu);
    root = Entry(run.frame, generation, 0, level, table_);
  }
  if (!root.empty()) return absl::OkStatus();
  uint8_t level = least;
  while (unit >= Covers(level)) ++level;
  if (level > format::kMaxLevel) {
    return MakeError(absl::StatusCode::kOutOfRange, EFBIG, "beyond the largest size");
  }
  return MutableNode(root, level, mu, reserved).status();
}

absl::StatusOr<NodePointer> Radix::MutableLeaf(Entry& root, uint64_t unit, absl::Mutex& mu,
                                               uint64_t& reserved) {
  COW_RETURN_IF_ERROR(Raise(root, unit, 1, mu, reserved));
  Entry* slot = &root;
  NodePointer node;
  for (uint8_t level = root.level();; --level) {
    COW_ASSIGN_OR_RETURN(node, MutableNode(*slot, level, mu, reserved));
    if (level == 1) return node;
    slot = &node->content.entries[unit >> (8 * (level - 1)) & (kFanout - 1)];
  }
}

absl::StatusOr<NodePointer> Radix::MutableUnit(Entry& root, uint64_t unit, absl::Mutex& mu,
                                               uint64_t& reserved) {
  COW_RETURN_IF_ERROR(Raise(root, unit, 0, mu, reserved));
  if (root.level() == 0) return MutableNode(root, 0, mu, reserved);
  COW_ASSIGN_OR_RETURN(NodePointer leaf, MutableLeaf(root, unit, mu, reserved));
  return MutableNode(leaf->content.entries[unit % kFanout], 0, mu, reserved);
}

absl::Status Radix::Clear(Entry& root, uint64_t begin, uint64_t end, absl::Mutex& mu,
                          uint64_t& reserved) {
  if (root.empty() || begin >= end) return absl::OkStatus();
  return ClearBelow(root, root.level(), 0, begin, end, mu, reserved);
}

absl::Status Radix::ClearBelow(Entry& slot, uint8_t level, uint64_t first, uint64_t begin,
                               uint64_t end, absl::Mutex& mu, uint64_t& reserved) {
  const uint64_t covered = Covers(level);
  if (begin <= first && first + covered <= end) {
    const Entry old = slot;
    {
      absl::MutexLock lock(&mu);
      slot = Entry();
    }
    return Drop(old);
  }
  if (level == 0) return absl::OkStatus();
  const uint64_t span = Covers(level - 1);
  const uint64_t from = begin > first ? (begin - first) / span : 0;
  const uint64_t to = std::min(kFanout, (std::min(end, first + covered) - first + span - 1) / span);
  // Where there is nothing to clear, nothing is copied.
  COW_ASSIGN_OR_RETURN(NodePointer node, core_.nodes_.Get(slot));
  bool any = false;
  for (uint64_t i = from; i < to && !any; ++i) any = !node->content.entries[i].empty();
  if (!any) return absl::OkStatus();
  COW_ASSIGN_OR_RETURN(node, MutableNode(slot, level, mu, reserved));
  for (uint64_t i = from; i < to; ++i) {
    Entry& child = node->content.entries[i];
    if (child.empty()) continue;
    COW_RETURN_IF_ERROR(ClearBelow(child, level - 1, first + i * span, begin, end, mu, reserved));
  }
  // A node without children goes too.
  for (const Entry& child : node->content.entries) {
    if (!child.empty()) return absl::OkStatus();
  }
  const Entry unused = slot;
  {
    absl::MutexLock lock(&mu);
    slot = Entry();
  }
  return Drop(unused);
}

absl::Status Radix::Drop(const Entry& entry) {
  if (entry.empty()) return absl::OkStatus();
  if (!entry.has_children()) {
    core_.LogCount(entry, CountOperation::kDrop);
    return absl::OkStatus();
  }
  if (entry.birth() != core_.generation()) {
    core_.LogCount(entry, CountOperation::kDrop);
    return absl::OkStatus();
  }
  // Never sealed, so nothing else refers to it, and its frame never will hold it: the fold could
  // not read its children.
  COW_ASSIGN_OR_RETURN(std::vector<Entry> children, core_.Children(entry));
  for (const Entry& child : children) COW_RETURN_IF_ERROR(Drop(child));
  core_.LogCount(entry, CountOperation::kDropFrame);
  core_.nodes_.Forget(entry.frame());
  return absl::OkStatus();
}

absl::Status Radix::Seal(Entry& entry, std::vector<NodePointer>& sealed) const {
  if (entry.empty() || entry.birth() != core_.generation() || !entry.has_children()) {
    return absl::OkStatus();
  }
  COW_ASSIGN_OR_RETURN(NodePointer node, core_.nodes_.Get(entry));
  // Records have their roots sealed already, by who owns the objects.
  if (entry.level() > 1 || (entry.level() == 1 && entry.table())) {
    for (Entry& child : node->content.entries) COW_RETURN_IF_ERROR(Seal(child, sealed));
  }
  entry.set_checksum(FrameChecksum(node->frame, node->birth, node->bytes()));
  sealed.push_back(std::move(node));
  return absl::OkStatus();
}

}  // namespace cow::store
