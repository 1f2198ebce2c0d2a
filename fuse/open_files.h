// The open files of the mount.
//
// Thread safety: all methods of OpenFiles may be called from many threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "cow/fs/filesystem.h"

namespace cow::fuse {

// An open file: what the kernel's file handle points to.
struct OpenFile {
  fs::FileHandle handle;
  uint64_t number = 0;  // of its node
  bool writer = false;  // it can back a writable shared map
  // State of Privileges in which it was found to have no capability.
  std::atomic<uint64_t> without_capability = 0;

  OpenFile(fs::FileHandle file, uint64_t node, bool can_write)
      : handle(std::move(file)), number(node), writer(can_write) {}
};

// Those that the kernel never releases (the connection was cut) are closed before the filesystem.
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

  // Of `numbers`, those whose nodes are open.
  std::vector<uint64_t> OpenAmong(const std::vector<uint64_t>& numbers) const {
    absl::flat_hash_set<uint64_t> open;
    {
      absl::MutexLock lock(&lock_);
      for (const auto& file : files_) open.insert(file->number);
    }
    std::vector<uint64_t> found;
    for (const uint64_t number : numbers) {
      if (open.contains(number)) found.push_back(number);
    }
    return found;
  }
  // The node of `number` by a file that has it open; nullopt where none has.
  std::optional<absl::StatusOr<fs::Node>> NodeOf(uint64_t number) const {
    absl::MutexLock lock(&lock_);
    for (const auto& file : files_) {
      if (file->number != number) continue;
      const absl::StatusOr<fs::Attributes> attributes = file->handle.GetAttributes();
      if (!attributes.ok()) return attributes.status();
      return fs::Node{file->handle.id(), *attributes};
    }
    return std::nullopt;
  }

 private:
  mutable absl::Mutex lock_;
  absl::flat_hash_set<std::unique_ptr<OpenFile>> files_ ABSL_GUARDED_BY(lock_);
};

}  // namespace cow::fuse
