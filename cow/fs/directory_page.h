// A page of an index (a directory, or the index of the catalog): a node of a B+ tree whose keys are
// positions. The bytes are specified in README.md. Decoded pages are checked in full, so that no
// bytes of a disk can lead astray who works on them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cow/base/types.h"

namespace cow::fs {

// Longest key and value of an entry together: a page holds at least three.
inline constexpr size_t kMaxEntryBytes = 1280;

// A key with what it stands for, at a place that orders it.
struct IndexEntry {
  uint64_t position = 0;
  std::string key;
  std::string value;
};

// A page below: of entries with positions from `first` on (the first child's does not count).
struct IndexChild {
  uint64_t first = 0;
  uint64_t page = 0;
};

// What only page 0 knows.
struct IndexRoot {
  std::array<uint64_t, 2> seed = {};  // of the hash
  uint64_t pages = 1;                 // pages before this one have been in use
  uint64_t free_pages = 0;            // holes among them
  uint64_t first_free = 0;            // no hole lies before it
};

class DirectoryPage {
 public:
  explicit DirectoryPage(uint64_t number, uint8_t level) : number_(number), level_(level) {}

  static absl::StatusOr<DirectoryPage> Decode(uint64_t number, std::string_view bytes);
  std::string Encode() const;

  uint64_t number() const { return number_; }
  bool is_root() const { return number_ == 0; }
  // 0: entries; n: children of level n - 1.
  uint8_t level() const { return level_; }
  void set_level(uint8_t level) { level_ = level; }
  bool empty() const { return level_ == 0 ? entries.empty() : children.empty(); }
  // Bytes that it takes when encoded.
  size_t bytes() const;
  bool fits() const { return bytes() <= kPageSize; }

  // Index in `entries` of the first at or after `position`.
  size_t FirstAt(uint64_t position) const;
  // Index in `children` of the one whose pages hold `position`.
  size_t ChildFor(uint64_t position) const;

  // Moves the second half, by bytes, to `right`. Answers where `right` begins.
  uint64_t SplitInto(DirectoryPage& right);

  std::vector<IndexEntry> entries;
  std::vector<IndexChild> children;
  IndexRoot root;

 private:
  uint64_t number_;
  uint8_t level_;
};

}  // namespace cow::fs
