// References to each frame, as a tree of fixed geometry (see cow/format/geometry.h).
//
// A count leaf that changed is written by the next commit to the frame of its pair that the last
// commit does not refer to, and so are the nodes above it; so counting allocates nothing.
// What this keeps in memory: every node that was needed (4 KiB a GiB of volume), and leaves within
// a budget, more when more are dirty.
//
// Thread safety: none; the allocator's lock guards it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "cow/base/types.h"
#include "cow/format/entry.h"
#include "cow/format/geometry.h"
#include "cow/os/file.h"

namespace cow::store {

using CountLeaf = std::array<uint32_t, format::kCountsPerLeaf>;

// A frame's worth of bytes on its way to the disk.
struct PlannedWrite {
  FrameNumber frame;
  std::shared_ptr<const std::array<std::byte, kPageSize>> bytes;
};

class CountTable {
 public:
  CountTable(const os::File& file, uint64_t budget_bytes);

  // Begins from the counts of a volume; `root` may be empty (all counts zero).
  void Load(const format::Entry& root, uint64_t total_frames);

  // Count of `frame`. kDataLoss when its leaf cannot be read.
  absl::StatusOr<uint32_t> Get(FrameNumber frame);
  absl::Status Set(FrameNumber frame, uint32_t count);

  // As of the last Plan.
  const format::Entry& root() const { return root_; }

  // The leaf with the counts of frames [leaf * 1024, ...), for reading; nullptr when all are zero
  // and none was ever set. Valid until the next call.
  absl::StatusOr<const CountLeaf*> Leaf(uint64_t leaf);

  // From Freeze to Thaw, each leaf that is set is kept as it was: ReadFrozen answers the counts of
  // the time of Freeze. It leaves the cache as it is.
  void Freeze() { frozen_ = true; }
  void Thaw();
  absl::Status ReadFrozen(uint64_t leaf, CountLeaf& counts);

  // Makes a leaf zeroes, for a repair. What of it, or above it, cannot be read counts as empty.
  void Reset(uint64_t leaf);

  // Frames that were read and do not match their checksum.
  uint64_t checksum_failures() const { return checksum_failures_; }

  // Writes of everything that changed since the last Plan, as of `generation`.
  absl::Status Plan(Generation generation, uint64_t total_frames,
                    std::vector<PlannedWrite>& writes);

 private:
  struct LeafState {
    CountLeaf counts = {};
    bool dirty = false;
    bool touched = true;
    uint64_t planned = 0;  // by which Plan it was written
  };
  struct NodeState {
    std::array<format::Entry, format::kFanout> entries = {};
  };
  using NodeKey = std::pair<uint8_t, uint64_t>;  // level, index

  absl::StatusOr<NodeState*> GetNode(uint8_t level, uint64_t index, bool repair = false);
  absl::StatusOr<LeafState*> GetLeaf(uint64_t leaf, bool create);
  absl::Status ReadVerified(const format::Entry& entry, std::span<std::byte> bytes);
  format::Entry PlanFrame(FrameNumber pair, const format::Entry& old, uint8_t level,
                          Generation generation, std::span<const std::byte> bytes,
                          std::vector<PlannedWrite>& writes);
  void Evict();

  const os::File& file_;
  const size_t max_leaves_;
  size_t evict_at_;  // leaves in memory at which the next eviction begins
  format::Entry root_;
  uint8_t levels_ = 1;
  absl::flat_hash_map<uint64_t, std::unique_ptr<LeafState>> leaves_;
  absl::flat_hash_map<NodeKey, std::unique_ptr<NodeState>> nodes_;
  std::vector<uint64_t> dirty_leaves_;
  uint64_t checksum_failures_ = 0;
  // Leaves of the last Plan are on their way to the disk and stay here until the next one.
  uint64_t plans_ = 1;
  bool frozen_ = false;
  absl::flat_hash_map<uint64_t, std::unique_ptr<const CountLeaf>> kept_;  // while frozen
};

}  // namespace cow::store
