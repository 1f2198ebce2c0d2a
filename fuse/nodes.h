// The nodes that the kernel knows, by the numbers it knows them by.
//
// Invariant: a number stands for one node for the life of the mount, also after the kernel forgot
// it; numbers are given in ascending order and kRootNumber is the root. A node is in the table
// while the kernel holds references to it (lookups) or has it open. A number is retired when its
// node was removed and a rollback may restore one of the same id, which gets another number: the
// kernel must not take them for one.
//
// Thread safety: all methods may be called from many threads. Nothing else is called while its lock
// is held.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "cow/fs/node.h"

namespace cow::fuse {

inline constexpr uint64_t kRootNumber = 1;

class Nodes {
 public:
  Nodes();

  // The number of a node that is about to be named to the kernel, with one more reference.
  uint64_t Refer(fs::NodeId id);
  // The kernel dropped `count` references, or never got to see them.
  void Forget(uint64_t number, uint64_t count);

  // From here on the number stands for nothing but files that have it open. Not for the root.
  void Retire(uint64_t number);

  // nullopt for a number that was never given, or is forgotten or retired.
  std::optional<fs::NodeId> Find(uint64_t number) const;
  // 0 for a node that the kernel does not know.
  uint64_t NumberOf(fs::NodeId id) const;

  // A handle that can back a writable shared map was opened or closed.
  void AddWriter(uint64_t number);
  void RemoveWriter(uint64_t number);
  bool HasWriter(uint64_t number) const;

  // Numbers, not retired, of the nodes for which `wanted` answers true; `writers_only`: of those that may have a
  // writable shared map.
  std::vector<uint64_t> Select(bool writers_only,
                               const std::function<bool(const fs::NodeId&)>& wanted) const;

 private:
  struct Known {
    fs::NodeId id;
    uint64_t references = 0;
    uint64_t writers = 0;
    bool retired = false;
  };
  void DropIfUnused(uint64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  mutable absl::Mutex lock_;
  uint64_t next_ ABSL_GUARDED_BY(lock_) = kRootNumber + 1;
  absl::flat_hash_map<uint64_t, Known> known_ ABSL_GUARDED_BY(lock_);
  absl::flat_hash_map<fs::NodeId, uint64_t> numbers_ ABSL_GUARDED_BY(lock_);
};

}  // namespace cow::fuse
