// Object record: 256 bytes, 16 to a leaf of a table. Object n is record n % 16 of leaf n / 16.
//
//   0    root entry (empty: no content)
//   16   size: bytes of a file; of a tree, the next object number that it gives
//   24   pages of data below the root
//   32   flags: 1 the record is in use, 2 it is a version, 4 it is a tree
//   33   zero
//   34   length of the attributes
//   36   zero
//   48   attributes (208)
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "cow/base/types.h"
#include "cow/format/entry.h"

namespace cow::format {

inline constexpr uint64_t kRecordsPerLeaf = 16;
inline constexpr size_t kAttributeBytes = 208;
inline constexpr uint8_t kRecordUsed = 1;
inline constexpr uint8_t kRecordVersion = 2;
inline constexpr uint8_t kRecordTree = 4;

struct Record {
  Entry root;
  uint64_t size = 0;
  uint64_t pages = 0;
  uint8_t flags = 0;
  uint8_t reserved0 = 0;
  uint16_t attribute_length = 0;
  std::array<uint8_t, 12> reserved1 = {};
  std::array<char, kAttributeBytes> attributes = {};

  bool used() const { return (flags & kRecordUsed) != 0; }
};
static_assert(sizeof(Record) == 256);
static_assert(sizeof(Record) * kRecordsPerLeaf == kPageSize);

}  // namespace cow::format
