// Entry: 16 bytes that name a frame, vouch for its content and say what kind it is.
//
//   bits    0-39   frame (0: the entry is empty, a hole)
//   bits   40-87   generation of birth
//   bits   88-119  FrameChecksum of the frame's content (0 for data of volumes without checksums)
//   bits  120-122  level: 0 is a page of data or a leaf of records; n has children of level n - 1
//   bit    123     the frame belongs to a table: at level 0 it is a leaf of records
//   bits  124-127  operation, in the count log only; 0 elsewhere
// as two little-endian words, the low one first.
#pragma once

#include <bit>
#include <cstdint>

#include "cow/base/types.h"

namespace cow::format {

static_assert(std::endian::native == std::endian::little, "the volume format is little-endian");

inline constexpr uint64_t kFanout = 256;
inline constexpr uint64_t kFanoutShift = 8;
// A table has up to 256^5 leaves, a page table 256^5 pages.
inline constexpr uint8_t kMaxLevel = 5;
inline constexpr uint64_t kMaxFrame = (uint64_t{1} << 40) - 1;

// What an entry of the count log does to the count of its frame, when folded.
enum class CountOperation : uint8_t {
  kNone = 0,
  kAdd = 1,    // one reference more
  kDrop = 2,   // one less; at zero the children lose one too
  kShare = 3,  // a node was copied: one less, and one more for each child; at zero the two cancel
  kDropFrame = 4,  // one less; the children are none of its business
};

class Entry {
 public:
  constexpr Entry() = default;
  constexpr Entry(FrameNumber frame, Generation birth, uint32_t checksum, uint8_t level, bool table)
      : low_(frame.value() | birth.value() << 40),
        high_(birth.value() >> 24 | uint64_t{checksum} << 24 | uint64_t{level} << 56 |
              uint64_t{table} << 59) {}

  constexpr bool empty() const { return (low_ & kMaxFrame) == 0; }
  constexpr FrameNumber frame() const { return FrameNumber(low_ & kMaxFrame); }
  constexpr Generation birth() const { return Generation(low_ >> 40 | (high_ & 0xffffff) << 24); }
  constexpr uint32_t checksum() const { return static_cast<uint32_t>(high_ >> 24); }
  constexpr uint8_t level() const { return high_ >> 56 & 7; }
  constexpr bool table() const { return (high_ >> 59 & 1) != 0; }
  constexpr CountOperation operation() const { return CountOperation{uint8_t(high_ >> 60)}; }
  // Holds other entries: a node, or a leaf of records.
  constexpr bool has_children() const { return level() > 0 || table(); }

  constexpr void set_checksum(uint32_t checksum) {
    high_ = (high_ & ~(uint64_t{0xffffffff} << 24)) | uint64_t{checksum} << 24;
  }
  constexpr Entry With(CountOperation operation) const {
    Entry entry = *this;
    entry.high_ = (high_ & ~(uint64_t{15} << 60)) | uint64_t{static_cast<uint8_t>(operation)} << 60;
    return entry;
  }

  friend constexpr bool operator==(const Entry&, const Entry&) = default;

 private:
  uint64_t low_ = 0;
  uint64_t high_ = 0;
};
static_assert(sizeof(Entry) == 16);
static_assert(kPageSize == kFanout * sizeof(Entry));

}  // namespace cow::format
