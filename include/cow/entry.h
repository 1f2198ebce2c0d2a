// What a name in a volume stands for: plain values, answered by Stat and the lists.
//
//   for (const cow::Entry& entry : volume.ListSnapshots("/state", {.space = true}).value()) {
//     std::cout << entry.path << '@' << entry.snapshot << ": only it holds "
//               << entry.space->exclusive_bytes << " bytes\n";
//   }
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace cow {

enum class Kind {
  kFile,
  kDirectory,
  kTree,   // a directory that is the root of a tree
  kLink,   // a symbolic link
  kOther,  // a device, fifo or socket
};

// The space of a head or a snapshot, exact at one moment.
struct SpaceUse {
  uint64_t referenced_bytes = 0;  // of the frames it can reach
  uint64_t exclusive_bytes = 0;   // of those that nothing else holds: free once it is removed
};

// A head, or a snapshot of one.
struct Entry {
  std::string path;      // of the head, from the root of the volume: "/data/state"; of a snapshot
                         // whose head is gone, the last path the head had
  std::string snapshot;  // name of the snapshot; empty for a head
  Kind kind = Kind::kFile;
  bool removed = false;  // the head is gone; the snapshot stays until it is destroyed
  uint64_t size = 0;     // of a file, in bytes; 0 for all others
  // When the snapshot was taken or the head was made; the epoch (1970) where that is not known. A
  // cloned file was made when it was cloned; a cloned tree, and all in it, when its source was.
  std::chrono::system_clock::time_point created;
  uint64_t snapshots = 0;         // how many a head has
  std::optional<SpaceUse> space;  // only where it was asked for
};

}  // namespace cow
