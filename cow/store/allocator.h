// Which frames are free, and their counts.
//
// Frames are handed out only from the ready set: extents that are free and have space on the host
// (fallocate), with space for their counts beside them. A transaction reserves from it before it
// begins, so nothing runs out of space half-way. What is not in the ready set is found by scanning
// the counts, or by growing the volume file.
//
// Counts are written only by commits that follow other changes of counts than frames handed out:
// where nothing else happened, the superblock says in a few runs which frames these are (uncounted),
// so that a small commit writes no counts at all.
//
// Invariants: ready_frames >= reserved_frames; frames of the ready set, and frames of the logs,
// have count 0; a frame that was freed keeps a count of one (the hold) until Release.
//
// Thread safety: all methods, from any thread; one lock.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "cow/base/types.h"
#include "cow/format/superblock.h"
#include "cow/os/file.h"
#include "cow/store/count_table.h"
#include "cow/store/counters.h"

namespace cow::store {

using format::FrameRun;

// Frames that are long enough an extent for what is written in order: 1 MiB.
inline constexpr uint64_t kLongExtent = 256;

// Nodes and logs are kept apart from data, so that data written in order stays in order.
enum class FrameUse { kData, kNode, kLog };

class Allocator {
 public:
  Allocator(os::File& file, uint64_t count_budget_bytes);

  // Takes over the counts of a volume. `log_frames` hold the logs: in use, though their count is 0.
  // kDataLoss when a frame that is said to be uncounted has a count.
  absl::Status Load(const format::Superblock& superblock,
                    const std::vector<FrameNumber>& log_frames);

  // Holds `frames` of the ready set for the caller; kResourceExhausted when there are not so many
  // beside what must stay free for commits (the reserve; counted in with `use_reserve`).
  absl::Status Reserve(uint64_t frames, bool use_reserve);
  void Unreserve(uint64_t frames);

  // Up to `frames` consecutive frames, with a count of one each (for logs: none). `reserved` is
  // what the caller still holds; what it is given is taken off. Without any left, it gets what
  // others have not reserved, for the logs of a commit the reserve too.
  absl::StatusOr<FrameRun> Allocate(uint64_t frames, FrameUse use, uint64_t& reserved);

  // Where it can, sees to it that the ready set has a long extent, for data that is to lie together.
  void SeekLongExtent();

  // Adds to or takes from the count of a frame; returns the new count, except that it leaves a
  // count of one (the hold) and returns 0 where a Drop reaches zero. kDataLoss when the count is
  // zero.
  absl::StatusOr<uint32_t> Add(FrameNumber frame);
  absl::StatusOr<uint32_t> Drop(FrameNumber frame);
  absl::StatusOr<uint32_t> Count(FrameNumber frame);

  // The frame, which is held by a count of one, may be handed out again. kDataLoss for another
  // count.
  absl::Status Release(FrameNumber frame);
  void ReleaseLogFrame(FrameNumber frame);

  struct Correction {
    uint64_t corrected = 0;                 // counts that were wrong
    std::vector<FrameNumber> unreferenced;  // of them: held by a count of one until Release
  };
  // For a repair: makes each count what `references` says. While nothing is allocated.
  absl::StatusOr<Correction> Correct(const std::function<uint32_t(FrameNumber)>& references);

  // For a check: all counts stay known as they are now, until Thaw. Memory: 4 KiB for each 1024
  // frames among which a count changes meanwhile. Returns how many are above zero.
  uint64_t FreezeCounts();
  void ThawCounts();
  absl::Status FrozenCounts(uint64_t leaf, CountLeaf& counts);

  // Gives space that is free beyond a reserve back to the host.
  absl::Status Trim();

  // What a superblock says of counts, in `superblock`, and writes of the counts that changed, where
  // they must be written: because others were changed than those of frames handed out, because
  // these are in too many runs, or because of `all`.
  absl::Status PlanCommit(bool all, format::Superblock& superblock,
                          std::vector<PlannedWrite>& writes);

  uint64_t total_frames() const;
  uint64_t limit_frames() const;  // what the volume can grow to; kMaxFrame where there is no limit
  uint64_t used_frames() const;   // those of the logs included
  uint64_t available_frames() const;
  // Frames that can still be had for logs without asking the host.
  uint64_t ready_frames() const;
  // The volume has a limit, or its host had no space the last time that it was asked.
  bool tight() const;
  // Frames with a count that were handed out since the last PlanCommit.
  uint64_t born_frames() const;
  bool IsLogFrame(FrameNumber frame) const;
  // Frames that were handed out, and that may be handed out again, since the volume was opened.
  void AddTo(Counter& allocated, Counter& freed, Counter& checksum_failures) const;

 private:
  uint64_t ReserveFrames() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint64_t UnreadyFree() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status MakeReady(uint64_t frames) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status ScanForFree(uint64_t frames) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status MakeRunReady(uint64_t begin, uint64_t end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Extend(uint64_t frames) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status BackCounts(FrameNumber begin, FrameNumber end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void InsertReady(uint64_t begin, uint64_t end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool IsReady(uint64_t frame) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  FrameRun TakeData(uint64_t frames) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  FrameRun TakeNodeRun() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SeekLong() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Less than one in `parts` of the ready frames is in a long extent.
  bool SpareLong(uint64_t parts) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AddReady(uint64_t begin, uint64_t end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RemoveReady(absl::btree_map<uint64_t, uint64_t>::iterator extent)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void HandOut(const FrameRun& run) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  os::File& file_;
  mutable absl::Mutex mu_;
  CountTable counts_ ABSL_GUARDED_BY(mu_);
  uint64_t total_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t used_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t max_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t reserved_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t ready_total_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t long_total_ ABSL_GUARDED_BY(mu_) = 0;  // of them: in long extents
  // Begin and end of each ready extent; none touch.
  absl::btree_map<uint64_t, uint64_t> ready_ ABSL_GUARDED_BY(mu_);
  // The same by length: length and begin.
  absl::btree_set<std::pair<uint64_t, uint64_t>> by_length_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_set<FrameNumber> log_frames_ ABSL_GUARDED_BY(mu_);
  // Count leaves whose pair has space on the host.
  absl::flat_hash_set<uint64_t> backed_leaves_ ABSL_GUARDED_BY(mu_);
  uint64_t data_cursor_ ABSL_GUARDED_BY(mu_) = 0;  // where the last data ended
  FrameRun node_run_ ABSL_GUARDED_BY(mu_);         // taken off ready_, counted in ready_total_
  uint64_t scan_leaf_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t born_ ABSL_GUARDED_BY(mu_) = 0;
  // Frames handed out since counts were last written, those of logs among them; by begin, and none
  // touch. Other counts were changed as well.
  absl::btree_map<uint64_t, uint64_t> uncounted_ ABSL_GUARDED_BY(mu_);
  bool counts_changed_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t allocated_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t freed_ ABSL_GUARDED_BY(mu_) = 0;
  bool host_full_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace cow::store
