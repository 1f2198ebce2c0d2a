// Where the frames with a fixed place are.
//
// The volume is divided into zones of 2^18 frames (1 GiB). The first kZoneHeader frames of each
// hold the counts of the zone's frames and are never allocated. A count leaf has the counts of 1024
// frames; each leaf, and each node above, has a pair of frames and is written to them in turn, so
// that what the last durable commit refers to stays. The nodes above a leaf are page-table nodes:
// one of level 1 a zone, one of level n for 256^(n-1) zones, in the header of the first of them.
//
//   frame of a zone   what
//   0, 1              zone 0: superblock slots 0 and 1, first copies
//   2                 zone 0: who has the volume open for writing (text, for messages only)
//   8 + 2i            count leaf i, 256 pairs
//   520 + 2(n-1)      count node of level n, 1 to 4, pairs
//   530, 531          zone 0: superblock slots 0 and 1, second copies
#pragma once

#include <cstdint>

#include "cow/base/types.h"

namespace cow::format {

inline constexpr uint64_t kZoneFrames = uint64_t{1} << 18;
inline constexpr uint64_t kZoneHeader = 536;
inline constexpr uint64_t kCountsPerLeaf = kPageSize / sizeof(uint32_t);
inline constexpr uint64_t kLeavesPerZone = kZoneFrames / kCountsPerLeaf;
inline constexpr FrameNumber kHolderFrame(2);
inline constexpr uint8_t kMaxCountLevel = 4;

// Copy 0 or 1 of superblock slot 0 or 1.
constexpr FrameNumber SuperblockFrame(int slot, int copy) {
  return FrameNumber((copy == 0 ? 0 : 530) + static_cast<uint64_t>(slot));
}

// First frame of the pair of count leaf `leaf` (counted over the whole volume).
constexpr FrameNumber CountLeafPair(uint64_t leaf) {
  return FrameNumber(leaf / kLeavesPerZone * kZoneFrames + 8 + leaf % kLeavesPerZone * 2);
}

// First frame of the pair of the count node of `level` (>= 1) that covers zones
// [index * 256^(level-1), (index + 1) * 256^(level-1)).
constexpr FrameNumber CountNodePair(uint8_t level, uint64_t index) {
  return FrameNumber((index << (8 * (level - 1))) * kZoneFrames + 520 +
                     2 * (static_cast<uint64_t>(level) - 1));
}

constexpr bool InZoneHeader(FrameNumber frame) { return frame.value() % kZoneFrames < kZoneHeader; }

// Level of the root of the counts of a volume of `frames`.
constexpr uint8_t CountLevels(uint64_t frames) {
  uint64_t zones = (frames + kZoneFrames - 1) / kZoneFrames;
  uint8_t level = 1;
  for (; zones > 1; zones = (zones + 255) / 256) ++level;
  return level;
}

// Frames of a volume of `frames` that are in zone headers.
constexpr uint64_t HeaderFrames(uint64_t frames) {
  uint64_t rest = frames % kZoneFrames;
  return frames / kZoneFrames * kZoneHeader + (rest < kZoneHeader ? rest : kZoneHeader);
}

}  // namespace cow::format
