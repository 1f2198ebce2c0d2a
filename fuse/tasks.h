// Work that is done outside the threads that serve the kernel's requests.
//
// Whatever makes the kernel send a request and waits for it (writing out shared maps, dropping
// caches) must not occupy one of those threads: if all of them waited so, nobody would be left to
// answer. Each task has a thread of its own; there are as many as callers wait in the kernel.
#pragma once

#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace cow::fuse {

class Tasks {
 public:
  ~Tasks() { Wait(); }

  // False when no thread could be made; then `task` was not and will not be run.
  bool Run(std::function<void()> task);
  // Until none runs.
  void Wait();

 private:
  absl::Mutex lock_;
  int running_ ABSL_GUARDED_BY(lock_) = 0;
};

}  // namespace cow::fuse
