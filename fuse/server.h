// What the handlers of all requests share.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "cow/fs/filesystem.h"
#include "fuse/control_server.h"
#include "fuse/kernel.h"
#include "fuse/nodes.h"
#include "fuse/privileges.h"
#include "fuse/tasks.h"

namespace cow::fuse {

// An open file of the mount: what the kernel's file handle points to.
struct OpenFile {
  fs::FileHandle handle;
  uint64_t number = 0;  // of its node
  bool writer = false;  // it can back a writable shared map
  // State of Privileges in which it was found to have no capability.
  std::atomic<uint64_t> without_capability = 0;

  OpenFile(fs::FileHandle file, uint64_t node, bool can_write)
      : handle(std::move(file)), number(node), writer(can_write) {}
};

// The open files, so that those that the kernel never releases (the connection was cut) are closed
// before the filesystem.
class OpenFiles {
 public:
  OpenFile* Add(std::unique_ptr<OpenFile> file) {
    absl::MutexLock lock(&lock_);
    return files_.insert(std::move(file)).first->get();
  }
  void Close(OpenFile* file) {
    // Closing may free what was unlinked: not under the lock.
    absl::flat_hash_set<std::unique_ptr<OpenFile>>::node_type closed;
    absl::MutexLock lock(&lock_);
    closed = files_.extract(files_.find(file));
  }
  void CloseAll() {
    absl::MutexLock lock(&lock_);
    files_.clear();
  }

 private:
  absl::Mutex lock_;
  absl::flat_hash_set<std::unique_ptr<OpenFile>> files_ ABSL_GUARDED_BY(lock_);
};

struct Server {
  Server(fs::FileSystem& filesystem, const std::string& volume, const std::string& mountpoint)
      : fs(filesystem),
        kernel(mountpoint),
        privileges(filesystem, kernel),
        control(filesystem, nodes, kernel, privileges, tasks, volume) {}

  fs::FileSystem& fs;
  Nodes nodes;
  OpenFiles files;
  Kernel kernel;
  Privileges privileges;
  Tasks tasks;
  ControlServer control;
};

}  // namespace cow::fuse
