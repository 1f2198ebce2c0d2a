// Nodes in memory, by frame. Clean nodes are dropped when there are more than the budget allows,
// least recently used ones first (approximated by a clock, as in Corbato's "A Paging Experiment
// with the Multics System"); unwritten ones never.
//
// Thread safety: all methods, from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "cow/base/types.h"
#include "cow/os/file.h"
#include "cow/store/counters.h"
#include "cow/store/node.h"

namespace cow::store {

class NodeCache {
 public:
  NodeCache(const os::File& file, uint64_t budget_bytes);

  // The node `entry` names, read and verified if it is not here. kDataLoss if its checksum differs.
  absl::StatusOr<NodePointer> Get(const format::Entry& entry);

  // A new node, unwritten: zeroes.
  NodePointer Create(FrameNumber frame, Generation birth, uint8_t level, bool table);

  // The node may be dropped from now on.
  void Written(const NodePointer& node);
  // An unwritten node that nothing refers to any more.
  void Forget(FrameNumber frame);

  uint64_t unwritten() const { return unwritten_.load(std::memory_order_relaxed); }
  // How often Get found the node here, had to read it, and read what does not match.
  void AddTo(Counter& hits, Counter& misses, Counter& checksum_failures);

 private:
  struct Shard {
    absl::Mutex mu;
    absl::flat_hash_map<FrameNumber, NodePointer> nodes ABSL_GUARDED_BY(mu);
    std::vector<FrameNumber> clock ABSL_GUARDED_BY(mu);
    size_t hand ABSL_GUARDED_BY(mu) = 0;
    uint64_t hits ABSL_GUARDED_BY(mu) = 0;
    uint64_t misses ABSL_GUARDED_BY(mu) = 0;
  };
  static constexpr size_t kShards = 16;

  Shard& ShardOf(FrameNumber frame) { return shards_[frame.value() % kShards]; }
  absl::StatusOr<NodePointer> OfKind(const NodePointer& node, const format::Entry& entry) const;
  absl::Status OfAnotherKind(const format::Entry& entry) const;
  void Insert(Shard& shard, const NodePointer& node) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);

  const os::File& file_;
  const size_t nodes_per_shard_;
  std::atomic<uint64_t> unwritten_ = 0;
  Counter checksum_failures_;
  std::array<Shard, kShards> shards_;
};

}  // namespace cow::store
