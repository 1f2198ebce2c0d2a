// A frame of the count log or of the free log: up to 252 items, and where the frame before is.
//
//   0    magic "cowl"
//   4    number of items (1 to 252)
//   8    generation of the commit that wrote it
//   16   number of the first item, counted over the life of the log
//   24   zero
//   32   entry of the log frame before (empty: none)
//   48   zero
//   64   items of 16 bytes
// The count log's items are entries with an operation; the free log's are entries of frames that
// nothing refers to any more and that wait to be reused; they are held by a count of one.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "cow/base/types.h"
#include "cow/format/entry.h"

namespace cow::format {

inline constexpr size_t kItemsPerLogFrame = 252;

struct LogFrame {
  Generation generation;
  uint64_t first = 0;
  Entry previous;
  std::vector<Entry> items;
};

std::array<std::byte, kPageSize> EncodeLogFrame(const LogFrame& log_frame);
absl::StatusOr<LogFrame> DecodeLogFrame(std::span<const std::byte> bytes);

}  // namespace cow::format
