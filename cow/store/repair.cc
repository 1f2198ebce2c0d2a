// Making counts right again.
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "cow/store/checker.h"
#include "cow/store/core.h"

namespace cow::store {

absl::StatusOr<RepairResult> Store::Repair(
    const std::function<void(uint64_t, uint64_t)>& progress) {
  Core& core = *core_;
  COW_RETURN_IF_ERROR(core.CheckWritable());
  const CheckTurn turn(core);
  const CommitPause pause(core);
  absl::MutexLock gate(&core.gate_);
  // A reader that holds a version may reach frames that nothing else does.
  COW_ASSIGN_OR_RETURN(const std::vector<Generation> pins,
                       PinnedByOthers(*core.file_, core.generation()));
  if (!pins.empty()) {
    return MakeError(absl::StatusCode::kUnavailable, EBUSY,
                     core.file_->name() + ": other processes read it; end them before a repair");
  }
  COW_RETURN_IF_ERROR(core.Seal());
  COW_RETURN_IF_ERROR(core.WriteSealed());
  // Reads under way may be of what is free already, but for the log that is dropped below.
  while (core.readers_.Oldest().has_value() && *core.readers_.Oldest() < core.generation()) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  Checker checker(core, WhatIsReachable(core));
  checker.WalkAll([&progress](uint64_t done, uint64_t all) {
    if (progress) progress(done, all);
    return true;
  });
  RepairResult result;
  result.lost_nodes = checker.lost_nodes();
  // With references unknown, a count that looks too high may be right.
  if (result.lost_nodes > 0) return result;
  {
    // What is logged is in the recount already.
    absl::MutexLock fold_lock(&core.fold_mu_);
    absl::MutexLock log_lock(&core.log_mu_);
    core.reaped_.clear();
    core.dead_nodes_.clear();
    core.count_log_.Clear();
  }
  const Recount& recount = checker.recount();
  COW_ASSIGN_OR_RETURN(
      Allocator::Correction correction,
      core.allocator_.Correct([&recount](FrameNumber frame) { return recount.Get(frame); }));
  result.corrected_counts = correction.corrected;
  result.freed_frames = correction.unreferenced.size();
  // Two commits, so that no superblock refers to what has no reference; then it is free.
  for (int i = 0; i < 2; ++i) COW_RETURN_IF_ERROR(core.CommitUnderGate());
  for (const FrameNumber frame : correction.unreferenced) {
    COW_RETURN_IF_ERROR(core.allocator_.Release(frame));
  }
  COW_RETURN_IF_ERROR(core.CommitUnderGate());
  return result;
}

}  // namespace cow::store
