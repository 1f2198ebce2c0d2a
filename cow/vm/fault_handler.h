// The threads that provide pages which other threads wait for.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "cow/os/descriptor.h"
#include "cow/os/userfaultfd.h"

namespace cow::vm {

// Who provides pages of a range of memory.
class FaultTarget {
 public:
  virtual ~FaultTarget() = default;
  // A thread waits for the page at `address`. Called by a handler's thread, by several at once. When
  // it returns the page can be touched, or somebody else who was called for it is at it still; it
  // has woken the thread. It must touch no memory that this serves, nor wait for who may.
  virtual void ServeFault(std::byte* address) = 0;
};

// One for the process, while anything needs it: all faults are of one userfaultfd, for descriptors
// are few and mappings may be thousands.
//
// Its threads take no signals and never end before it does. A child made by fork(2) has no such
// threads and no ranges; there it does nothing.
//
// Thread safety: all methods.
class FaultHandler {
 public:
  // Touches what of `memory` is in mappings, once in each chunk, so that nothing is left to be bound
  // there. For who is about to read the volume file into it, or to write from it: the host's
  // filesystem may hold a lock of that file until the memory is there (XFS does), and those who bind
  // read the file.
  static void Touch(std::span<const std::byte> memory);

  // The process's. The error of Userfaultfd::OpenForMissing; kResourceExhausted (EAGAIN) where no
  // thread can be had.
  static absl::StatusOr<std::shared_ptr<FaultHandler>> Get();
  ~FaultHandler();
  FaultHandler(const FaultHandler&) = delete;
  FaultHandler& operator=(const FaultHandler&) = delete;

  const os::Userfaultfd& uffd() const { return uffd_; }

  // From here on faults in `range` go to `target`, once it is registered with uffd().
  void Add(std::span<std::byte> range, FaultTarget& target);
  // `target` is not called when this has returned. Nobody touches its range meanwhile.
  void Remove(std::span<std::byte> range);

 private:
  struct Served {
    std::span<std::byte> range;
    FaultTarget* target = nullptr;
    int calls = 0;  // under way
  };

  FaultHandler(os::Userfaultfd uffd, os::Descriptor stop);
  absl::Status Start();
  void Run();
  void Serve(std::byte* address);
  Served* Find(std::byte* address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const os::Userfaultfd uffd_;
  const os::Descriptor stop_;  // readable: the threads end
  const pid_t owner_;
  // Not joined in a child, where they do not run.
  std::unique_ptr<std::vector<std::thread>> threads_;

  // All that is served lies between them, or has.
  static std::atomic<uintptr_t> lowest_;
  static std::atomic<uintptr_t> highest_;

  absl::Mutex mu_;
  std::map<std::byte*, Served> served_ ABSL_GUARDED_BY(mu_);  // by the end of the range
};

}  // namespace cow::vm
