#include "cow/store/strays.h"

#include <algorithm>
#include <utility>

#include "cow/base/checksum.h"
#include "cow/format/geometry.h"
#include "cow/format/record.h"
#include "cow/store/frame_log.h"
#include "cow/store/object_state.h"
#include "cow/store/radix.h"
#include "cow/store/table_state.h"

namespace cow::store {

using format::CountOperation;
using format::Entry;
using format::kCountsPerLeaf;
using format::Record;

namespace {

// Of what a node names, so many are compared before it is given up.
constexpr int kMostCompared = 16;

constexpr uint8_t kKnownFlags = format::kRecordUsed | format::kRecordVersion | format::kRecordTree;

bool IsZero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

// What the format says of a record, but for its root.
bool IsWellFormed(const Record& record) {
  if (!record.used()) return IsZero(std::as_bytes(std::span(&record, 1)));
  if ((record.flags & ~kKnownFlags) != 0 || record.reserved0 != 0) return false;
  if (!IsZero(std::as_bytes(std::span(record.reserved1)))) return false;
  if (record.attribute_length > format::kAttributeBytes) return false;
  return IsZero(std::as_bytes(std::span(record.attributes)).subspan(record.attribute_length)) &&
         ((record.flags & format::kRecordTree) != 0 || record.size <= kMaxSize);
}

}  // namespace

Strays::Strays(Store& store) : store_(store), core_(*store.core_) {}

bool Strays::Reach(std::vector<Entry> roots) {
  bool whole = true;
  std::vector<Entry> rest;
  const auto add = [&](const Entry& entry) {
    if (entry.empty() || unread_.Contains(entry.frame())) return;
    whole = whole && (Exists(entry.frame()) || !entry.has_children());
    if (!Exists(entry.frame()) || !reached_.Insert(entry.frame())) return;
    if (entry.has_children()) rest.push_back(entry);
  };
  for (const Entry& root : roots) add(root);
  while (!rest.empty()) {
    const Entry entry = rest.back();
    rest.pop_back();
    const absl::StatusOr<NodePointer> node = core_.nodes_.Get(entry);
    if (!node.ok()) {
      // Rot may have left enough of it to be a stray.
      whole = false;
      unread_.Insert(entry.frame());
      reached_.Erase(entry.frame());
      continue;
    }
    if (entry.level() > 0) {
      for (const Entry& child : (*node)->content.entries) add(child);
      continue;
    }
    for (const Record& record : (*node)->content.records) {
      if (record.used()) add(record.root);
    }
  }
  return whole;
}

void Strays::ReadLogs(const format::Superblock& superblock) {
  // What cannot be read of them leaves more to be looked at.
  FrameLog log;
  if (log.Load(*core_.file_, superblock.count_log).ok()) {
    for (const FrameLog::Item& item : log.items()) {
      pending_[item.entry.frame()] += item.entry.operation() == CountOperation::kAdd ? 1 : -1;
    }
  }
  FrameLog free_log;
  if (free_log.Load(*core_.file_, superblock.free_log).ok()) {
    for (const FrameLog::Item& item : free_log.items()) free_.Insert(item.entry.frame());
  }
}

void Strays::ReadCounts(uint64_t leaf, const format::Superblock& superblock,
                        std::vector<int64_t>& counts) const {
  counts.assign(kCountsPerLeaf, 0);
  // Which half of the pair is the newer one the nodes above would say; a frame that was freed by
  // the last commit may look used.
  bool read = false;
  std::array<uint32_t, kCountsPerLeaf> half;
  for (const uint64_t i : {0, 1}) {
    const FrameNumber frame = format::CountLeafPair(leaf) + i;
    if (!core_.file_->Read(OffsetOf(frame), std::as_writable_bytes(std::span(half))).ok()) continue;
    read = true;
    for (size_t j = 0; j < half.size(); ++j) counts[j] = std::max<int64_t>(counts[j], half[j]);
  }
  if (!read) counts.assign(kCountsPerLeaf, UINT32_MAX);
  const uint64_t first = leaf * kCountsPerLeaf;
  for (const format::FrameRun& run : superblock.uncounted) {
    const uint64_t begin = std::max(first, run.frame.value());
    const uint64_t end = std::min(first + kCountsPerLeaf, run.frame.value() + run.count);
    for (uint64_t i = begin; i < end; ++i) {
      counts[i - first] = std::max<int64_t>(counts[i - first], 1);
    }
  }
}

absl::Status Strays::Find(const std::function<void()>& progress,
                          const std::function<absl::Status(const Stray&)>& found) {
  COW_ASSIGN_OR_RETURN(const uint64_t size, core_.file_->Size());
  std::optional<format::Superblock> newest;
  for (const int copy : {0, 1}) {
    const auto read = core_.ReadCopy(core_.durable_slot_, copy);
    if (read.ok() && read->generation.value() == core_.durable_) newest = *read;
  }
  if (!newest.has_value()) return absl::OkStatus();  // written meanwhile
  frames_ = std::min(size / kPageSize, newest->total_frames);
  if (Reach({newest->trees.root, newest->catalog.root, newest->orphans.root})) {
    return absl::OkStatus();
  }
  for (Table* before : {store_.trees_before(), store_.catalog_before()}) {
    if (before == nullptr) continue;
    absl::MutexLock lock(&before->state_->mu);
    Reach({before->state_->root});
  }
  ReadLogs(*newest);
  std::vector<int64_t> counts;
  for (uint64_t leaf = 0; leaf * kCountsPerLeaf < frames_; ++leaf) {
    ReadCounts(leaf, *newest, counts);
    if (progress) progress();
    for (uint64_t i = 0; i < kCountsPerLeaf; ++i) {
      const FrameNumber frame(leaf * kCountsPerLeaf + i);
      if (counts[i] == 0 || !Exists(frame) || format::InZoneHeader(frame)) continue;
      if (reached_.Contains(frame) || free_.Contains(frame)) continue;
      const auto pending = pending_.find(frame);
      if (pending == pending_.end() || counts[i] + pending->second > 0) Look(frame);
    }
  }
  std::ranges::stable_sort(candidates_, [](const Candidate& a, const Candidate& b) {
    const auto rank = [](const Candidate& c) {
      return std::tuple(c.entry.table(), c.entry.level(), c.youngest.value());
    };
    return rank(a) > rank(b);
  });
  for (const Candidate& candidate : candidates_) {
    if (named_.Contains(candidate.entry.frame())) continue;
    COW_RETURN_IF_ERROR(found(Open(candidate)));
  }
  return absl::OkStatus();
}

bool Strays::IsPlausible(const Entry& entry, uint8_t most_level) const {
  return entry.operation() == CountOperation::kNone && entry.level() <= most_level &&
         entry.birth().value() <= core_.durable_ && !format::InZoneHeader(entry.frame());
}

std::optional<Strays::Candidate> Strays::AsNode(FrameNumber frame,
                                                std::vector<Entry>& children) const {
  Generation youngest;
  for (const Entry& entry : content_.entries) {
    if (entry == Entry()) continue;
    if (!IsPlausible(entry, format::kMaxLevel - 1)) return std::nullopt;
    if (!children.empty() &&
        (children[0].level() != entry.level() || children[0].table() != entry.table())) {
      return std::nullopt;
    }
    youngest = std::max(youngest, entry.birth());
    children.push_back(entry);
  }
  if (children.empty()) return std::nullopt;
  const auto level = static_cast<uint8_t>(children[0].level() + 1);
  return Candidate{Entry(frame, Generation(0), 0, level, children[0].table()), youngest};
}

std::optional<Strays::Candidate> Strays::AsRecords(FrameNumber frame,
                                                   std::vector<Entry>& children) const {
  Generation youngest;
  bool used = false;
  for (const Record& record : content_.records) {
    if (!IsWellFormed(record)) return std::nullopt;
    used = used || record.used();
    if (record.root.empty()) continue;
    const bool tree = (record.flags & format::kRecordTree) != 0;
    if (!IsPlausible(record.root, format::kMaxLevel) || record.root.table() != tree) {
      return std::nullopt;
    }
    youngest = std::max(youngest, record.root.birth());
    children.push_back(record.root);
  }
  if (!used) return std::nullopt;
  return Candidate{Entry(frame, Generation(0), 0, 0, /*table=*/true), youngest};
}

bool Strays::Matches(const Entry& child) {
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(child_.entries));
  if (!core_.file_->Read(OffsetOf(child.frame()), bytes).ok()) return false;
  // Where data has no checksums, the structure of what names it has to do.
  if (!child.has_children() && !core_.data_checksums_) return child.checksum() == 0;
  return FrameChecksum(child.frame(), child.birth(), bytes) == child.checksum();
}

void Strays::Look(FrameNumber frame) {
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(content_.entries));
  if (!core_.file_->Read(OffsetOf(frame), bytes).ok()) return;
  for (const bool records : {true, false}) {
    std::vector<Entry> children;
    std::optional<Candidate> candidate =
        records ? AsRecords(frame, children) : AsNode(frame, children);
    if (!candidate.has_value()) continue;
    int compared = 0;
    for (const Entry& child : children) {
      if (candidate->vouched || compared == kMostCompared) break;
      if (!Exists(child.frame()) || reached_.Contains(child.frame())) continue;
      candidate->vouched = Matches(child);
      ++compared;
    }
    if (!candidate->vouched && !children.empty()) continue;
    // No entry is of the current generation, so it is taken for no other node in the cache.
    const Entry& kind = candidate->entry;
    candidate->entry =
        Entry(frame, core_.generation(), FrameChecksum(frame, core_.generation(), bytes),
              kind.level(), kind.table());
    candidates_.push_back(*candidate);
    for (const Entry& child : children) {
      if (Exists(child.frame())) named_.Insert(child.frame());
    }
    return;
  }
}

Strays::Stray Strays::Open(const Candidate& candidate) const {
  Stray stray{.frame = candidate.entry.frame(), .vouched = candidate.vouched};
  format::TableRoot root;
  if (candidate.entry.table()) root.root = candidate.entry;
  auto table = std::make_shared<TableState>(core_, nullptr, /*read_only=*/true, root);
  if (candidate.entry.table()) {
    stray.table.reset(new Table(std::move(table)));
    return stray;
  }
  // Up to the last page, as far as can be read.
  uint64_t last = 0;
  for (Entry at = candidate.entry; at.level() > 0;) {
    const uint64_t span = Radix::Covers(at.level() - 1);
    const absl::StatusOr<NodePointer> node = core_.nodes_.Get(at);
    if (!node.ok()) {
      last += Radix::Covers(at.level()) - 1;
      break;
    }
    uint64_t i = format::kFanout - 1;
    while (i > 0 && (*node)->content.entries[i].empty()) --i;
    at = (*node)->content.entries[i];
    last += i * span;
  }
  Record record;
  record.root = candidate.entry;
  record.size = OffsetOf(PageNumber(last + 1));
  record.flags = format::kRecordUsed;
  stray.pages.reset(new Object(std::make_shared<ObjectState>(
      core_, std::move(table), ObjectNumber(candidate.entry.frame().value()), record)));
  return stray;
}

bool Strays::Claim(const Object& object) {
  absl::ReaderMutexLock lock(&object.state_->state_mu);
  const Entry& root = object.state_->root;
  return root.empty() || !Exists(root.frame()) || reached_.Insert(root.frame());
}

}  // namespace cow::store
