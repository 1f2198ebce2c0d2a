// The dirty set of a mapping for writing, in the two ways that the kernel allows.
//
// Invariant of both: a page whose content differs from what was last published of it (from its
// frame, or zero for a hole, if nothing was) is in the answer of the next Take, or it was in an
// earlier one and Published has not been called for that content.
//
// Not synchronised: the mapping's seal lock is held. Writers go on meanwhile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/base/types.h"
#include "cow/os/userfaultfd.h"
#include "cow/vm/mapping.h"

namespace cow::vm {

// Pages [page, page + count).
struct PageRun {
  PageNumber page;
  uint64_t count = 0;
  friend bool operator==(const PageRun&, const PageRun&) = default;
};

class DirtySet {
 public:
  virtual ~DirtySet() = default;

  // Appends the pages written since they were last taken, in any order. On an error, what was
  // appended was taken.
  virtual absl::Status Take(std::vector<PageRun>& taken) = 0;

  // Pages from `page` on were published with `bytes` (whole pages).
  virtual void Published(PageNumber page, std::span<const std::byte> bytes) = 0;
};

// Of memory that is bound bit by bit, and written where it is.
class BoundDirtySet : public DirtySet {
 public:
  // The pages of `run` are bound, not by copying: `extents` of them to frames,
  // the others are holes. They may have been written since, by threads that did not wait.
  virtual void Bound(const PageRun& run, std::span<const Extent> extents) = 0;
  // The pages cannot be read. They are never taken.
  virtual void Poisoned(const PageRun& run) = 0;
};

// All of `memory` is registered with `uffd` for protection, or will be when it is said to be bound.
absl::StatusOr<std::unique_ptr<BoundDirtySet>> TrackBoundByKernel(
    std::span<std::byte> memory, std::shared_ptr<const os::Userfaultfd> uffd);

// Both expect all of `memory` to be bound and nobody to write it yet; `bound` and `copied` say
// where it is not a hole.
absl::StatusOr<std::unique_ptr<DirtySet>> TrackByKernel(std::span<std::byte> memory,
                                                        std::span<const Extent> bound,
                                                        std::span<const Extent> copied);
absl::StatusOr<std::unique_ptr<DirtySet>> TrackByComparing(std::span<std::byte> memory,
                                                           std::vector<Extent> bound,
                                                           std::span<const Extent> copied);

// While this lives, the thread sanitizer ignores what this thread reads. A seal reads pages while
// others write them; that is its contract: what a torn read misses is dirty again.
class IgnoreRacingReads {
 public:
  IgnoreRacingReads();
  ~IgnoreRacingReads();
};

}  // namespace cow::vm
