// Asynchronous write-protection of memory by userfaultfd(2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/os/descriptor.h"

namespace cow::os {

// Owner of a userfaultfd. In the ranges registered with it, a page that Pagemap protected loses its
// protection at the first write, in the kernel, with no handler and no signal; so the pages without
// protection are those written since. System calls that write into the range count as writes.
//
// Closing it ends the protection of what is still mapped: unmap first, which is cheaper.
class Userfaultfd {
 public:
  // One that has the features asked for, and nothing to do with faults of system calls (so that it
  // needs no privilege). EINVAL where the kernel lacks a feature, EPERM, ENOSYS where it is not
  // allowed or not there.
  static absl::StatusOr<Userfaultfd> Open(uint64_t features);

  // One with all that asynchronous protection of anonymous memory and of private maps of files
  // needs.
  static absl::StatusOr<Userfaultfd> OpenForAsyncProtection();

  // Registers a range, which may hold any number of maps, for write-protection. Protects nothing
  // yet. Turns the kernel's fault-around off there.
  absl::Status Register(std::span<std::byte> range);

 private:
  explicit Userfaultfd(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}
  Descriptor descriptor_;
};

}  // namespace cow::os
