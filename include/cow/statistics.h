// What a volume has done since it was opened: for watching it, and for finding out what is slow.
#pragma once

#include <cstdint>

namespace cow {

// Each number only grows while the volume is open, but for those that are called `last` or
// `waiting`. What is read through a mapping is not counted: no code of the library runs then.
struct VolumeStatistics {
  uint64_t open_seconds = 0;  // since it was opened

  uint64_t reads = 0;  // of files, and of directories that are not in memory
  uint64_t read_bytes = 0;
  uint64_t writes = 0;  // likewise; also what sealing a mapping writes
  uint64_t written_bytes = 0;
  uint64_t copied_pages = 0;  // of these: copied on write, as a version or a commit holds the old

  uint64_t commits = 0;           // that had something to make durable
  uint64_t committed_frames = 0;  // that they wrote: page tables, counts and logs, not data
  uint64_t commit_microseconds = 0;
  uint64_t last_commit_microseconds = 0;
  uint64_t syncs = 0;  // calls of Sync, and fsync on a mount: several may share one commit

  uint64_t allocated_frames = 0;  // of 4 KiB, for data, page tables, counts' and free frames' logs
  uint64_t freed_frames = 0;      // that can be used again
  uint64_t waiting_frames = 0;    // free, but held by a commit to come or by a reader
  uint64_t folded_items = 0;      // changes to counts of references that were carried out
  uint64_t waiting_items = 0;     // that are logged

  uint64_t node_hits = 0;  // nodes of page tables that were in memory, and that had to be read
  uint64_t node_misses = 0;
  uint64_t checksum_failures = 0;  // frames that are not what was written: run a check

  uint64_t taken_snapshots = 0;  // whether or not they are still there
  uint64_t made_clones = 0;
};

}  // namespace cow
