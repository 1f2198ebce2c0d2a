// Rollbacks under way, and what the kernel writes out of its cache meanwhile.
//
// A page that was stored to through a shared map goes to the server whole: with old content around
// the store. Written to the file after a rollback, it would bring that content back. So what is
// written out between just before a rollback and when the kernel has dropped the old pages does not
// count: such stores were made during the rollback. Until it is known whether the rollback comes
// about, these writes wait.
//
// Thread safety: all methods may be called from many threads. Nothing else is called while the lock
// is held.
#pragma once

#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "cow/fs/node.h"

namespace cow::fuse {

class Rollbacks {
 public:
  // One rollback of a file, or of a tree (by its root directory), for the scope of it. Returns from
  // its constructor when no write of before is under way any more.
  class Running {
   public:
    Running(Rollbacks& rollbacks, fs::NodeId head, bool of_tree);
    ~Running();
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    // The content has changed: what waited is ignored, and what still comes.
    void Succeeded();

   private:
    friend class Rollbacks;
    bool Covers(const fs::NodeId& id) const {
      return of_tree_ ? id.tree == head_.tree : id == head_;
    }
    Rollbacks& rollbacks_;
    const fs::NodeId head_;
    const bool of_tree_;
    bool succeeded_ = false;  // under lock_ of rollbacks_
  };

  // The kernel writes pages of a node out. False: they are to be ignored. True: Leave comes after.
  bool Enter(const fs::NodeId& id);
  void Leave(const fs::NodeId& id);

 private:
  absl::Mutex lock_;
  std::vector<const Running*> running_ ABSL_GUARDED_BY(lock_);
  absl::flat_hash_map<fs::NodeId, int> writing_ ABSL_GUARDED_BY(lock_);
};

}  // namespace cow::fuse
