// What the kernel knows about this process's pages: /proc/self/pagemap and PAGEMAP_SCAN.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/os/descriptor.h"

namespace cow::os {

// Runs of whole pages, in ascending order.
using MemoryRuns = std::vector<std::span<std::byte>>;

// Reads the pagemap of the process that opened it (after fork(2), still of the parent).
// Thread safety: all methods may be called from many threads at once.
class Pagemap {
 public:
  static absl::StatusOr<Pagemap> Open();

  // Write-protects every page of a range that is registered with a Userfaultfd for asynchronous
  // protection, whether it is populated or not (the latter takes page tables: 0.2 % of the range).
  // EPERM for a range that is not registered.
  absl::Status Protect(std::span<std::byte> range) const;

  // Appends the pages of a registered range that were written since they were last protected, or
  // that were written and never protected, and protects them, page by page in one step: a write is
  // in this answer or in the next one. Unpopulated pages and pages only read are not in it. A page
  // that was under migration when it was taken can be named once more: its protection gets lost.
  // On an error, what was appended was protected.
  absl::Status TakeWritten(std::span<std::byte> range, MemoryRuns& written) const;

  // Appends the pages of a range of private maps that are not, or are not known to be, pages of a
  // file: every page that was ever written is among them, swapped out and migrating ones too, and
  // so are anonymous pages that were only read.
  absl::Status FindPrivate(std::span<std::byte> range, MemoryRuns& found) const;

 private:
  explicit Pagemap(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}
  Descriptor descriptor_;
};

}  // namespace cow::os
