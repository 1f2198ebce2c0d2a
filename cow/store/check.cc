// A check of the volume as it was at one moment, beside everything that goes on.
//
//   under the gate, alone: the seal; what is pending is counted; the roots; counts are frozen (a leaf
//   that changes is kept as it was); the generation is pinned, as a reader in another process does
//   then, without any lock: the walk; the comparison of its recount with the frozen counts.
//
// What is published never changes, and what could be reached in a pinned generation is not used
// again; so the walk finds everything as it was.
#include <cerrno>
#include <memory>
#include <utility>

#include "cow/store/checker.h"
#include "cow/store/core.h"
#include "cow/store/table_state.h"

namespace cow::store {

namespace {

// Items folded while writers wait.
constexpr uint64_t kFoldUnderGate = 16384;
// After so many tries, or rounds of folding, writers are waited for no more.
constexpr int kTries = 16;
constexpr int kRounds = 64;

// Folds what is pending, but for what writers add meanwhile.
void FoldBesideWriters(Core& core) {
  constexpr uint64_t kFoldAtOnce = 1 << 18;
  for (int round = 0; round < kRounds; ++round) {
    const absl::StatusOr<uint64_t> left = core.Fold(kFoldAtOnce);
    if (!left.ok() || *left == 0) return;
    // What was freed is written down before more can be.
    if (!core.Commit().ok()) return;
  }
}

absl::Status Ended() {
  return MakeError(absl::StatusCode::kCancelled, ECANCELED, "the check was ended");
}

}  // namespace

CheckTurn::CheckTurn(Core& core) : core_(core) {
  absl::MutexLock lock(&core.check_mu_);
  core.check_mu_.Await(absl::Condition(
      +[](Core* waiting) ABSL_NO_THREAD_SAFETY_ANALYSIS { return !waiting->checking_; }, &core));
  core.checking_ = true;
}

CheckTurn::~CheckTurn() {
  absl::MutexLock lock(&core_.check_mu_);
  core_.checking_ = false;
}

PinnedGeneration::PinnedGeneration(Core& core)
    : core_(core), turn_(std::make_unique<CheckTurn>(core)) {}

PinnedGeneration::~PinnedGeneration() {
  core_.allocator_.ThawCounts();
  absl::MutexLock lock(&core_.fold_mu_);
  core_.checked_ = std::nullopt;
}

Table& PinnedGeneration::trees() { return *trees_; }
Table& PinnedGeneration::catalog() { return *catalog_; }

absl::Status PinnedGeneration::Pin(bool wait) {
  absl::MutexLock gate(&core_.gate_);
  if (core_.read_only_) COW_RETURN_IF_ERROR(core_.LoadForCheck());
  COW_RETURN_IF_ERROR(core_.Seal());
  // In memory only, where the volume is open for reading.
  const absl::Status folded = core_.FoldAll(wait ? UINT64_MAX : kFoldUnderGate);
  if (!folded.ok() && !absl::IsDataLoss(folded)) return folded;
  Reachable reachable = WhatIsReachable(core_);
  const auto table = [this](const format::TableRoot& root) {
    return std::unique_ptr<Table>(
        new Table(std::make_shared<TableState>(core_, nullptr, /*read_only=*/true, root)));
  };
  trees_ = table(reachable.trees);
  catalog_ = table(reachable.catalog);
  checker_ = std::make_unique<Checker>(core_, std::move(reachable));
  if (!folded.ok()) checker_->ReportUncounted(folded);
  counted_frames_ = core_.allocator_.FreezeCounts();
  // What was freed until here was freed in the pinned generation or before, and is not held.
  core_.generation_.fetch_add(1);
  absl::MutexLock lock(&core_.fold_mu_);
  core_.checked_ = Generation(core_.generation_.load() - 1);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<PinnedGeneration>> Store::PinForCheck() {
  Core& core = *core_;
  std::unique_ptr<PinnedGeneration> pinned(new PinnedGeneration(core));
  for (int tries = 1;; ++tries) {
    if (!core.read_only_ && core.CheckWritable().ok()) FoldBesideWriters(core);
    const CommitPause pause(core);
    const absl::Status status = pinned->Pin(core.read_only_ || tries == kTries);
    // More was dropped meanwhile than can be counted at once.
    if (absl::IsResourceExhausted(status) && tries < kTries) continue;
    COW_RETURN_IF_ERROR(status);
    COW_RETURN_IF_ERROR(core.WriteSealed());
    pinned->checker_->CheckSuperblocks();
    return pinned;
  }
}

absl::StatusOr<CheckResult> PinnedGeneration::Check(const CheckProgress& progress) {
  if (!checker_->WalkAll(progress) || !checker_->NameSharers(progress) ||
      !checker_->CompareCounts(counted_frames_, progress)) {
    return Ended();
  }
  core_.allocator_.ThawCounts();
  const CheckResult& result = checker_->result();
  if (progress && !progress(result.frames_checked, result.frames_checked)) return Ended();
  return result;
}

absl::StatusOr<CheckResult> Store::Check(const CheckProgress& progress) {
  COW_ASSIGN_OR_RETURN(const std::unique_ptr<PinnedGeneration> pinned, PinForCheck());
  return pinned->Check(progress);
}

}  // namespace cow::store
