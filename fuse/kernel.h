// What the server tells the kernel on its own account: write out, drop what you keep.
//
// Invariant: everything here makes the kernel send requests, or wait for locks that it holds while
// requests are under way. So it is called from tasks (tasks.h) only, with no lock held.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"

struct fuse_session;

namespace cow::fuse {

class Kernel {
 public:
  explicit Kernel(std::string mountpoint) : mountpoint_(std::move(mountpoint)) {}

  // Before the first request; `device` is st_dev of the mount.
  void SetSession(fuse_session* session, dev_t device) {
    session_ = session;
    device_ = device;
  }

  // Every store made before the call to a shared map of these nodes is with the server when this
  // returns. Keeps what is cached where it may open files of the mount, evicts it elsewhere.
  void WriteOut(const std::vector<uint64_t>& nodes);
  // As WriteOut of one node, while a request waits for it that holds the lock of the inode.
  void WriteOutUnderLock(uint64_t node);
  // The kernel writes out, and asks again for content and attributes of a node.
  void DropContent(uint64_t node);
  // The kernel has asked for the attributes when this returns, where it may open files of the mount:
  // it goes by the size that it knows where it appends, and where a map is touched.
  void FetchAttributes(const std::vector<uint64_t>& nodes);
  // The kernel asks again for the attributes. The one thing here that waits for nothing: it may be
  // called from anywhere.
  void DropAttributes(uint64_t node);
  // The kernel asks again for an entry of a directory, found or not found.
  void DropEntry(uint64_t directory, std::string_view name);

  // What the kernel gave and what it is told, "NAME: what is used", for control requests.
  std::vector<std::string> Features() const { return features_; }
  void SetFeatures(std::vector<std::string> features) { features_ = std::move(features); }

  // Whether the thread `caller` is in WriteOut: its fsync asks for no commit.
  bool IsWritingOut(pid_t caller) const;

 private:
  int OpenMount() const;
  // The nodes for which that was not possible are added to `left`.
  void WriteOutOpened(const std::vector<uint64_t>& nodes, std::vector<uint64_t>& left);

  const std::string mountpoint_;
  fuse_session* session_ = nullptr;
  dev_t device_ = 0;
  std::vector<std::string> features_;
  mutable absl::Mutex lock_;
  absl::flat_hash_set<pid_t> writing_out_ ABSL_GUARDED_BY(lock_);
};

}  // namespace cow::fuse
