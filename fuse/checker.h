// The check that a control request starts and others ask about.
//
// Invariant: at most one check runs; a start meanwhile joins it. The result of the last one is kept
// until the next begins.
#pragma once

#include <atomic>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "cow/control/message.h"
#include "cow/fs/filesystem.h"
#include "fuse/tasks.h"

namespace cow::fuse {

class Checker {
 public:
  Checker(fs::FileSystem& fs, Tasks& tasks) : fs_(fs), tasks_(tasks) {}

  // Answers at once. ENOMEM when no thread could be had.
  absl::StatusOr<control::CheckState> Start();
  // ENOENT for an id that is not of the last check.
  control::Reply Poll(uint64_t id, uint64_t cursor) const;

 private:
  void Run();

  fs::FileSystem& fs_;
  Tasks& tasks_;
  mutable absl::Mutex lock_;
  control::CheckState state_ ABSL_GUARDED_BY(lock_);
  absl::Status failure_ ABSL_GUARDED_BY(lock_);  // why it could not be done
  std::vector<control::Damage> damages_ ABSL_GUARDED_BY(lock_);
};

}  // namespace cow::fuse
