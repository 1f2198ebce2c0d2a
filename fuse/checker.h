// The check that a control request starts and others ask about.
//
// Invariant: at most one check runs; a start meanwhile joins it, and sets its rate. One that nobody
// asks about any more ends. The result of the last one is kept until the next begins.
#pragma once

#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "cow/base/rate_limit.h"
#include "cow/control/message.h"
#include "cow/fs/filesystem.h"
#include "fuse/tasks.h"

namespace cow::fuse {

class Checker {
 public:
  Checker(fs::FileSystem& fs, Tasks& tasks) : fs_(fs), tasks_(tasks) {}

  // Answers at once. It reads at most `rate` bytes a second; 0: no limit. ENOMEM when no thread
  // could be had.
  absl::StatusOr<control::CheckState> Start(uint64_t rate);
  // ENOENT for an id that is not of the last check.
  control::Reply Poll(uint64_t id, uint64_t cursor);
  // Ends the check that runs, soon; no other begins.
  void Stop();

 private:
  using Clock = RateLimit::Clock;

  void Run();
  // Waits until more may be read. False where the check is to end.
  bool GoOn(uint64_t done, uint64_t total);

  fs::FileSystem& fs_;
  Tasks& tasks_;
  absl::Mutex lock_;
  control::CheckState state_ ABSL_GUARDED_BY(lock_);
  absl::Status failure_ ABSL_GUARDED_BY(lock_);  // why it could not be done
  std::vector<control::Damage> damages_ ABSL_GUARDED_BY(lock_);
  RateLimit limit_ ABSL_GUARDED_BY(lock_);
  Clock::time_point due_ ABSL_GUARDED_BY(lock_);    // when more may be read
  Clock::time_point asked_ ABSL_GUARDED_BY(lock_);  // when somebody was there last
  bool stopped_ ABSL_GUARDED_BY(lock_) = false;
};

}  // namespace cow::fuse
