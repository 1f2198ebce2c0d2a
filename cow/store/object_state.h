// What all open handles of one object share.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "cow/format/record.h"
#include "cow/store/core.h"
#include "cow/store/radix.h"

namespace cow::store {

// Leaves (nodes of level 1) of one object that were used last, so that finding a page takes no
// shared lock of the cache and no walk. Direct-mapped by the number of the leaf.
class LeafMemory {
 public:
  explicit LeafMemory(Core& core) : core_(core) {}
  ~LeafMemory() { Clear(); }

  const Node* Find(uint64_t leaf) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[leaf & (slots_.size() - 1)];
    return slot.leaf == leaf ? slot.node.get() : nullptr;
  }
  // Remembers `node`; forgets one when there is no room. `leaves`: how many the object has.
  void Put(uint64_t leaf, NodePointer node, uint64_t leaves);
  void Clear();
  // Changes whenever what is remembered may have been replaced.
  uint64_t epoch() const { return epoch_; }

 private:
  struct Slot {
    uint64_t leaf = UINT64_MAX;
    NodePointer node;
  };
  Core& core_;
  std::vector<Slot> slots_;
  uint64_t epoch_ = 0;
};

// Entries of `run` from `begin` on whose frames are consecutive; all empty ones count as such too.
size_t ConsecutiveFrom(std::span<const format::Entry> run, size_t begin);

class ObjectState : public std::enable_shared_from_this<ObjectState> {
 public:
  ObjectState(Core& core, std::shared_ptr<TableState> table, ObjectNumber number,
              const format::Record& record);
  // Of an object that was removed: queues it to be freed.
  ~ObjectState();

  // Error where the object may not be written, or was lost by a rollback of its tree.
  absl::Status CheckWritable() const;
  absl::Status CheckPresent() const ABSL_SHARED_LOCKS_REQUIRED(state_mu);

  // Makes sure that the next seal writes this object's record, and that nothing it then needs can
  // fail. Under the caller's transaction.
  absl::Status MakeDirty(uint64_t& reserved);

  // Record as it is to be written.
  format::Record ToRecord() const ABSL_SHARED_LOCKS_REQUIRED(state_mu);
  void TakeRecord(const format::Record& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_mu);

  // Entries of pages [page, page + count), which must be in one leaf.
  absl::Status EntriesOf(PageNumber page, uint64_t count, format::Entry* entries) const;

  // Reads whole pages' frames or parts; in read.cc.
  absl::StatusOr<size_t> Read(uint64_t offset, std::span<std::byte> buffer) const;
  // In write.cc. The caller holds write_mu.
  absl::Status WriteLocked(uint64_t& reserved, uint64_t offset, std::span<const std::byte> bytes,
                           bool grow) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu);
  absl::Status WritePagesLocked(uint64_t& reserved, std::span<const PageNumber> numbers,
                                std::span<const std::byte> bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu);
  absl::Status ClearPages(uint64_t& reserved, PageNumber begin, PageNumber end)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu);
  // Makes pages from `first` on, in one leaf, refer to the frames of `shared`, which are published.
  absl::Status EnterShared(uint64_t& reserved, PageNumber first,
                           std::span<const format::Entry> shared)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu);
  // Writes pages [first, first + count), of one leaf, to fresh frames, where these are at most half
  // as many extents and none of the pages is a hole; returns how many it moved.
  absl::StatusOr<uint64_t> MoveTogether(uint64_t& reserved, PageNumber first, uint64_t count)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu);
  // Makes bytes [begin, end) zero, which are in one page.
  absl::Status ZeroWithinPage(uint64_t& reserved, uint64_t begin, uint64_t end)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu);

  // Reads and verifies frames; whole pages into `buffer`.
  absl::Status ReadFrames(std::span<const format::Entry> run, std::byte* buffer) const;
  absl::Status VerifyFrames(std::span<const format::Entry> run) const;

  Core& core;
  const ObjectNumber number;  // that the object was opened by
  const bool version;
  const bool tree;
  Radix radix;

  absl::Mutex write_mu;
  mutable absl::Mutex state_mu;
  // Where the record is: changes once, when the object is removed. Also guarded by table->mu.
  std::shared_ptr<TableState> table ABSL_GUARDED_BY(state_mu);
  ObjectNumber record_number ABSL_GUARDED_BY(state_mu);
  bool orphan ABSL_GUARDED_BY(state_mu) = false;
  bool gone ABSL_GUARDED_BY(state_mu) = false;
  // The root, the size and nodes born in the current generation change under write_mu and state_mu.
  format::Entry root;
  uint64_t size = 0;
  uint64_t pages = 0;
  std::string attributes ABSL_GUARDED_BY(state_mu);
  mutable LeafMemory leaves ABSL_GUARDED_BY(state_mu);
  std::weak_ptr<TableState> opened_tree ABSL_GUARDED_BY(state_mu);
  std::atomic<uint64_t> dirty_generation = 0;

 private:
  struct PageWrite;
  absl::Status WriteWithinLeaf(uint64_t& reserved, uint64_t offset,
                               std::span<const std::byte> bytes, bool grow, bool move)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu);
  absl::Status GatherContent(PageWrite& write, uint64_t offset,
                             std::span<const std::byte> bytes) const;
  absl::Status AllocateFrames(PageWrite& write, uint64_t& reserved);
  // Where it fails, the fresh frames are dropped, and the volume is read-only.
  absl::Status WriteFrames(PageWrite& write);
  absl::Status TryWriteFrames(PageWrite& write);
};

}  // namespace cow::store
