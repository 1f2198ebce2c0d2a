// Where ready frames come from: free ones found in the counts, and growth of the volume file.
#include <algorithm>
#include <cerrno>

#include "absl/strings/str_format.h"
#include "cow/base/status.h"
#include "cow/store/allocator.h"

namespace cow::store {

using format::kCountsPerLeaf;

namespace {

constexpr uint64_t kSmallestGrowth = 256;   // 1 MiB
constexpr uint64_t kLargestGrowth = 16384;  // 64 MiB

}  // namespace

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
  if (UnreadyFree() > 0) COW_RETURN_IF_ERROR(ScanForFree(goal - ready_total_));
  return ready_total_ >= goal ? absl::OkStatus() : extended;
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
        COW_RETURN_IF_ERROR(BackCounts(FrameNumber(begin), FrameNumber(frame)));
        COW_RETURN_IF_ERROR(
            file_.Allocate(OffsetOf(FrameNumber(begin)), (frame - begin) * kPageSize));
        InsertReady(begin, frame);
        found += frame - begin;
      } else {
        ++frame;
      }
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
  return Annotate(status, "the host filesystem is full");
}

}  // namespace cow::store
