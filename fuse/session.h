// A mount: libfuse's session, its threads, and how it ends.
//
// It ends when it is unmounted, or with INT, TERM or HUP: then what was stored to shared maps is
// written out and committed first, and the mount taken away, also from under those who use it.
#pragma once

#include <pthread.h>

#include <atomic>

#include "absl/status/status.h"
#include "fuse/launcher.h"
#include "fuse/options.h"
#include "fuse/server.h"

struct fuse_session;

namespace cow::fuse {

// The signals that end the mount. Blocked before there are threads, so that only the one that waits
// for them gets them.
void BlockSignals();

class Session {
 public:
  Session(Server& server, const Options& options, Launcher& launcher)
      : server_(server), options_(options), launcher_(launcher) {}
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  absl::Status Mount();
  // Serves until the end. The mount is gone when it returns.
  absl::Status Serve();

 private:
  static void* AwaitSignal(void* session);
  void Stop();

  Server& server_;
  const Options& options_;
  Launcher& launcher_;
  fuse_session* session_ = nullptr;
  bool mounted_ = false;
  pthread_t main_ = pthread_self();
  std::atomic<bool> finished_ = false;
};

}  // namespace cow::fuse
