// A table of a damaged volume: as the newest commit has it, and what of that cannot be read as the
// commit before has it. Every commit writes its path down from the roots anew, so the nodes that
// both read are often not the same frames.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/store/store.h"

namespace cow::move {

class TableRemains {
 public:
  using TablePointer = std::shared_ptr<store::Table>;

  // An object, and why it is as it was before the last commit; OK: it is as it is now.
  struct Found {
    std::shared_ptr<store::Object> object;
    absl::Status lost = absl::OkStatus();
  };
  // Objects of which the newest commit says nothing that can be read. `older`: the commit before has
  // some of them, which were found.
  using Lost =
      std::function<void(uint64_t begin, uint64_t count, const absl::Status& cause, bool older)>;

  // `before` opens the table of the commit before, when that is needed; nullptr where there is none.
  TableRemains(TablePointer table, std::function<TablePointer()> before)
      : table_(std::move(table)), open_before_(std::move(before)) {}

  // Of tables that the store keeps; `before` may be nullptr.
  static TableRemains Of(store::Table& table, store::Table* before);

  // kNotFound where the newest commit has none of that number; else the error that it has.
  absl::StatusOr<Found> Open(uint64_t number) const;
  // The object as it was in the commit before; nullptr: not there, or not to be read.
  std::shared_ptr<store::Object> OpenBefore(uint64_t number) const;

  // The objects of either commit, and then what neither has, in no order.
  absl::Status Survey(const std::function<void(uint64_t number)>& found, const Lost& lost) const;

 private:
  const TablePointer& Before() const;

  const TablePointer table_;
  const std::function<TablePointer()> open_before_;
  mutable std::optional<TablePointer> before_;
};

}  // namespace cow::move
