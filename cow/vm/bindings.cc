#include "cow/vm/bindings.h"

#include <iterator>

namespace cow::vm {

std::map<PageNumber, Bindings::Run>::const_iterator Bindings::Before(PageNumber page) const {
  const auto after = runs_.upper_bound(page);
  return after == runs_.begin() ? runs_.end() : std::prev(after);
}

bool Bindings::Contains(PageNumber page) const {
  const auto run = Before(page);
  return run != runs_.end() && page < run->first + run->second.count;
}

PageNumber Bindings::NextBound(PageNumber page, PageNumber end) const {
  if (Contains(page)) return page;
  const auto after = runs_.upper_bound(page);
  return after == runs_.end() || after->first > end ? end : after->first;
}

void Bindings::Add(PageNumber page, Run run) {
  // What is bound splits a gap in two; a neighbour closes the one between.
  ++gaps_;
  const auto before = Before(page);
  const bool touches_before = before != runs_.end() && before->first + before->second.count == page;
  const auto after = runs_.find(page + run.count);
  const bool touches_after = after != runs_.end();
  gaps_ -= (touches_before ? 1 : 0) + (touches_after ? 1 : 0);
  if (touches_after && Continues(run, after->second)) {
    run.count += after->second.count;
    runs_.erase(after);
  }
  if (touches_before && Continues(before->second, run)) {
    runs_.find(before->first)->second.count += run.count;
  } else {
    runs_.emplace(page, run);
  }
}

}  // namespace cow::vm
