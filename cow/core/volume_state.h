// An open volume, shared by all handles of it, and what the public classes have in common.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "cow/core/head.h"
#include "cow/fs/filesystem.h"
#include "cow/store/store.h"
#include "cow/volume.h"

namespace cow::core {

class VolumeState {
 public:
  static absl::StatusOr<std::shared_ptr<VolumeState>> Open(std::string_view path,
                                                           const OpenOptions& options);
  static absl::StatusOr<std::shared_ptr<VolumeState>> InMemory(const MemoryOptions& options);

  VolumeState(std::unique_ptr<fs::FileSystem> filesystem, bool read_only)
      : filesystem_(std::move(filesystem)), read_only_(read_only) {}

  fs::FileSystem& filesystem() { return *filesystem_; }
  store::Store& store() { return filesystem_->store(); }
  bool read_only() const { return read_only_; }
  // kFailedPrecondition (EROFS) where the volume was opened for reading.
  absl::Status CheckWritable() const;

  // What the handles of one file share. The same as long as one of them is alive. By the object
  // behind them, not by its number: a rollback can give the number of a removed file, which lives
  // on in its handles, to another one.
  std::shared_ptr<Head> HeadOf(std::shared_ptr<fs::FileHandle> file);

  // Seals the write mappings of all files, or of those in one tree; the first error, after all.
  absl::Status SealAll();
  absl::Status SealTree(uint64_t tree);

  // As fs::FileSystem::RollBack; refused while what it changes is mapped for writing.
  absl::StatusOr<fs::SnapshotInfo> RollBack(const fs::SnapshotInfo& snapshot);

  // Held (shared) while a write mapping is made, so that none begins during the rollback of a tree;
  // and from where a file was found to be the one that its number stands for until that is used.
  absl::Mutex& mapping_mu() ABSL_LOCK_RETURNED(mapping_mu_) { return mapping_mu_; }

  // What `head` is now, as a version that nobody else can find: it is gone with its last holder, or
  // when the volume is opened next.
  absl::StatusOr<std::shared_ptr<store::Object>> Freeze(const store::Object& head);

 private:
  struct KnownHead {
    uint64_t tree = 0;
    std::weak_ptr<Head> head;
  };

  std::vector<std::shared_ptr<Head>> Heads(bool all, uint64_t tree);

  const std::unique_ptr<fs::FileSystem> filesystem_;
  const bool read_only_;

  absl::Mutex mapping_mu_;
  absl::Mutex heads_mu_;
  absl::flat_hash_map<const store::Object*, KnownHead> heads_ ABSL_GUARDED_BY(heads_mu_);
};

// "/a/b" of "a//b/": from the root, without a slash at the end. kInvalidArgument (EINVAL) for "."
// and "..", which paths of a volume do not have, and for zero bytes.
absl::StatusOr<std::string> Normal(std::string_view path);

// `status` with what was tried, on what, and what can be done about it.
absl::Status Explain(const absl::Status& status, std::string_view operation, std::string_view path);

// For a change to a snapshot: `what` cannot be done, and what can.
absl::Status SnapshotError(std::string_view what);

// Where a time of the filesystem stands on the clock of the public interface.
std::chrono::system_clock::time_point TimeOf(const timespec& time);

// A snapshot in messages: "/data@monday".
std::string SnapshotLabel(std::string_view path, std::string_view name);

}  // namespace cow::core
