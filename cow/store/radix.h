// The persistent radix tree below a root entry: of a file, units are its pages; of a table, its
// leaves of records. A root of level n covers 256^n units; of level 0, it is unit 0 itself.
//
// A change copies the nodes on its path once per generation (MutableNode); the copy shares the
// children, which is one item of the count log.
//
// Locking: who changes a tree holds its writer lock and a transaction, and gives the lock `mu` that
// readers hold; it is taken only to enter an entry. Who reads holds `mu` shared, or the writer
// lock, or reads a version.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "cow/format/entry.h"
#include "cow/store/core.h"

namespace cow::store {

class Radix {
 public:
  using Entry = format::Entry;

  explicit Radix(Core& core, bool table) : core_(core), table_(table) {}

  // Units a root of `level` covers.
  static uint64_t Covers(uint8_t level) { return uint64_t{1} << (format::kFanoutShift * level); }

  // The node of level 1 that has the entry of `unit`; nullptr where it is a hole. root.level() > 0.
  absl::StatusOr<NodePointer> Leaf(const Entry& root, uint64_t unit) const;
  // The entry of `unit`; empty where it is a hole.
  absl::StatusOr<Entry> Find(const Entry& root, uint64_t unit) const;

  // Smallest unit >= `unit` with an entry, that is not a hole.
  absl::StatusOr<std::optional<uint64_t>> NextUsed(const Entry& root, uint64_t unit) const;
  // Calls `found` for each unit with an entry, and, with the error, for the `count` units below a
  // node that cannot be read; in order, until it answers false. Of a tree that does not change.
  using UnitSurveyor =
      std::function<bool(uint64_t unit, uint64_t count, const absl::StatusOr<Entry>& entry)>;
  bool Survey(const Entry& root, const UnitSurveyor& found) const;
  // Number of units in [begin, end) with an entry.
  absl::StatusOr<uint64_t> CountUsed(const Entry& root, uint64_t begin, uint64_t end) const;

  // As Leaf, but born in the current generation, made where there was none; raises the root until
  // it covers `unit`, at least to level 1.
  absl::StatusOr<NodePointer> MutableLeaf(Entry& root, uint64_t unit, absl::Mutex& mu,
                                          uint64_t& reserved);
  // Tables: the leaf of records `unit`, born in the current generation, made where there was none.
  absl::StatusOr<NodePointer> MutableUnit(Entry& root, uint64_t unit, absl::Mutex& mu,
                                          uint64_t& reserved);

  // Makes [begin, end) a hole, and gives up what was there.
  absl::Status Clear(Entry& root, uint64_t begin, uint64_t end, absl::Mutex& mu,
                     uint64_t& reserved);

  // Gives up the reference to `entry` and, where nothing else could have one, to what is below.
  absl::Status Drop(const Entry& entry);

  // Fills in the checksum of `entry` and of everything below it that was born in the current
  // generation; such nodes are appended to `sealed`.
  absl::Status Seal(Entry& entry, std::vector<NodePointer>& sealed) const;

 private:
  absl::StatusOr<NodePointer> MutableNode(Entry& slot, uint8_t level, absl::Mutex& mu,
                                          uint64_t& reserved);
  absl::Status Raise(Entry& root, uint64_t unit, uint8_t least, absl::Mutex& mu,
                     uint64_t& reserved);
  absl::Status ClearBelow(Entry& slot, uint8_t level, uint64_t first, uint64_t begin, uint64_t end,
                          absl::Mutex& mu, uint64_t& reserved);
  absl::StatusOr<std::optional<uint64_t>> NextBelow(const Entry& entry, uint64_t first,
                                                    uint64_t unit, Visited& barren) const;
  bool SurveyBelow(const Entry& entry, uint64_t first, const UnitSurveyor& found,
                   Visited& visited) const;
  absl::StatusOr<uint64_t> CountBelow(const Entry& entry, uint64_t first, uint64_t begin,
                                      uint64_t end, Visited& visited) const;

  Core& core_;
  const bool table_;
};

}  // namespace cow::store
