// Which pages of a mapping are bound, and how many maps of the kernel that takes.
#pragma once

#include <cstdint>
#include <map>

#include "cow/base/types.h"
#include "cow/vm/mapping.h"

namespace cow::vm {

// Runs of pages that are bound, each to consecutive frames or to anonymous memory (a hole). What is
// not in it is still to be bound.
//
// Invariant: runs do not overlap, and neighbours that the kernel joins into one map are one run.
// Not synchronised.
class Bindings {
 public:
  // None of the pages is bound yet.
  void AddFrames(const Extent& extent) { Add(extent.page, {extent.count, extent.frame, false}); }
  void AddHole(PageNumber page, uint64_t count) { Add(page, {count, FrameNumber(0), true}); }

  bool Contains(PageNumber page) const;
  // The first bound page from `page` on; `end` where there is none before it.
  PageNumber NextBound(PageNumber page, PageNumber end) const;

  // Maps for the runs and for what lies between them. A run at the very beginning or the very end
  // of the mapping counts one too many.
  uint64_t maps() const { return runs_.size() + gaps_; }

 private:
  struct Run {
    uint64_t count;
    FrameNumber frame;
    bool hole;
  };
  // Whether the kernel joins `a` with the `b` after it.
  static bool Continues(const Run& a, const Run& b) {
    return a.hole ? b.hole : !b.hole && a.frame + a.count == b.frame;
  }
  void Add(PageNumber page, Run run);
  // The run that `page` is in, or the last one before it; end() where there is none.
  std::map<PageNumber, Run>::const_iterator Before(PageNumber page) const;

  std::map<PageNumber, Run> runs_;
  uint64_t gaps_ = 1;
};

}  // namespace cow::vm
