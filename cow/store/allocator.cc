#include "cow/store/allocator.h"

#include <algorithm>
#include <cerrno>
#include <string>

#include "absl/strings/str_format.h"
#include "cow/base/status.h"
#include "cow/base/trace.h"

namespace cow::store {

using format::kCountsPerLeaf;

namespace {

constexpr uint64_t kWarmFrames = 4096;  // 16 MiB are never given back
constexpr uint64_t kCommitFrames = 32;  // of the reserve, for the logs of a commit alone

}  // namespace

Allocator::Allocator(os::File& file, uint64_t count_budget_bytes)
    : file_(file), counts_(file, count_budget_bytes) {}

absl::Status Allocator::Load(const format::Superblock& superblock,
                             const std::vector<FrameNumber>& log_frames) {
  absl::MutexLock lock(&mu_);
  counts_.Load(superblock.counts, superblock.total_frames);
  total_ = superblock.total_frames;
  used_ = superblock.used_frames;
  max_ = superblock.max_frames;
  log_frames_.insert(log_frames.begin(), log_frames.end());
  for (const FrameRun& run : superblock.uncounted) {
    HandOut(run);
    for (FrameNumber frame = run.frame; frame < run.frame + run.count; ++frame) {
      if (log_frames_.contains(frame)) continue;
      COW_ASSIGN_OR_RETURN(const uint32_t count, counts_.Get(frame));
      if (count != 0 || format::InZoneHeader(frame)) {
        return MakeError(absl::StatusCode::kDataLoss, EIO,
                         file_.name() + absl::StrFormat(": frame %d: handed out while its count "
                                                        "was %d; run `cowctl check`",
                                                        frame.value(), count));
      }
      COW_RETURN_IF_ERROR(counts_.Set(frame, 1));
    }
  }
  return absl::OkStatus();
}

uint64_t Allocator::ReserveFrames() const {
  // Enough for the logs and table paths of a commit that follows a destroy; and, from 16 MiB on, for
  // what frees space and asks for most before it does, which is a rollback.
  constexpr uint64_t kMost = 512;
  return max_ == 0 ? kMost : std::clamp<uint64_t>(max_ / 16, 64, kMost);
}

uint64_t Allocator::UnreadyFree() const {
  const uint64_t taken = format::HeaderFrames(total_) + used_ + log_frames_.size() + ready_total_;
  return total_ > taken ? total_ - taken : 0;
}

absl::Status Allocator::Reserve(uint64_t frames, bool use_reserve) {
  absl::MutexLock lock(&mu_);
  // The reserve is kept ready beside what is asked for; only who frees space may dip into it.
  const uint64_t needed = reserved_ + frames + ReserveFrames();
  if (ready_total_ < needed) {
    absl::Status made = MakeReady(needed - ready_total_);
    const bool enough = use_reserve && ready_total_ >= reserved_ + frames + kCommitFrames;
    if (!made.ok() && !enough) return made;
  }
  reserved_ += frames;
  return absl::OkStatus();
}

void Allocator::Unreserve(uint64_t frames) {
  absl::MutexLock lock(&mu_);
  reserved_ -= std::min(reserved_, frames);
}

absl::StatusOr<FrameRun> Allocator::Allocate(uint64_t frames, FrameUse use, uint64_t& reserved) {
  absl::MutexLock lock(&mu_);
  uint64_t allowed = frames;
  if (reserved > 0) {
    allowed = std::min(frames, reserved);
  } else {
    if (ready_total_ < reserved_ + frames) (void)MakeReady(reserved_ + frames - ready_total_);
    const uint64_t unreserved = ready_total_ - std::min(ready_total_, reserved_);
    allowed = std::min(frames, unreserved);
  }
  if (allowed == 0) {
    return MakeError(absl::StatusCode::kResourceExhausted, ENOSPC,
                     file_.name() + ": no free frames left; free space or raise the limit");
  }
  FrameRun run;
  if (use == FrameUse::kData) run = TakeData(allowed);
  if (run.count == 0) {
    if (node_run_.count == 0) node_run_ = TakeNodeRun();
    run = {node_run_.frame, std::min(allowed, node_run_.count)};
    node_run_.frame += run.count;
    node_run_.count -= run.count;
  }
  if (run.count == 0) return absl::InternalError(file_.name() + ": the ready set lost frames");
  ready_total_ -= run.count;
  for (uint64_t i = 0; i < run.count; ++i) {
    if (use == FrameUse::kLog) {
      log_frames_.insert(run.frame + i);
    } else if (absl::Status counted = counts_.Set(run.frame + i, 1); !counted.ok()) {
      // The rest of the run stays free. Those before are handed back: their leaf is in memory.
      for (uint64_t j = 0; j < i; ++j) counts_.Set(run.frame + j, 0).IgnoreError();
      InsertReady(run.frame.value(), run.frame.value() + run.count);
      return counted;
    }
  }
  HandOut(run);
  allocated_ += run.count;
  COW_TRACE(allocate, frames, run.count, static_cast<uint32_t>(use));
  if (use != FrameUse::kLog) {
    used_ += run.count;
    born_ += run.count;
  }
  const uint64_t from_reservation = std::min(reserved, run.count);
  reserved -= from_reservation;
  reserved_ -= std::min(reserved_, from_reservation);
  return run;
}

void Allocator::HandOut(const FrameRun& run) {
  uint64_t begin = run.frame.value();
  uint64_t end = begin + run.count;
  if (auto next = uncounted_.find(end); next != uncounted_.end()) {
    end = next->second;
    uncounted_.erase(next);
  }
  auto previous = uncounted_.lower_bound(begin);
  if (previous != uncounted_.begin() && (--previous)->second == begin) {
    previous->second = end;
    return;
  }
  uncounted_.emplace(begin, end);
}

absl::StatusOr<uint32_t> Allocator::Count(FrameNumber frame) {
  absl::MutexLock lock(&mu_);
  return counts_.Get(frame);
}

absl::StatusOr<uint32_t> Allocator::Add(FrameNumber frame) {
  absl::MutexLock lock(&mu_);
  COW_ASSIGN_OR_RETURN(uint32_t count, counts_.Get(frame));
  if (count == 0 || count == UINT32_MAX) {
    return MakeError(absl::StatusCode::kDataLoss, EIO,
                     file_.name() + absl::StrFormat(": frame %d: a reference is added to a count "
                                                    "of %d; run `cowctl check`",
                                                    frame.value(), count));
  }
  COW_RETURN_IF_ERROR(counts_.Set(frame, count + 1));
  counts_changed_ = true;
  return count + 1;
}

absl::StatusOr<uint32_t> Allocator::Drop(FrameNumber frame) {
  absl::MutexLock lock(&mu_);
  COW_ASSIGN_OR_RETURN(uint32_t count, counts_.Get(frame));
  if (count == 0) {
    return MakeError(absl::StatusCode::kDataLoss, EIO,
                     file_.name() + absl::StrFormat(": frame %d: a reference is taken from a count "
                                                    "of zero; run `cowctl check`",
                                                    frame.value()));
  }
  if (count == 1) return 0;
  COW_RETURN_IF_ERROR(counts_.Set(frame, count - 1));
  counts_changed_ = true;
  return count - 1;
}

absl::Status Allocator::Release(FrameNumber frame) {
  absl::MutexLock lock(&mu_);
  COW_ASSIGN_OR_RETURN(const uint32_t count, counts_.Get(frame));
  if (count != 1) {
    return MakeError(absl::StatusCode::kDataLoss, EIO,
                     file_.name() + absl::StrFormat(": frame %d: freed with a count of %d; run "
                                                    "`cowctl check`",
                                                    frame.value(), count));
  }
  COW_RETURN_IF_ERROR(counts_.Set(frame, 0));
  counts_changed_ = true;
  --used_;
  ++freed_;
  COW_TRACE(free, frame.value());
  InsertReady(frame.value(), frame.value() + 1);
  return absl::OkStatus();
}

void Allocator::ReleaseLogFrame(FrameNumber frame) {
  absl::MutexLock lock(&mu_);
  if (log_frames_.erase(frame) == 0) return;
  ++freed_;
  COW_TRACE(free, frame.value());
  InsertReady(frame.value(), frame.value() + 1);
}

absl::StatusOr<Allocator::Correction> Allocator::Correct(
    const std::function<uint32_t(FrameNumber)>& references) {
  absl::MutexLock lock(&mu_);
  // What was found free may not be.
  ready_.clear();
  by_length_.clear();
  long_total_ = 0;
  counts_changed_ = true;
  node_run_ = {};
  ready_total_ = 0;
  used_ = 0;
  Correction correction;
  const uint64_t leaves = (total_ + kCountsPerLeaf - 1) / kCountsPerLeaf;
  for (uint64_t leaf = 0; leaf < leaves; ++leaf) {
    // Of a leaf that cannot be read, frames without references may be in use in an older state.
    const bool lost = !counts_.Leaf(leaf).ok();
    if (lost) counts_.Reset(leaf);
    const uint64_t end = std::min(total_, (leaf + 1) * kCountsPerLeaf);
    for (FrameNumber frame(leaf * kCountsPerLeaf); frame.value() < end; ++frame) {
      if (format::InZoneHeader(frame) || log_frames_.contains(frame)) continue;
      const uint32_t wanted = references(frame);
      COW_ASSIGN_OR_RETURN(const uint32_t count, counts_.Get(frame));
      if (wanted == 0 && (count > 0 || lost)) correction.unreferenced.push_back(frame);
      if (count != wanted) ++correction.corrected;
      const uint32_t held = wanted == 0 && (count > 0 || lost) ? 1 : wanted;
      if (count != held) COW_RETURN_IF_ERROR(counts_.Set(frame, held));
      used_ += held > 0 ? 1 : 0;
    }
  }
  // Who waits for the gate has reserved some already.
  if (reserved_ > 0) COW_RETURN_IF_ERROR(MakeReady(reserved_ + ReserveFrames()));
  return correction;
}

uint64_t Allocator::FreezeCounts() {
  absl::MutexLock lock(&mu_);
  counts_.Freeze();
  return used_;
}

void Allocator::ThawCounts() {
  absl::MutexLock lock(&mu_);
  counts_.Thaw();
}

absl::Status Allocator::FrozenCounts(uint64_t leaf, CountLeaf& counts) {
  absl::MutexLock lock(&mu_);
  return counts_.ReadFrozen(leaf, counts);
}

absl::Status Allocator::Trim() {
  constexpr uint64_t kShortestPunched = 16;
  absl::MutexLock lock(&mu_);
  const uint64_t keep = reserved_ + ReserveFrames() + std::max(kWarmFrames, used_ / 8);
  // From the end of the volume, so that what is kept is at its beginning.
  std::vector<FrameRun> punched;
  uint64_t left = ready_total_;
  for (auto it = ready_.rbegin(); it != ready_.rend() && left > keep; ++it) {
    const uint64_t length = std::min(it->second - it->first, left - keep);
    if (length < kShortestPunched) continue;
    punched.push_back({FrameNumber(it->second - length), length});
    left -= length;
  }
  for (const FrameRun& run : punched) {
    COW_RETURN_IF_ERROR(file_.Punch(OffsetOf(run.frame), run.count * kPageSize));
    const uint64_t end = run.frame.value() + run.count;
    const auto extent = std::prev(ready_.upper_bound(run.frame.value()));
    const uint64_t begin = extent->first;
    RemoveReady(extent);
    AddReady(begin, end - run.count);
    ready_total_ -= run.count;
  }
  return absl::OkStatus();
}

absl::Status Allocator::PlanCommit(bool all, format::Superblock& superblock,
                                   std::vector<PlannedWrite>& writes) {
  absl::MutexLock lock(&mu_);
  uint64_t frames = 0;
  for (const auto& [begin, end] : uncounted_) frames += end - begin;
  if (all || counts_changed_ || uncounted_.size() > format::kMaxUncountedRuns ||
      frames > format::kMaxUncountedFrames) {
    COW_RETURN_IF_ERROR(counts_.Plan(superblock.generation, total_, writes));
    uncounted_.clear();
    counts_changed_ = false;
  }
  superblock.counts = counts_.root();
  for (const auto& [begin, end] : uncounted_) {
    superblock.uncounted.push_back({FrameNumber(begin), end - begin});
  }
  superblock.total_frames = total_;
  superblock.used_frames = used_;
  born_ = 0;
  return absl::OkStatus();
}

uint64_t Allocator::total_frames() const {
  absl::MutexLock lock(&mu_);
  return total_;
}

uint64_t Allocator::limit_frames() const {
  absl::MutexLock lock(&mu_);
  return max_ == 0 ? format::kMaxFrame : max_;
}

uint64_t Allocator::used_frames() const {
  absl::MutexLock lock(&mu_);
  return used_ + log_frames_.size();
}

uint64_t Allocator::available_frames() const {
  absl::MutexLock lock(&mu_);
  const uint64_t limit = max_ == 0 ? total_ : max_;
  const uint64_t taken =
      format::HeaderFrames(limit) + used_ + log_frames_.size() + reserved_ + ReserveFrames();
  return limit > taken ? limit - taken : 0;
}

uint64_t Allocator::ready_frames() const {
  absl::MutexLock lock(&mu_);
  return ready_total_ - std::min(ready_total_, reserved_);
}

bool Allocator::tight() const {
  absl::MutexLock lock(&mu_);
  return max_ != 0 || host_full_;
}

uint64_t Allocator::born_frames() const {
  absl::MutexLock lock(&mu_);
  return born_;
}

void Allocator::AddTo(Counter& allocated, Counter& freed, Counter& checksum_failures) const {
  absl::MutexLock lock(&mu_);
  allocated.Add(allocated_);
  freed.Add(freed_);
  checksum_failures.Add(counts_.checksum_failures());
}

bool Allocator::IsLogFrame(FrameNumber frame) const {
  absl::MutexLock lock(&mu_);
  return log_frames_.contains(frame);
}

}  // namespace cow::store
