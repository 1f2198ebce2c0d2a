#include "cow/store/node_cache.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/str_format.h"
#include "cow/base/checksum.h"
#include "cow/base/status.h"
#include "cow/store/store.h"

namespace cow::store {

namespace {

// Of the clock's hand, for each node that comes.
constexpr int kSteps = 16;

// Levels go down by one, so that every walk ends; what is below a table is of a table, and a record
// says of its root what it is. Nothing is younger than what refers to it: so nothing on the disk is
// taken for a frame of the current generation, which may be written in place.
bool IsWellFormed(const format::Entry& entry, const Node& node) {
  if (entry.level() > 0) {
    return std::ranges::all_of(node.content.entries, [&](const format::Entry& child) {
      return child.empty() || (child.level() + 1 == entry.level() &&
                               child.table() == entry.table() && child.birth() <= entry.birth());
    });
  }
  return std::ranges::all_of(node.content.records, [&](const format::Record& record) {
    if (!record.used()) return true;
    const bool tree = (record.flags & format::kRecordTree) != 0;
    // Offsets in a file are computed with, and must not overflow.
    if (!tree && record.size > kMaxSize) return false;
    return record.root.empty() ||
           (record.root.level() <= format::kMaxLevel && record.root.table() == tree &&
            record.root.birth() <= entry.birth());
  });
}

}  // namespace

NodeCache::NodeCache(const os::File& file, uint64_t budget_bytes)
    : file_(file), nodes_per_shard_(std::max<size_t>(16, budget_bytes / sizeof(Node) / kShards)) {}

void NodeCache::Insert(Shard& shard, const NodePointer& node) {
  // The clock may name a frame twice, or one that was forgotten: such a hand only moves on. A bounded
  // number of steps: among nodes none of which can go now, looking at all for each new one takes a
  // time that is their square; and in a sixteenth of a round more there is one that can.
  for (int tries = kSteps; shard.clock.size() >= nodes_per_shard_ && tries > 0; --tries) {
    if (shard.hand >= shard.clock.size()) shard.hand = 0;
    auto it = shard.nodes.find(shard.clock[shard.hand]);
    if (it != shard.nodes.end()) {
      Node& candidate = *it->second;
      if (candidate.unwritten.load() || candidate.touched.exchange(false)) {
        ++shard.hand;
        continue;
      }
      shard.nodes.erase(it);
    }
    shard.clock[shard.hand] = shard.clock.back();
    shard.clock.pop_back();
  }
  auto [it, inserted] = shard.nodes.insert_or_assign(node->frame, node);
  if (inserted) shard.clock.push_back(node->frame);
}

// Two entries may name one frame as nodes of different levels. What is in memory was checked for one
// of them only; taken for the other it would lead a walk in circles.
absl::StatusOr<NodePointer> NodeCache::OfKind(const NodePointer& node,
                                              const format::Entry& entry) const {
  if (node->level == entry.level() && node->table == entry.table()) return node;
  return OfAnotherKind(entry);
}

absl::Status NodeCache::OfAnotherKind(const format::Entry& entry) const {
  return MakeError(absl::StatusCode::kDataLoss, EIO,
                   file_.name() + absl::StrFormat(": frame %d (node of level %d): has entries of "
                                                  "another kind; run `cowctl check`",
                                                  entry.frame().value(), entry.level()));
}

absl::StatusOr<NodePointer> NodeCache::Get(const format::Entry& entry) {
  Shard& shard = ShardOf(entry.frame());
  {
    absl::MutexLock lock(&shard.mu);
    auto it = shard.nodes.find(entry.frame());
    if (it != shard.nodes.end() && it->second->birth == entry.birth()) {
      ++shard.hits;
      it->second->touched.store(true, std::memory_order_relaxed);
      return OfKind(it->second, entry);
    }
    ++shard.misses;
  }
  auto node = std::make_shared<Node>(entry.frame(), entry.birth(), entry.level(), entry.table());
  COW_RETURN_IF_ERROR(file_.Read(OffsetOf(entry.frame()), node->bytes()));
  if (FrameChecksum(entry.frame(), entry.birth(), node->bytes()) != entry.checksum()) {
    checksum_failures_.Add();
    return MakeError(absl::StatusCode::kDataLoss, EIO,
                     file_.name() + absl::StrFormat(": frame %d (node of level %d, generation %d): "
                                                    "checksum does not match; run `cowctl check`",
                                                    entry.frame().value(), entry.level(),
                                                    entry.birth().value()));
  }
  if (!IsWellFormed(entry, *node)) return OfAnotherKind(entry);
  absl::MutexLock lock(&shard.mu);
  auto it = shard.nodes.find(entry.frame());
  if (it != shard.nodes.end() && it->second->birth == entry.birth()) {
    return OfKind(it->second, entry);
  }
  Insert(shard, node);
  return node;
}

NodePointer NodeCache::Create(FrameNumber frame, Generation birth, uint8_t level, bool table) {
  auto node = std::make_shared<Node>(frame, birth, level, table);
  node->unwritten = true;
  unwritten_.fetch_add(1, std::memory_order_relaxed);
  Shard& shard = ShardOf(frame);
  absl::MutexLock lock(&shard.mu);
  Insert(shard, node);
  return node;
}

void NodeCache::Written(const NodePointer& node) {
  if (node->unwritten.exchange(false)) unwritten_.fetch_sub(1, std::memory_order_relaxed);
}

void NodeCache::AddTo(Counter& hits, Counter& misses, Counter& checksum_failures) {
  for (Shard& shard : shards_) {
    absl::MutexLock lock(&shard.mu);
    hits.Add(shard.hits);
    misses.Add(shard.misses);
  }
  checksum_failures.Add(checksum_failures_);
}

void NodeCache::Forget(FrameNumber frame) {
  Shard& shard = ShardOf(frame);
  absl::MutexLock lock(&shard.mu);
  auto it = shard.nodes.find(frame);
  if (it == shard.nodes.end()) return;
  Written(it->second);
  shard.nodes.erase(it);
}

}  // namespace cow::store
