// Checks and repairs: what they find, and what a check looks at.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/base/types.h"

namespace cow::store {

class Checker;
class CheckTurn;
class Core;
class Table;

// What a frame belongs to.
struct Place {
  enum class Part { kVolume, kTrees, kCatalog, kOrphans };
  Part part = Part::kVolume;
  std::optional<ObjectNumber> object;  // of the table of trees, the catalog or the orphans
  std::optional<ObjectNumber> member;  // where that object is a tree: of its table
  std::optional<PageNumber> page;      // of the object
};

// Something a check found wrong. A frame that several versions share is there once for each.
struct Damage {
  Place place;
  std::string what;
};

struct CheckResult {
  std::vector<Damage> damages;  // at most 1000
  uint64_t frames_checked = 0;
};

// Called by the thread that checks, after each little that it has read, with frames done and in all.
// It may wait, which slows the check down and nothing else. False ends the check.
using CheckProgress = std::function<bool(uint64_t done, uint64_t all)>;

struct RepairResult {
  uint64_t corrected_counts = 0;  // that were not the number of references
  uint64_t freed_frames = 0;      // of them: in use by nothing
  uint64_t lost_nodes = 0;        // that cannot be read: then no count was touched
};

// Everything as it was at one moment, for a check: pinned, so that frames that could be reached then
// are not used again, while reads, writes, versions and commits go on. What was freed meanwhile is
// free when this ends, so a volume that is nearly full may be full earlier; frames that are born
// meanwhile and freed again are not held. The Store outlives it.
//
// Thread safety: the tables as any; all else one thread at a time.
class PinnedGeneration {
 public:
  PinnedGeneration(const PinnedGeneration&) = delete;
  PinnedGeneration& operator=(const PinnedGeneration&) = delete;
  ~PinnedGeneration();

  // As they were, read-only.
  Table& trees();
  Table& catalog();

  // Reads every frame that was in use and compares checksums, and every count with a full recount;
  // once. kCancelled (ECANCELED) where `progress` ended it. Memory: 4 bytes for each frame in use,
  // 32 MiB to read in the order of frames, and 4 KiB for each 1024 frames (4 MiB) among which a count changes while it runs.
  absl::StatusOr<CheckResult> Check(const CheckProgress& progress = {});

 private:
  friend class Store;
  explicit PinnedGeneration(Core& core);
  absl::Status Pin(bool wait);

  Core& core_;
  const std::unique_ptr<CheckTurn> turn_;
  std::unique_ptr<Table> trees_;
  std::unique_ptr<Table> catalog_;
  std::unique_ptr<Checker> checker_;
  uint64_t counted_frames_ = 0;
};

}  // namespace cow::store
