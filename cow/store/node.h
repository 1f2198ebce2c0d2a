// A frame with children in memory: a page-table node, or a leaf of records.
//
// Invariant: a node born in the current generation is reachable from one head only and may be
// changed under that head's lock; any other is immutable. Its checksum is filled in where its
// parent has its entry when the generation advances (the seal).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <span>

#include "cow/base/types.h"
#include "cow/format/entry.h"
#include "cow/format/record.h"

namespace cow::store {

// Entries of the pages of one leaf, not initialised: zeroing them costs as much as reading a page.
union LeafEntries {
  LeafEntries() {}
  std::array<format::Entry, format::kFanout> entries;
};

struct Node {
  Node(FrameNumber frame, Generation birth, uint8_t level, bool table)
      : frame(frame), birth(birth), level(level), table(table) {}

  union alignas(64) Content {
    Content() : entries() {}
    std::array<format::Entry, format::kFanout> entries;
    std::array<format::Record, format::kRecordsPerLeaf> records;
  } content;

  const FrameNumber frame;
  const Generation birth;
  // What its children were checked to be: an entry that says otherwise does not get it.
  const uint8_t level;
  const bool table;
  // Its frame does not hold it yet: it must stay in the cache.
  std::atomic<bool> unwritten = false;
  std::atomic<bool> touched = true;

  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(content.entries)); }
  std::span<std::byte> bytes() { return std::as_writable_bytes(std::span(content.entries)); }
};
static_assert(sizeof(Node::Content) == kPageSize);

using NodePointer = std::shared_ptr<Node>;

}  // namespace cow::store
