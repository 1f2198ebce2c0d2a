// What a volume has counted, by the names of its interfaces: the public one, and control messages.
#pragma once

#include "cow/store/store.h"

namespace cow::fs {

// `Statistics` is VolumeStatistics, where each is explained, or control::Statistics.
template <typename Statistics>
Statistics StatisticsOf(const store::Store& store) {
  const store::Counters counters = store.counters();
  const store::Space space = store.space();
  return {.open_seconds = counters.open_seconds,
          .reads = counters.reads,
          .read_bytes = counters.read_bytes,
          .writes = counters.writes,
          .written_bytes = counters.written_bytes,
          .copied_pages = counters.copied_pages,
          .commits = counters.commits,
          .committed_frames = counters.committed_frames,
          .commit_microseconds = counters.commit_microseconds,
          .last_commit_microseconds = counters.last_commit_microseconds,
          .syncs = counters.syncs,
          .allocated_frames = counters.allocated_frames,
          .freed_frames = counters.freed_frames,
          .waiting_frames = space.deferred_frames,
          .folded_items = counters.folded_items,
          .waiting_items = space.pending_items,
          .node_hits = counters.node_hits,
          .node_misses = counters.node_misses,
          .checksum_failures = counters.checksum_failures,
          .taken_snapshots = counters.snapshots,
          .made_clones = counters.clones};
}

}  // namespace cow::fs
