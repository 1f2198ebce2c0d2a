// The commit: everything up to one moment becomes durable, or nothing of it.
//
//   under the gate, alone: the seal; what counts and logs are to be written; the new superblock
//   then, beside new transactions: nodes, counts and logs to frames that the last commit does not
//   refer to; a flush where they are many; both copies of the other superblock slot; a flush.
//
// With few frames there is one flush: the superblock may then be on the disk without what it refers
// to, and says so (`flushed`); an open looks at everything that is younger before it believes it
// (recover.cc). Checksums make that possible: they vouch for every frame, as those of a journal's
// transaction do in ext4 with journal_async_commit. Counts are folded and frames released only now
// and then: the log and the superblock say what the counts lack.
#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "cow/store/core.h"
#include "cow/store/object_state.h"
#include "cow/store/table_state.h"

namespace cow::store {

namespace {

// What the count log may hold beyond what a commit folds (16 bytes each): it is read at open.
constexpr uint64_t kMostPending = 256 * 1024;
constexpr uint64_t kFoldInBackground = 16384;
// Frames of the count log that an open has to read, one after the other.
constexpr uint64_t kMostLogFrames = 512;
// A frame is freed by one commit and released by the next: done, or held by a pin, after two rounds
// in which nothing was folded and nothing released.
constexpr int kIdleRounds = 2;
// Beside writers the background rests so many times as long as it worked: it takes a processor, the
// locks and the disk from them.
constexpr int kYield = 3;
// A commit waits for callers no longer than so, however long the last one took: as ext4's journal.
constexpr absl::Duration kLongestWait = absl::Milliseconds(15);

}  // namespace

absl::Status Core::CheckWritable() const {
  if (read_only_) {
    return MakeError(absl::StatusCode::kFailedPrecondition, EROFS,
                     file_->name() + ": the volume was opened for reading only");
  }
  if (!failed_.load(std::memory_order_acquire)) return absl::OkStatus();
  absl::MutexLock lock(&health_mu_);
  return WithErrno(Annotate(health_, "the volume is read-only since an error; reopen it"), EROFS);
}

absl::Status Core::Fail(const absl::Status& cause) {
  absl::MutexLock lock(&health_mu_);
  if (health_.ok()) {
    // What could not be written may be gone from the page cache: what is read then is what was there
    // before.
    good_.Clear();
    health_ = cause;
    failed_.store(true, std::memory_order_release);
  }
  return health_;
}

absl::StatusOr<Core::CommitPlan> Core::PlanCommit() {
  CommitPlan plan;
  // A write may have failed while the gate was waited for. What it left half done would make an open
  // after a crash take the whole commit for torn.
  COW_RETURN_IF_ERROR(CheckWritable());
  changed_ = false;
  const bool closing = closing_.exchange(false);
  COW_RETURN_IF_ERROR(Seal());
  if (generation_.load() - 1 == durable_.load()) generation_.fetch_add(1);
  const Generation sealed(generation_.load() - 1);
  {
    absl::MutexLock lock(&dirty_mu_);
    plan.nodes.swap(sealed_);
  }
  format::Superblock& s = plan.superblock;
  s.uuid = uuid_;
  s.compatible = compatible_;
  s.read_only_compatible = read_only_compatible_;
  s.incompatible = incompatible_;
  s.generation = sealed;
  s.max_frames = max_frames_;
  for (auto [table, root] :
       {std::pair{trees_.get(), &s.trees}, std::pair{catalog_.get(), &s.catalog},
        std::pair{orphans_.get(), &s.orphans}}) {
    absl::MutexLock lock(&table->mu);
    *root = {table->root, table->next_object};
  }
  absl::MutexLock fold_lock(&fold_mu_);
  {
    absl::MutexLock lock(&log_mu_);
    COW_ASSIGN_OR_RETURN(s.count_log, count_log_.Plan(sealed, allocator_, plan.writes));
    plan.consumed = count_log_.TakeConsumed();
  }
  COW_ASSIGN_OR_RETURN(s.free_log, free_log_.Plan(sealed, allocator_, plan.writes));
  const std::vector<FrameNumber> consumed = free_log_.TakeConsumed();
  plan.consumed.insert(plan.consumed.end(), consumed.begin(), consumed.end());
  s.reaped = reaped_;
  const uint64_t born = allocator_.born_frames();
  COW_RETURN_IF_ERROR(allocator_.PlanCommit(closing || !plan.consumed.empty(), s, plan.writes));
  // Data without checksums cannot be looked at; and there is no commit before the first.
  if (born + plan.writes.size() <= std::min(options_.one_flush_frames, kMostUnflushed) &&
      data_checksums_ && !closing && durable_.load() > 0) {
    s.flushed = Generation(durable_.load());
  }
  unclosed_ = s.flushed.value() > 0 || !s.uncounted.empty();
  return plan;
}

absl::Status Core::WriteSealed() {
  std::vector<NodePointer> sealed;
  {
    absl::MutexLock lock(&dirty_mu_);
    sealed = sealed_;
  }
  for (const NodePointer& node : sealed) {
    if (absl::Status status = file_->Write(OffsetOf(node->frame), node->bytes()); !status.ok()) {
      return Fail(status);
    }
  }
  return absl::OkStatus();
}

absl::Status Core::WritePlan(const CommitPlan& plan) {
  struct Piece {
    FrameNumber frame;
    const std::byte* bytes;
  };
  std::vector<Piece> pieces;
  pieces.reserve(plan.writes.size() + plan.nodes.size());
  for (const PlannedWrite& write : plan.writes)
    pieces.push_back({write.frame, write.bytes->data()});
  for (const NodePointer& node : plan.nodes) pieces.push_back({node->frame, node->bytes().data()});
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return a.frame < b.frame; });
  std::vector<iovec> parts;
  for (size_t i = 0; i < pieces.size();) {
    parts.clear();
    size_t j = i;
    for (; j < pieces.size() && pieces[j].frame == pieces[i].frame + (j - i); ++j) {
      parts.push_back({const_cast<std::byte*>(pieces[j].bytes), kPageSize});
    }
    COW_RETURN_IF_ERROR(file_->WriteVector(OffsetOf(pieces[i].frame), parts));
    i = j;
  }
  if (plan.superblock.flushed.value() == 0) COW_RETURN_IF_ERROR(file_->Flush());
  COW_RETURN_IF_ERROR(WriteSuperblock(plan.superblock));
  return file_->Flush();
}

absl::Status Core::WriteSuperblock(const format::Superblock& superblock) {
  const int slot = 1 - durable_slot_;
  for (int copy : {0, 1}) {
    const FrameNumber frame = format::SuperblockFrame(slot, copy);
    COW_RETURN_IF_ERROR(file_->Write(OffsetOf(frame), format::EncodeSuperblock(superblock, frame)));
  }
  durable_slot_ = slot;
  return absl::OkStatus();
}

absl::Status Core::CommitOnce() {
  CommitBegins();
  COW_RETURN_IF_ERROR(CheckWritable());
  COW_RETURN_IF_ERROR(FreeOrphans());
  if (changed_.load() && FoldIsDue()) {
    const uint64_t pending = PendingItems();
    COW_RETURN_IF_ERROR(
        Fold(options_.fold_per_commit + (pending > kMostPending ? pending - kMostPending : 0))
            .status());
    COW_RETURN_IF_ERROR(ReleaseFreed().status());
  }
  {
    // Who has called Commit until here is served by this one: what they did is in its plan.
    absl::MutexLock lock(&commit_mu_);
    ++commits_begun_;
    callers_served_ = std::exchange(callers_, 0);
  }
  if (!changed_.load()) return absl::OkStatus();
  absl::StatusOr<CommitPlan> plan;
  {
    absl::MutexLock lock(&gate_);
    plan = PlanCommit();
  }
  return FinishCommit(plan);
}

bool Core::FoldIsDue() {
  bool due = fold_is_due_.exchange(false) || frames_are_short_.load() || allocator_.tight() ||
             ++commits_since_fold_ >= options_.commits_per_fold;
  if (!due) {
    absl::MutexLock lock(&log_mu_);
    due = count_log_.size() >= kMostPending || count_log_.frames() >= kMostLogFrames;
  }
  if (due) commits_since_fold_ = 0;
  return due;
}

absl::Status Core::Close() {
  if (!unclosed_.load() && !changed_.load()) return absl::OkStatus();
  closing_ = true;
  changed_ = true;
  return Commit();
}

absl::Status Core::FinishCommit(const absl::StatusOr<CommitPlan>& plan) {
  if (!plan.ok()) return Fail(Annotate(plan.status(), "commit"));
  if (absl::Status written = WritePlan(*plan); !written.ok()) {
    return Fail(Annotate(written, "commit"));
  }
  durable_ = plan->superblock.generation.value();
  CommitEnds(plan->writes.size() + plan->nodes.size());
  for (const NodePointer& node : plan->nodes) nodes_.Written(node);
  for (FrameNumber frame : plan->consumed) allocator_.ReleaseLogFrame(frame);
  return absl::OkStatus();
}

absl::Status Core::CommitUnderGate() {
  CommitBegins();
  return FinishCommit(PlanCommit());
}

absl::Status Core::Commit() {
  absl::MutexLock lock(&commit_mu_);
  // One that has begun may have planned without what the caller did; the next one cannot have.
  const uint64_t wanted = commits_begun_ + 1;
  ++callers_;
  while (commits_ended_ < wanted) {
    if (committing_) {
      commit_ended_.Wait(&commit_mu_);
      continue;
    }
    committing_ = true;
    AwaitCallers();
    const uint64_t begun = commits_begun_;
    const absl::Time start = absl::Now();
    commit_mu_.Unlock();
    absl::Status status = CommitOnce();
    commit_mu_.Lock();
    // One that failed early counts all the same.
    if (commits_begun_ == begun) ++commits_begun_;
    commit_took_ = absl::Now() - start;
    last_commit_ = status;
    commits_ended_ = commits_begun_;
    committing_ = false;
    commit_ended_.SignalAll();
  }
  return last_commit_;
}

// Who was served by the last commit writes a little and comes again: a commit that waits for them
// serves all, as that of ext4's journal does. It waits for no more than came last time, and for a
// part of what a commit takes; so who is alone never waits.
void Core::AwaitCallers() {
  if (callers_ >= callers_served_) return;
  commit_mu_.AwaitWithTimeout(absl::Condition(
                                  +[](Core* core) ABSL_NO_THREAD_SAFETY_ANALYSIS {
                                    return core->callers_ >= core->callers_served_;
                                  },
                                  this),
                              std::min(commit_took_ / 2, kLongestWait));
}

CommitPause::CommitPause(Core& core) : core_(core) {
  absl::MutexLock lock(&core.commit_mu_);
  core.commit_mu_.Await(absl::Condition(
      +[](Core* waiting) ABSL_NO_THREAD_SAFETY_ANALYSIS { return !waiting->committing_; }, &core));
  core.committing_ = true;
}

CommitPause::~CommitPause() {
  absl::MutexLock lock(&core_.commit_mu_);
  core_.committing_ = false;
  core_.commit_ended_.SignalAll();
}

absl::Status Core::FreeOrphans() {
  std::vector<ObjectNumber> numbers;
  {
    absl::MutexLock lock(&dirty_mu_);
    numbers.swap(closed_orphans_);
  }
  while (!numbers.empty()) {
    absl::Status status;
    {
      absl::StatusOr<Transaction> transaction =
          store_->BeginWithoutCommit(kFramesToChange, /*use_reserve=*/true);
      status = transaction.ok() ? orphans_->Erase(transaction->reserved_, numbers.back())
                                : transaction.status();
    }
    // One that cannot be read stays, and takes its space with it: nothing can be known of it.
    if (!status.ok() && !absl::IsDataLoss(status)) {
      // They stay in the table of orphans: the next commit tries again.
      absl::MutexLock lock(&dirty_mu_);
      closed_orphans_.insert(closed_orphans_.end(), numbers.begin(), numbers.end());
      return absl::IsResourceExhausted(status) ? absl::OkStatus() : status;
    }
    numbers.pop_back();
  }
  return absl::OkStatus();
}

absl::Status Core::Settle() {
  constexpr uint64_t kFoldAtOnce = 1 << 18;
  for (int idle = 0; idle < kIdleRounds && (DeferredFrames() > 0 || PendingItems() > 0 ||
                                            changed_.load() || ClosedOrphans() > 0);) {
    const uint64_t before = progress_.load();
    COW_RETURN_IF_ERROR(Fold(kFoldAtOnce).status());
    changed_ = true;
    fold_is_due_ = true;
    COW_RETURN_IF_ERROR(Commit());
    idle = progress_.load() == before ? idle + 1 : 0;
  }
  return allocator_.Trim();
}

uint64_t Core::ClosedOrphans() {
  absl::MutexLock lock(&dirty_mu_);
  return closed_orphans_.size();
}

bool Core::Stopped(absl::Duration patience) {
  absl::MutexLock lock(&background_mu_);
  return background_mu_.AwaitWithTimeout(
      absl::Condition(
          +[](Core* core) ABSL_NO_THREAD_SAFETY_ANALYSIS { return core->stop_; }, this),
      patience);
}

void Core::Background() {
  while (!Stopped(absl::Seconds(options_.commit_seconds))) {
    // Errors make the volume read-only, and reach whoever commits next.
    bool more = Commit().ok();
    // As in Settle: reaping makes work before it is done, so what is left may grow meanwhile.
    for (int idle = 0;
         more && idle < kIdleRounds && (PendingItems() > 0 || DeferredFrames() > 0);) {
      const uint64_t before = progress_.load();
      const uint64_t written = counters_.writes;
      const absl::Time start = absl::Now();
      more = Fold(kFoldInBackground).ok();
      changed_ = true;
      fold_is_due_ = true;
      more = more && Commit().ok();
      idle = progress_.load() == before ? idle + 1 : 0;
      const bool yield = counters_.writes != written && !frames_are_short_.load();
      if (Stopped(yield ? kYield * (absl::Now() - start) : absl::ZeroDuration())) return;
    }
    if (more) (void)allocator_.Trim();
    // What is rotten after a crash is then never taken for what was not flushed.
    if (more) more = Close().ok();
  }
}

}  // namespace cow::store
