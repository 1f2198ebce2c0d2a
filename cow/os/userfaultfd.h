// Faults of this process's memory, by userfaultfd(2): asynchronous write-protection, and pages that
// are provided when they are first touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/os/descriptor.h"

namespace cow::os {

// Owner of a userfaultfd.
//
// In ranges registered for protection, a page that Pagemap protected loses its protection at the
// first write, in the kernel, with no handler and no signal; so the pages without protection are
// those written since. System calls that write into the range count as writes.
//
// In ranges of anonymous memory registered for missing pages, a thread that touches a page that is
// not there waits. Somebody learns it by ReadFault, and puts a page there (Copy, Zero), something
// else in its place (mmap), or nothing for ever (Poison); and wakes those who wait.
//
// Closing it ends the protection of what is still mapped: unmap first, which is cheaper. Mapping
// something else over a part ends its registration.
//
// Thread safety: all methods may be called from many threads at once.
class Userfaultfd {
 public:
  // One that has the features asked for, and nothing to do with faults of system calls (so that it
  // needs no privilege). EINVAL where the kernel lacks a feature, EPERM, ENOSYS where it is not
  // allowed or not there.
  static absl::StatusOr<Userfaultfd> Open(uint64_t features);

  // One with all that asynchronous protection of anonymous memory and of private maps of files
  // needs.
  static absl::StatusOr<Userfaultfd> OpenForAsyncProtection();

  // One for missing pages, of faults of system calls too: that needs CAP_SYS_PTRACE, or
  // vm.unprivileged_userfaultfd=1, or access to /dev/userfaultfd (6.1). Asynchronous protection and
  // poison where the kernel has them.
  static absl::StatusOr<Userfaultfd> OpenForMissing();
  // Whether it can protect asynchronously, and poison.
  bool protects() const { return (features_ & kProtection) == kProtection; }
  bool poisons() const;

  // Registers a range, which may hold any number of maps, for write-protection. Protects nothing
  // yet. Turns the kernel's fault-around off there.
  absl::Status Register(std::span<std::byte> range) const;
  // Registers anonymous memory for missing pages, and for write-protection where asked.
  absl::Status RegisterMissing(std::span<std::byte> range, bool protection) const;
  // Of both kinds. Wakes who waits.
  absl::Status Unregister(std::span<std::byte> range) const;

  // The page that a thread waits for; nullptr where none does. Does not wait.
  std::byte* ReadFault() const;
  // Those who wait for a page of the range look again.
  void Wake(std::span<std::byte> range) const;
  // Put copies of `bytes`, zeros, what cannot be read (SIGBUS; EFAULT from system calls) to where
  // nothing is; pages that are there stay. They wake nobody. Copy protects the pages where asked.
  absl::Status Copy(std::byte* to, std::span<const std::byte> bytes, bool protect) const;
  absl::Status Zero(std::span<std::byte> range) const;
  absl::Status Poison(std::span<std::byte> range) const;

  // Readable when a thread waits.
  int descriptor() const { return descriptor_.get(); }

 private:
  static const uint64_t kProtection;

  Userfaultfd(Descriptor descriptor, uint64_t features)
      : descriptor_(std::move(descriptor)), features_(features) {}
  static absl::StatusOr<Userfaultfd> Enable(Descriptor descriptor, uint64_t features);
  absl::Status RegisterFor(std::span<std::byte> range, uint64_t modes) const;

  Descriptor descriptor_;
  uint64_t features_;
};

}  // namespace cow::os
