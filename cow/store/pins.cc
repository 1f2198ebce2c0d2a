#include "cow/store/pins.h"

#include <algorithm>

#include "cow/base/status.h"

namespace cow::store {

absl::StatusOr<std::vector<Generation>> PinnedByOthers(const os::File& file, Generation newest) {
  std::vector<Generation> pinned;
  const uint64_t end = kPinLocks + newest.value() + 1;
  for (uint64_t begin = kPinLocks; begin < end;) {
    COW_ASSIGN_OR_RETURN(std::optional<uint64_t> locked, file.FirstLocked(begin, end));
    if (!locked.has_value()) break;
    pinned.push_back(Generation(*locked - kPinLocks));
    begin = *locked + 1;
  }
  return pinned;
}

ReaderSlots::Hold ReaderSlots::EnterOneOf(std::span<Slot> slots, Generation current) {
  // Each thread begins at a place of its own, so that it finds its slot free at the first try.
  static std::atomic<size_t> next_thread = 0;
  static thread_local const size_t start = next_thread.fetch_add(1);
  for (size_t i = start;; ++i) {
    Slot& slot = slots[i % slots.size()];
    uint64_t unused = 0;
    // Sequentially consistent: who frees a frame sees this, or this reader sees that it is gone.
    if (slot.generation.load(std::memory_order_relaxed) == 0 &&
        slot.generation.compare_exchange_strong(unused, current.value())) {
      return Hold(&slot);
    }
  }
}

std::optional<Generation> ReaderSlots::Oldest() const {
  uint64_t oldest = 0;
  for (const Slot& slot : slots_) {
    const uint64_t generation = slot.generation.load();
    if (generation != 0 && (oldest == 0 || generation < oldest)) oldest = generation;
  }
  if (oldest == 0) return std::nullopt;
  return Generation(oldest);
}

void ReaderSlots::AddTo(Counter& reads, Counter& bytes) const {
  for (const Slot& slot : slots_) {
    reads.Add(slot.reads);
    bytes.Add(slot.bytes);
  }
}

}  // namespace cow::store
