// A queue of entries that survives: appended in memory, written at commits in frames of its own,
// each naming the one before, taken from the front when done with.
//
// Log frames have no count; they are in use while the chain from the superblock reaches them, so
// writing a log never changes a count, and counting never writes a log.
//
// Thread safety: none; the owner's lock guards it.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/base/types.h"
#include "cow/format/entry.h"
#include "cow/format/superblock.h"
#include "cow/os/file.h"
#include "cow/store/allocator.h"

namespace cow::store {

class FrameLog {
 public:
  struct Item {
    format::Entry entry;
    Generation appended;
  };

  // Reads what `root` names. Cost: the items that are left.
  absl::Status Load(const os::File& file, const format::LogRoot& root);

  size_t size() const { return items_.size(); }
  bool empty() const { return items_.empty(); }
  size_t frames() const { return frames_.size(); }
  const Item& front() const { return items_.front(); }
  const std::deque<Item>& items() const { return items_; }
  void Append(const format::Entry& entry, Generation generation) {
    items_.push_back({entry, generation});
  }
  void PopFront() {
    items_.pop_front();
    ++first_;
  }

  // Takes all items from the front.
  void Clear() {
    first_ += items_.size();
    items_.clear();
  }

  // Frames that a Plan now would allocate.
  uint64_t FramesToPlan() const;
  // Writes of the items that are not in frames yet, and the root for the superblock.
  absl::StatusOr<format::LogRoot> Plan(Generation generation, Allocator& allocator,
                                       std::vector<PlannedWrite>& writes);
  // Frames that the last planned root no longer needs: free once it is durable.
  std::vector<FrameNumber> TakeConsumed();
  // All frames of the chain.
  std::vector<FrameNumber> Frames() const;

 private:
  struct Frame {
    format::Entry entry;
    uint64_t end = 0;  // number of the first item after it
  };
  std::deque<Item> items_;
  uint64_t first_ = 0;    // number of items_.front()
  uint64_t planned_ = 0;  // items before this number are in frames
  std::deque<Frame> frames_;
  std::vector<FrameNumber> consumed_;
};

}  // namespace cow::store
