// What a store has done since it was opened, for whoever watches it.
//
// Counting must not slow what is counted. So reads are counted in the slot that the reader holds
// anyway (pins.h), nodes that are found under the lock of their shard (node_cache.h), frames under
// the allocator's; Store::counters() adds them up. What is left comes with a write, a commit or a
// version: relaxed atomics that share no line with what readers look at. Each number is exact; all
// together are of no one moment.
#pragma once

#include <atomic>
#include <cstdint>

namespace cow::store {

// A number that many threads add to. A copy is what it is now.
class Counter {
 public:
  Counter() = default;
  Counter(const Counter& other) : value_(other) {}
  Counter& operator=(uint64_t value) {
    value_.store(value, std::memory_order_relaxed);
    return *this;
  }
  operator uint64_t() const { return value_.load(std::memory_order_relaxed); }

  void Add(uint64_t count = 1) { value_.fetch_add(count, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_ = 0;
};

struct alignas(64) Counters {
  Counter open_seconds;  // since the store was opened

  Counter
      reads;  // of objects: those of the tables and directories of the layer above are among them
  Counter read_bytes;
  Counter writes;
  Counter written_bytes;
  Counter copied_pages;  // that had a frame, which was published, and were written to a fresh one

  Counter commits;           // that wrote something
  Counter committed_frames;  // that they wrote: nodes, counts and logs; data is written before
  Counter commit_microseconds;
  Counter last_commit_microseconds;  // of the newest; in all above
  Counter syncs;  // calls of Store::Commit; those that wait together share one commit

  Counter allocated_frames;  // for data, nodes and logs
  Counter freed_frames;      // that may be used again
  Counter folded_items;      // of the count log, and steps of reaping

  Counter node_hits;  // nodes that were sought in the cache: there
  Counter node_misses;
  Counter checksum_failures;  // frames that were read and are not what was written

  Counter snapshots;  // versions that Share made, whether or not they are still there
  Counter clones;
};

}  // namespace cow::store
