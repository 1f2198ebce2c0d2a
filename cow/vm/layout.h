// Which extents of a version are bound and which are copied in, within a budget of maps.
//
// Invariant: bound and copied extents together are exactly the extents given, and no chunk has
// both. A run of bound extents that the kernel can join into one map counts as one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "cow/base/types.h"
#include "cow/vm/mapping.h"

namespace cow::vm {

// What is bound at once: 2 MiB, the reach of one page of the hardware's page table.
inline constexpr uint64_t kChunkPages = 512;

// Extents are in order and within pages [begin, end), and their frames within the volume file
// (kDataLoss, EIO): binding others would be SIGBUS later, or somebody else's memory.
absl::Status CheckExtents(std::span<const Extent> extents, PageNumber begin, PageNumber end,
                          int descriptor);

struct Layout {
  std::vector<Extent> bound;   // in order, joined
  std::vector<Extent> copied;  // in order, none across a chunk's border
  uint64_t maps = 0;           // that the kernel needs for all `pages` pages
  uint64_t copied_pages = 0;
};

// The layout that copies the fewest pages for each map it saves. Always within `map_limit` if that
// is at least 1; what that costs in memory is for the caller to judge. `extents` are in order, do
// not overlap and lie within `pages`.
Layout PlanLayout(std::span<const Extent> extents, uint64_t pages, uint64_t map_limit);

// Maps that all mappings of this process use together.
class MapAccount {
 public:
  // Half of what is left of a quarter of vm.max_map_count; at least a handful.
  static uint64_t Available();
  // They use half of vm.max_map_count: the other half is the application's.
  static bool IsExhausted();
  static void Add(uint64_t maps);
  static void Subtract(uint64_t maps);
};

}  // namespace cow::vm
