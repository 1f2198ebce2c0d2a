// Holds on generations, so that frames visible in them are not reused.
//
// Readers in other processes pin the generation of the superblock they opened: a shared lock of
// their open file description on one byte of the volume file's lock space, which ends with the
// process. Readers in this process announce the generation for the length of one read.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "cow/base/types.h"
#include "cow/os/file.h"
#include "cow/store/counters.h"

namespace cow::store {

// Bytes of the lock space, far beyond any frame (files end at 2^63 - 1).
inline constexpr uint64_t kWriterLock = uint64_t{1} << 61;
inline constexpr uint64_t kPinLocks = uint64_t{1} << 62;

// Generations pinned by other processes, ascending.
absl::StatusOr<std::vector<Generation>> PinnedByOthers(const os::File& file, Generation newest);

// Reads under way in this process.
class ReaderSlots {
  struct alignas(64) Slot {
    std::atomic<uint64_t> generation = 0;
    Counter reads;
    Counter bytes;
  };

 public:
  class Hold {
   public:
    explicit Hold(Slot* slot) : slot_(slot) {}
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() { slot_->generation.store(0, std::memory_order_release); }

    // A read of so many bytes. The slot is this thread's alone meanwhile.
    void Count(uint64_t bytes) const {
      slot_->reads = slot_->reads + 1;
      slot_->bytes = slot_->bytes + bytes;
    }

   private:
    Slot* const slot_;
  };

  // Frames that are referred to while the hold is there, by what the caller looks up after this
  // call, keep their content until the hold ends.
  Hold Enter(Generation current) {
    return EnterOneOf(std::span(slots_).first(kSlots - kBriefSlots), current);
  }

  // As Enter, for who touches no memory of callers meanwhile. A caller's may be that of a mapping:
  // so those who wait for it have all other slots, and who provides it still finds one.
  Hold EnterBriefly(Generation current) {
    return EnterOneOf(std::span(slots_).last(kBriefSlots), current);
  }

  // The oldest generation that a read under way began in.
  std::optional<Generation> Oldest() const;

  // Reads that were counted, and their bytes.
  void AddTo(Counter& reads, Counter& bytes) const;

 private:
  static constexpr size_t kSlots = 144;
  static constexpr size_t kBriefSlots = 16;

  static Hold EnterOneOf(std::span<Slot> slots, Generation current);

  std::array<Slot, kSlots> slots_;
};

}  // namespace cow::store
