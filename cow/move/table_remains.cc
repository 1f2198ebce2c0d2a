#include "cow/move/table_remains.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "cow/base/types.h"

namespace cow::move {
namespace {

// Objects [begin, end), of which it cannot be told.
struct Gap {
  uint64_t begin = 0;
  uint64_t end = 0;
  absl::Status cause;
};

// Of the newest commit; and what of it the commit before cannot tell either.
struct Range {
  Gap gap;
  bool older = false;
  std::vector<Gap> still = {};
};

}  // namespace

TableRemains TableRemains::Of(store::Table& table, store::Table* before) {
  const auto kept = [](store::Table* of) { return TablePointer(TablePointer(), of); };
  return TableRemains(kept(&table), [=] { return kept(before); });
}

const TableRemains::TablePointer& TableRemains::Before() const {
  if (!before_.has_value()) before_ = open_before_ ? open_before_() : nullptr;
  return *before_;
}

absl::StatusOr<TableRemains::Found> TableRemains::Open(uint64_t number) const {
  auto object = table_->Open(ObjectNumber(number));
  if (object.ok()) return Found{*std::move(object)};
  if (absl::IsNotFound(object.status())) return object.status();
  std::shared_ptr<store::Object> before = OpenBefore(number);
  if (before == nullptr) return object.status();
  return Found{std::move(before), object.status()};
}

std::shared_ptr<store::Object> TableRemains::OpenBefore(uint64_t number) const {
  if (Before() == nullptr) return nullptr;
  return Before()->Open(ObjectNumber(number)).value_or(nullptr);
}

absl::Status TableRemains::Survey(const std::function<void(uint64_t number)>& found,
                                  const Lost& lost) const {
  std::vector<Range> ranges;
  const absl::Status surveyed =
      table_->Survey([&](uint64_t begin, uint64_t count, const absl::Status& status) {
        if (status.ok()) {
          found(begin);
        } else {
          ranges.push_back({.gap = {begin, begin + count, status}});
        }
        return true;
      });
  if (!surveyed.ok() || ranges.empty()) return surveyed;
  if (Before() != nullptr) {
    auto at = ranges.begin();  // both surveys are in order
    const absl::Status before = Before()->Survey([&](uint64_t begin, uint64_t count,
                                                     const absl::Status& status) {
      const uint64_t end = begin + count;
      while (at != ranges.end() && at->gap.end <= begin) ++at;
      for (auto i = at; i != ranges.end() && i->gap.begin < end; ++i) {
        if (status.ok()) {
          found(begin);
          i->older = true;
        } else {
          i->still.push_back({std::max(begin, i->gap.begin), std::min(end, i->gap.end), status});
        }
      }
      return true;
    });
    if (!before.ok()) return before;
  }
  for (const Range& range : ranges) {
    const Gap& gap = range.gap;
    lost(gap.begin, gap.end - gap.begin, gap.cause, range.older);
    if (!range.older) continue;
    for (const Gap& still : range.still) {
      lost(still.begin, still.end - still.begin, still.cause, false);
    }
  }
  return absl::OkStatus();
}

}  // namespace cow::move
