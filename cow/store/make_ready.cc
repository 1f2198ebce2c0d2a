// The ready set: its extents, and where they come from: free frames found in the counts, and growth
// of the volume file.
#include <algorithm>
#include <cerrno>

#include "absl/strings/str_format.h"
#include "cow/base/status.h"
#include "cow/store/allocator.h"

namespace cow::store {

using format::kCountsPerLeaf;

namespace {

constexpr uint64_t kNodeRun = 64;           // frames set aside for nodes and logs at a time
constexpr uint64_t kShortWrite = 16;        // shorter ones are
constexpr uint64_t kSmallestGrowth = 256;   // 1 MiB
constexpr uint64_t kLargestGrowth = 16384;  // 64 MiB

absl::Status NamingTheHost(const absl::Status& status) {
  return ErrnoOf(status) == ENOSPC ? Annotate(status, "the host filesystem is full") : status;
}

}  // namespace

// Writes that follow each other go to frames that follow each other, whatever is freed meanwhile: a
// commit's frames are then few writes of the disk, and a file written in order is in few extents. So
// long extents are used up one after the other; but not by short writes where few are left, as what
// they write is freed bit by bit: they get the longest of the others.
FrameRun Allocator::TakeData(uint64_t frames) {
  if (ready_.empty()) return {};
  const bool is_short = frames < kShortWrite;
  const bool spare = is_short && SpareLong(2);
  if (!is_short) SeekLong();
  auto extent = ready_.upper_bound(data_cursor_);
  if (extent != ready_.begin()) --extent;
  uint64_t at = std::max(extent->first, data_cursor_);
  if (extent->first > data_cursor_ || extent->second < data_cursor_ + frames ||
      (spare && extent->second - extent->first >= kLongExtent)) {
    auto longer = by_length_.lower_bound({std::max(frames, kLongExtent), 0});
    if (longer == by_length_.end() || (spare && longer != by_length_.begin())) --longer;
    extent = ready_.find(longer->second);
    at = extent->first;
  }
  const auto [begin, end] = *extent;
  const uint64_t taken = std::min(frames, end - at);
  RemoveReady(extent);
  AddReady(begin, at);
  AddReady(at + taken, end);
  data_cursor_ = at + taken;
  return {FrameNumber(at), taken};
}

// From the end of the longest extent, so that data goes on where it is.
FrameRun Allocator::TakeNodeRun() {
  if (ready_.empty()) return {};
  auto longest = std::prev(by_length_.end());
  if (SpareLong(4)) {
    longest = by_length_.lower_bound({kLongExtent, 0});
    if (longest != by_length_.begin()) --longest;
  }
  const auto extent = ready_.find(longest->second);
  const auto [begin, end] = *extent;
  const uint64_t taken = std::min(kNodeRun, end - begin);
  RemoveReady(extent);
  AddReady(begin, end - taken);
  return {FrameNumber(end - taken), taken};
}

void Allocator::SeekLongExtent() {
  absl::MutexLock lock(&mu_);
  SeekLong();
}

// What it finds on the way is ready too: so it does not look there again.
void Allocator::SeekLong() {
  constexpr int kMostScans = 64;
  const auto found = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return long_total_ > 0; };
  for (int i = 0; i < kMostScans && !found() && UnreadyFree() > 0; ++i) {
    if (!ScanForFree(1).ok()) return;
  }
  // It grows where less than half of it is free, though in pieces. Where that fails, whoever
  // allocates gets the longest that there is.
  if (!found() && UnreadyFree() + ready_total_ < total_ / 2) Extend(kLongExtent).IgnoreError();
}

bool Allocator::SpareLong(uint64_t parts) const { return long_total_ * parts < ready_total_; }

void Allocator::AddReady(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  if (end - begin >= kLongExtent) long_total_ += end - begin;
  ready_.emplace(begin, end);
  by_length_.emplace(end - begin, begin);
}

void Allocator::RemoveReady(absl::btree_map<uint64_t, uint64_t>::iterator extent) {
  const uint64_t length = extent->second - extent->first;
  if (length >= kLongExtent) long_total_ -= length;
  by_length_.erase({length, extent->first});
  ready_.erase(extent);
}

void Allocator::InsertReady(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  ready_total_ += end - begin;
  if (auto next = ready_.find(end); next != ready_.end()) {
    end = next->second;
    RemoveReady(next);
  }
  auto previous = ready_.lower_bound(begin);
  if (previous != ready_.begin() && (--previous)->second == begin) {
    begin = previous->first;
    RemoveReady(previous);
  }
  AddReady(begin, end);
}

bool Allocator::IsReady(uint64_t frame) const {
  if (frame >= node_run_.frame.value() && frame < node_run_.frame.value() + node_run_.count) {
    return true;
  }
  auto it = ready_.upper_bound(frame);
  return it != ready_.begin() && std::prev(it)->second > frame;
}

absl::Status Allocator::MakeReady(uint64_t frames) {
  const uint64_t goal = ready_total_ + frames;
  // Used again before the volume grows, where much is free; else growing keeps files contiguous.
  if (UnreadyFree() > std::max<uint64_t>(frames, total_ / 8)) {
    if (absl::Status scanned = ScanForFree(frames); absl::IsDataLoss(scanned)) return scanned;
  }
  if (ready_total_ >= goal) return absl::OkStatus();
  absl::Status extended = Extend(goal - ready_total_);
  host_full_ = absl::IsResourceExhausted(extended);
  if (extended.ok()) return extended;
  absl::Status scanned;
  if (UnreadyFree() > 0) scanned = ScanForFree(goal - ready_total_);
  if (absl::IsDataLoss(scanned)) return scanned;
  if (ready_total_ >= goal) return absl::OkStatus();
  return scanned.ok() ? extended : scanned;
}

absl::Status Allocator::ScanForFree(uint64_t frames) {
  const uint64_t leaves = (total_ + kCountsPerLeaf - 1) / kCountsPerLeaf;
  uint64_t found = 0;
  for (uint64_t i = 0; i < leaves && found < frames; ++i) {
    const uint64_t leaf = scan_leaf_ % leaves;
    scan_leaf_ = leaf + 1;
    COW_ASSIGN_OR_RETURN(const CountLeaf* counts, counts_.Leaf(leaf));
    const uint64_t end = std::min(total_, (leaf + 1) * kCountsPerLeaf);
    for (uint64_t frame = leaf * kCountsPerLeaf; frame < end;) {
      const uint64_t begin = frame;
      while (frame < end && (counts == nullptr || (*counts)[frame % kCountsPerLeaf] == 0) &&
             !format::InZoneHeader(FrameNumber(frame)) && !IsReady(frame) &&
             !log_frames_.contains(FrameNumber(frame))) {
        ++frame;
      }
      if (frame > begin) {
        absl::Status status = BackCounts(FrameNumber(begin), FrameNumber(frame));
        if (status.ok()) status = MakeRunReady(begin, frame);
        COW_RETURN_IF_ERROR(NamingTheHost(status));
        found += frame - begin;
      } else {
        ++frame;
      }
    }
  }
  return absl::OkStatus();
}

// Where the host has less left than the run takes, it is as long as there is space for.
absl::Status Allocator::MakeRunReady(uint64_t begin, uint64_t end) {
  for (uint64_t step = end - begin; begin < end;) {
    step = std::min(step, end - begin);
    absl::Status status = file_.Allocate(OffsetOf(FrameNumber(begin)), step * kPageSize);
    if (status.ok()) {
      InsertReady(begin, begin + step);
      begin += step;
    } else if (ErrnoOf(status) != ENOSPC || step == 1) {
      return status;
    } else {
      step /= 2;
    }
  }
  return absl::OkStatus();
}

absl::Status Allocator::BackCounts(FrameNumber begin, FrameNumber end) {
  for (uint64_t leaf = begin.value() / kCountsPerLeaf; leaf * kCountsPerLeaf < end.value();
       ++leaf) {
    if (backed_leaves_.contains(leaf)) continue;
    COW_RETURN_IF_ERROR(file_.Allocate(OffsetOf(format::CountLeafPair(leaf)), 2 * kPageSize));
    const uint64_t zone = leaf / format::kLeavesPerZone;
    COW_RETURN_IF_ERROR(file_.Allocate(OffsetOf(format::CountNodePair(1, zone)),
                                       2 * format::kMaxCountLevel * kPageSize));
    backed_leaves_.insert(leaf);
  }
  return absl::OkStatus();
}

absl::Status Allocator::Extend(uint64_t frames) {
  // No entry can name a frame beyond, whatever limit a volume was made with.
  const uint64_t limit = max_ == 0 ? format::kMaxFrame : std::min(max_, format::kMaxFrame);
  const uint64_t growth =
      std::max(frames, std::clamp<uint64_t>(total_ / 16, kSmallestGrowth, kLargestGrowth));
  absl::Status status;
  for (uint64_t wanted : {growth, frames}) {
    // Zone headers that are crossed do not count.
    uint64_t end = std::min(limit, total_ + wanted);
    for (uint64_t usable = 0; end < limit; end += wanted - usable) {
      usable = (end - total_) - (format::HeaderFrames(end) - format::HeaderFrames(total_));
      if (usable >= wanted) break;
    }
    end = std::min(end, limit);
    uint64_t got = 0;
    status = absl::OkStatus();
    for (uint64_t begin = total_; begin < end && status.ok();) {
      if (format::InZoneHeader(FrameNumber(begin))) {
        begin = begin / format::kZoneFrames * format::kZoneFrames + format::kZoneHeader;
        continue;
      }
      const uint64_t zone_end = (begin / format::kZoneFrames + 1) * format::kZoneFrames;
      const uint64_t part_end = std::min(end, zone_end);
      status = BackCounts(FrameNumber(begin), FrameNumber(part_end));
      if (status.ok()) {
        status = file_.Allocate(OffsetOf(FrameNumber(begin)), (part_end - begin) * kPageSize);
      }
      if (!status.ok()) break;
      InsertReady(begin, part_end);
      total_ = part_end;
      got += part_end - begin;
      begin = part_end;
    }
    if (status.ok() && got >= frames) return absl::OkStatus();
    if (status.ok()) {
      return MakeError(absl::StatusCode::kResourceExhausted, ENOSPC,
                       file_.name() + absl::StrFormat(": the volume is full (its limit is %d "
                                                      "bytes); remove files or snapshots",
                                                      limit * kPageSize));
    }
    if (ErrnoOf(status) != ENOSPC) return status;
  }
  return NamingTheHost(status);
}

}  // namespace cow::store
