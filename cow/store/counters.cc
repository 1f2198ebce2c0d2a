// Counting what is done, and adding it up.
#include "cow/store/counters.h"

#include "cow/base/trace.h"
#include "cow/store/core.h"

namespace cow::store {

void Core::CommitBegins() {
  commit_began_ = std::chrono::steady_clock::now();
  COW_TRACE(commit__begin);
}

void Core::CommitEnds(uint64_t frames) {
  const uint64_t microseconds = std::chrono::duration_cast<std::chrono::microseconds>(
                                    std::chrono::steady_clock::now() - commit_began_)
                                    .count();
  counters_.commits.Add();
  counters_.committed_frames.Add(frames);
  counters_.commit_microseconds.Add(microseconds);
  counters_.last_commit_microseconds = microseconds;
  COW_TRACE(commit__end, durable_.load(), frames, microseconds);
}

Counters Store::counters() const {
  Counters counters = core_->counters_;
  counters.open_seconds = std::chrono::duration_cast<std::chrono::seconds>(
                              std::chrono::steady_clock::now() - core_->opened_)
                              .count();
  core_->readers_.AddTo(counters.reads, counters.read_bytes);
  core_->nodes_.AddTo(counters.node_hits, counters.node_misses, counters.checksum_failures);
  core_->allocator_.AddTo(counters.allocated_frames, counters.freed_frames,
                          counters.checksum_failures);
  return counters;
}

}  // namespace cow::store
