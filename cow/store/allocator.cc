#include "cow/store/allocator.h"

#include <algorithm>
#include <cerrno>
#include <string>

#include "absl/strings/str_format.h"
#include "cow/base/status.h"

namespace cow::store {

using format::kCountsPerLeaf;

namespace {

constexpr uint64_t kNodeRun = 64;       // frames set aside for nodes at a time
constexpr uint64_t kWarmFrames = 4096;  // 16 MiB are never given back
constexpr uint64_t kCommitFrames = 32;  // of the reserve, for the logs of a commit alone

}  // namespace

Allocator::Allocator(os::File& file, uint64_t count_budget_bytes)
    : file_(file), counts_(file, count_budget_bytes) {}

void Allocator::Load(const format::Entry& counts, uint64_t total_frames, uint64_t used_frames,
                     uint64_t max_frames, const std::vector<FrameNumber>& log_frames) {
  absl::MutexLock lock(&mu_);
  counts_.Load(counts, total_frames);
  total_ = total_frames;
  used_ = used_frames;
  max_ = max_frames;
  log_frames_.insert(log_frames.begin(), log_frames.end());
}

uint64_t Allocator::ReserveFrames() const {
  // Enough for the logs and table paths of a commit that follows a destroy.
  constexpr uint64_t kMost = 512;
  return max_ == 0 ? kMost : std::clamp<uint64_t>(max_ / 64, 64, kMost);
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
  if (use == FrameUse::kData) {
    run = TakeRun(allowed, data_cursor_);
  }
  if (run.count == 0) {
    if (node_run_.count == 0) node_run_ = TakeRun(kNodeRun, node_cursor_);
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
  if (use != FrameUse::kLog) {
    used_ += run.count;
    born_ += run.count;
  }
  const uint64_t from_reservation = std::min(reserved, run.count);
  reserved -= from_reservation;
  reserved_ -= std::min(reserved_, from_reservation);
  return run;
}

FrameRun Allocator::TakeRun(uint64_t frames, uint64_t& cursor) {
  if (ready_.empty()) return {};
  // The first extent from the cursor on that holds all of it, among a few; else the longest of
  // these.
  constexpr int kExtentsTried = 16;
  auto it = ready_.upper_bound(cursor);
  if (it != ready_.begin() && std::prev(it)->second > cursor) --it;
  auto best = ready_.end();
  uint64_t best_begin = 0;
  uint64_t best_length = 0;
  for (int tried = 0; tried < kExtentsTried && best_length < frames; ++tried, ++it) {
    if (it == ready_.end()) it = ready_.begin();
    const uint64_t begin = std::max(it->first, tried == 0 && it->second > cursor ? cursor : 0);
    if (it->second - begin > best_length) {
      best = it;
      best_begin = begin;
      best_length = it->second - begin;
    }
  }
  const uint64_t taken = std::min(frames, best_length);
  const uint64_t begin = best->first;
  const uint64_t end = best->second;
  ready_.erase(best);
  if (begin < best_begin) ready_.emplace(begin, best_begin);
  if (best_begin + taken < end) ready_.emplace(best_begin + taken, end);
  cursor = best_begin + taken;
  return {FrameNumber(best_begin), taken};
}

void Allocator::InsertReady(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  ready_total_ += end - begin;
  auto next = ready_.lower_bound(begin);
  if (next != ready_.end() && next->first == end) {
    end = next->second;
    next = ready_.erase(next);
  }
  if (next != ready_.begin()) {
    auto previous = std::prev(next);
    if (previous->second == begin) {
      previous->second = end;
      return;
    }
  }
  ready_.emplace(begin, end);
}

bool Allocator::IsReady(uint64_t frame) const {
  if (frame >= node_run_.frame.value() && frame < node_run_.frame.value() + node_run_.count) {
    return true;
  }
  auto it = ready_.upper_bound(frame);
  return it != ready_.begin() && std::prev(it)->second > frame;
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
  if (count > 1) COW_RETURN_IF_ERROR(counts_.Set(frame, count - 1));
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
  --used_;
  InsertReady(frame.value(), frame.value() + 1);
  return absl::OkStatus();
}

void Allocator::ReleaseLogFrame(FrameNumber frame) {
  absl::MutexLock lock(&mu_);
  if (log_frames_.erase(frame) > 0) InsertReady(frame.value(), frame.value() + 1);
}

absl::StatusOr<Allocator::Correction> Allocator::Correct(
    const std::function<uint32_t(FrameNumber)>& references) {
  absl::MutexLock lock(&mu_);
  // What was found free may not be.
  ready_.clear();
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
  for (auto it = ready_.end(); it != ready_.begin() && ready_total_ > keep;) {
    --it;
    const uint64_t length = std::min(it->second - it->first, ready_total_ - keep);
    if (length < kShortestPunched) continue;
    const uint64_t begin = it->second - length;
    COW_RETURN_IF_ERROR(file_.Punch(OffsetOf(FrameNumber(begin)), length * kPageSize));
    ready_total_ -= length;
    it->second = begin;
    if (it->first == begin) it = ready_.erase(it);
  }
  return absl::OkStatus();
}

absl::StatusOr<Allocator::Plan> Allocator::PlanCommit(Generation generation,
                                                      std::vector<PlannedWrite>& writes) {
  absl::MutexLock lock(&mu_);
  Plan plan;
  COW_ASSIGN_OR_RETURN(plan.counts, counts_.Plan(generation, total_, writes));
  plan.total_frames = total_;
  plan.used_frames = used_;
  born_ = 0;
  return plan;
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

bool Allocator::IsLogFrame(FrameNumber frame) const {
  absl::MutexLock lock(&mu_);
  return log_frames_.contains(frame);
}

}  // namespace cow::store
