// What the parts of a store share: one of each, and the order of their locks.
//
// Lock order (a thread takes them in this order only):
//   gate_            shared by transactions; alone by who advances the generation
//   write_mu         of an object: one writer at a time, held over its I/O
//   TableState::mu   of a tree's table, then of the trees, the catalog or the orphans
//   state_mu         of an object: root and size; held for moments, never over a write's I/O
//   fold_mu_         the fold, the free log
//   log_mu_, dirty_mu_, allocator, caches: leaves, held alone
//
// Invariants:
//  - An entry born before the current generation has its checksum, and what it names never changes.
//  - Changes to nodes are made only within a transaction; so under the gate alone nothing changes.
//  - Every reference that is gained or lost is in the count log before the gate is left.
#pragma once

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cow/base/status.h"
#include "cow/format/superblock.h"
#include "cow/store/allocator.h"
#include "cow/store/counters.h"
#include "cow/store/frame_log.h"
#include "cow/store/good_frames.h"
#include "cow/store/node_cache.h"
#include "cow/store/pins.h"
#include "cow/store/store.h"

namespace cow::store {

// Nodes that a walk of one tree has been to. No tree has a node in two places; an image that says
// so could make few frames look like 256^5, and a walk would not end in a lifetime.
class Visited {
 public:
  // kDataLoss when it is not the first time.
  absl::Status Add(FrameNumber frame) {
    if (frames_.insert(frame).second) return absl::OkStatus();
    return MakeError(absl::StatusCode::kDataLoss, EIO,
                     absl::StrFormat("frame %d: a node in two places of one tree; run `cowctl "
                                     "check`",
                                     frame.value()));
  }

 private:
  absl::flat_hash_set<FrameNumber> frames_;
};

// Most frames of a commit with one flush: an open after a crash reads them.
inline constexpr uint64_t kMostUnflushed = 8192;

// What the slots of the superblock hold, and which is newer.
struct Slots {
  std::array<std::optional<format::Superblock>, 2> slot;
  int newest = 0;
  friend bool operator==(const Slots& a, const Slots& b);
};

class Core {
 public:
  Core(std::unique_ptr<os::File> file, const OpenOptions& options);
  ~Core();

  // open.cc
  absl::Status Format(const CreateOptions& create);
  absl::Status Load();
  absl::Status LoadForCheck();
  void Start(Store* store);
  void Stop();

  Generation generation() const { return Generation(generation_.load()); }
  absl::Status CheckWritable() const;
  // Makes the volume read-only with `cause`, unless it is already; returns the first cause.
  absl::Status Fail(const absl::Status& cause);

  // seal.cc: fills in checksums of all that changed and advances the generation. Gate held alone.
  absl::Status Seal();
  // Writes the nodes that were sealed to their frames, ahead of the next commit. In a CommitPause.
  absl::Status WriteSealed();

  // recover.cc
  absl::StatusOr<format::Superblock> ReadCopy(int slot, int copy) const;

  // fold.cc
  void LogCount(const format::Entry& entry, format::CountOperation operation);
  // Drops those of `old` that another frame has taken the place of.
  void LogDrops(std::span<const format::Entry> old, std::span<const format::Entry> fresh);
  // Folds up to `items` of the count log and of what is reaped; returns how many are left. It stops
  // where the next commit could not write down all that it frees.
  absl::StatusOr<uint64_t> Fold(uint64_t items);
  // Folds all that is pending, for whoever looks at the counts while the gate is held alone.
  // kResourceExhausted (ENOSPC) where that is more than `most`, or than there is room for.
  absl::Status FoldAll(uint64_t most = UINT64_MAX);
  // Hands frames that nothing can see any more back to the allocator; returns how many.
  absl::StatusOr<uint64_t> ReleaseFreed();
  // Adds and drops as Fold does, for `entry` once.
  absl::Status FoldOne(const format::Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fold_mu_);
  absl::Status ReapOne() ABSL_EXCLUSIVE_LOCKS_REQUIRED(fold_mu_);
  // One item, if there is one and there is room for what it frees; how many are left then.
  struct FoldStep {
    bool done = false;
    uint64_t left = 0;
  };
  absl::StatusOr<FoldStep> FoldNext(uint64_t most_frames) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fold_mu_);
  absl::StatusOr<bool> DropOne(const format::Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fold_mu_);
  void FreeFrame(const format::Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fold_mu_);
  // Children of a node or leaf of records.
  absl::StatusOr<std::vector<format::Entry>> Children(const format::Entry& entry);
  uint64_t PendingItems();
  // The log has so many items for the next commit to write that it should come soon.
  bool LogsAreLong();
  uint64_t DeferredFrames();

  // commit.cc
  absl::Status Commit();
  void AwaitCallers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mu_);
  absl::Status CommitOnce();
  // This commit folds and releases.
  bool FoldIsDue();
  // Commits so that nothing is left for an open to find out.
  absl::Status Close();
  // A commit of what there is, by who holds the gate alone and a CommitPause.
  absl::Status CommitUnderGate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(gate_);
  // Called by who commits. One that has nothing to write begins, and does not end.
  void CommitBegins();
  void CommitEnds(uint64_t frames);
  absl::Status Settle();
  absl::Status FreeOrphans();
  uint64_t ClosedOrphans();
  void Background();
  // Waits for the end of the background for so long; whether it has come.
  bool Stopped(absl::Duration patience);

  // Constant after construction.
  const std::unique_ptr<os::File> file_;
  const OpenOptions options_;
  const std::chrono::steady_clock::time_point opened_ = std::chrono::steady_clock::now();
  Store* store_ = nullptr;
  std::array<uint8_t, 16> uuid_ = {};
  bool read_only_ = false;
  bool data_checksums_ = true;
  bool loaded_for_check_ = false;  // of a volume open for reading; changed under the gate
  uint64_t compatible_ = 0;
  uint64_t read_only_compatible_ = 0;
  uint64_t incompatible_ = 0;
  uint64_t max_frames_ = 0;

  NodeCache nodes_;
  Allocator allocator_;
  GoodFrames good_;
  ReaderSlots readers_;
  std::atomic<uint64_t> memory_for_leaves_ = 0;  // bytes of leaves that objects remember
  Counters counters_;                            // those that are counted elsewhere are zero here

  absl::Mutex gate_;
  std::atomic<uint64_t> generation_ = 1;
  std::atomic<uint64_t> durable_ = 0;
  int durable_slot_ = 1;  // of the superblock; changed only by who commits
  std::chrono::steady_clock::time_point commit_began_;  // as above
  // Something happened since the last commit that a commit would make durable.
  std::atomic<bool> changed_ = false;
  // Items folded and frames released since the volume was opened.
  std::atomic<uint64_t> progress_ = 0;
  // Somebody waits for frames to be released.
  std::atomic<bool> frames_are_short_ = false;
  std::atomic<bool> fold_is_due_ = false;
  uint64_t commits_since_fold_ = 0;  // changed only by who commits
  // The next commit is flushed before its superblock is written, and writes all counts; the last one
  // did not.
  std::atomic<bool> closing_ = false;
  std::atomic<bool> unclosed_ = false;

  std::shared_ptr<TableState> trees_;
  std::shared_ptr<TableState> catalog_;
  std::shared_ptr<TableState> orphans_;
  std::unique_ptr<Table> trees_table_;
  std::unique_ptr<Table> catalog_table_;
  // Of the commit before, where that was opened. Set once.
  std::unique_ptr<Table> trees_before_table_;
  std::unique_ptr<Table> catalog_before_table_;

  absl::Mutex fold_mu_;
  FrameLog free_log_ ABSL_GUARDED_BY(fold_mu_);
  std::vector<format::Reaped> reaped_ ABSL_GUARDED_BY(fold_mu_);
  // Nodes without references that were found since the volume was opened and are not released. The
  // hold looks like one more reference: without this, a node that is below itself, or in several
  // places with a count of one, would be reaped again and again.
  absl::flat_hash_set<FrameNumber> dead_nodes_ ABSL_GUARDED_BY(fold_mu_);
  // The generation that a check has pinned.
  std::optional<Generation> checked_ ABSL_GUARDED_BY(fold_mu_);
  // Length of the free log from which pinned items are moved to its end again.
  uint64_t rotate_free_log_at_ ABSL_GUARDED_BY(fold_mu_) = 0;

  absl::Mutex log_mu_;
  FrameLog count_log_ ABSL_GUARDED_BY(log_mu_);

  absl::Mutex dirty_mu_;
  // Tables with objects to seal. Sealed nodes that the next commit writes.
  std::set<std::shared_ptr<TableState>> dirty_tables_ ABSL_GUARDED_BY(dirty_mu_);
  std::vector<NodePointer> sealed_ ABSL_GUARDED_BY(dirty_mu_);
  // Objects of the orphans' table that nobody has open any more.
  std::vector<ObjectNumber> closed_orphans_ ABSL_GUARDED_BY(dirty_mu_);

  mutable absl::Mutex health_mu_;
  absl::Status health_ ABSL_GUARDED_BY(health_mu_);
  std::atomic<bool> failed_ = false;

  // Group commit: numbers of the last commit begun and ended; one is under way, or held off.
  absl::Mutex commit_mu_;
  uint64_t commits_begun_ ABSL_GUARDED_BY(commit_mu_) = 0;
  uint64_t commits_ended_ ABSL_GUARDED_BY(commit_mu_) = 0;
  bool committing_ ABSL_GUARDED_BY(commit_mu_) = false;
  absl::Status last_commit_ ABSL_GUARDED_BY(commit_mu_);
  // Callers that the next commit serves, those that the last one served, and what that took.
  int callers_ ABSL_GUARDED_BY(commit_mu_) = 0;
  int callers_served_ ABSL_GUARDED_BY(commit_mu_) = 1;
  absl::Duration commit_took_ ABSL_GUARDED_BY(commit_mu_);
  absl::CondVar commit_ended_;

  absl::Mutex check_mu_;
  bool checking_ ABSL_GUARDED_BY(check_mu_) = false;  // or repairing

  absl::Mutex background_mu_;
  bool stop_ ABSL_GUARDED_BY(background_mu_) = false;
  std::thread background_;

 private:
  struct CommitPlan {
    format::Superblock superblock;
    std::vector<PlannedWrite> writes;
    std::vector<NodePointer> nodes;
    std::vector<FrameNumber> consumed;
  };
  absl::StatusOr<CommitPlan> PlanCommit() ABSL_EXCLUSIVE_LOCKS_REQUIRED(gate_);
  absl::Status FinishCommit(const absl::StatusOr<CommitPlan>& plan);
  absl::Status WritePlan(const CommitPlan& plan);
  absl::Status WriteSuperblock(const format::Superblock& superblock);
  absl::Status LockForWriting();
  // The error that names who writes the volume; and naming this process for those that come later.
  absl::Status InUse();
  absl::Status NameHolder();
  absl::Status LoadLogs(const format::Superblock& superblock);
  void LoadBefore(const Slots& slots);

  // recover.cc
  absl::StatusOr<Slots> ReadSlots() const;
  // The slot to begin with: the newest, unless its commit was never completed. Of a volume that is
  // being written, ask again where the slots have changed since they were read.
  absl::StatusOr<int> Completed(const Slots& slots) const;
  // These set durable_slot_: for reading, with a pin; for writing.
  absl::StatusOr<Slots> PinForReading();
  absl::StatusOr<Slots> FindForWriting();
  // For writing, once nothing speaks against it: makes the slot that was found good, leaves nothing
  // of a later commit, and flushes.
  absl::Status Recover(const Slots& slots);
};

// One check or one repair at a time: waits for the one that is under way. Taken before all else.
class CheckTurn {
 public:
  explicit CheckTurn(Core& core);
  CheckTurn(const CheckTurn&) = delete;
  CheckTurn& operator=(const CheckTurn&) = delete;
  ~CheckTurn();

 private:
  Core& core_;
};

// Waits for the commit that is under way and lets none begin while it lives: then nodes that were
// sealed are in their frames or in `sealed_`, and the superblock is not being written. Taken before
// the gate.
class CommitPause {
 public:
  explicit CommitPause(Core& core);
  CommitPause(const CommitPause&) = delete;
  CommitPause& operator=(const CommitPause&) = delete;
  ~CommitPause();

 private:
  Core& core_;
};

}  // namespace cow::store
