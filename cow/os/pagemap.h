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

  // Appends to `written` the pages of a registered range that were written since they were last
  // protected, or that were written and never protected, and protects them, page by page in one
  // step: a write is in this answer or in the next one. Unpopulated pages and pages only read are
  // not in it, but where the kernel lost their protection, they are: a page that was under
  // migration when it was taken, and pages of a file that were mapped by a huge page that was split
  // (so ask FindPrivate about a page of a file that was never found written before).
  //
  // Where the shared page of zeros is mapped, the page is appended to `zeros` instead. It is there
  // where a hole was read, and where the kernel put it in place of a written page full of zeros
  // (merging equal pages, splitting a huge page).
  //
  // After an error, pages may have been protected that were not appended.
  absl::Status TakeWritten(std::span<std::byte> range, MemoryRuns& written,
                           MemoryRuns& zeros) const;

  // Appends the pages of a range of private maps that are not pages of a file: every page that was
  // ever written, swapped out and migrating ones too, and anonymous pages that were only read or
  // protected. EFAULT when the file cannot be read.
  absl::Status FindPrivate(std::span<std::byte> range, MemoryRuns& found) const;

 private:
  absl::StatusOr<size_t> ReadEntries(const std::byte* page, std::span<uint64_t> entries) const;
  absl::StatusOr<uint64_t> ReadInAndLook(std::byte* page) const;

  explicit Pagemap(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}
  Descriptor descriptor_;
};

}  // namespace cow::os
