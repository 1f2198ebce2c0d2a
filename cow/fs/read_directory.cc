// Listing directories, those that are made up included.
#include <cerrno>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/fs/state.h"

namespace cow::fs {
namespace {

// Entries that are gathered under the lock before any is handed out.
constexpr size_t kBatch = 256;
// Smallest cookie: callers have the ones below.
constexpr uint64_t kFirstCookie = 256;

}  // namespace

// Snapshots of the root's tree; `@deleted`, which is always there, comes first.
static absl::Status ListSnapshotsDirectory(State& state, uint64_t cookie,
                                           std::vector<DirectoryEntry>& batch)
    ABSL_SHARED_LOCKS_REQUIRED(state.names) {
  if (cookie < kFirstCookie) {
    batch.push_back(
        {std::string(kDeletedName), kDeletedDirectory, FileType::kDirectory, kFirstCookie});
  }
  COW_ASSIGN_OR_RETURN(auto records, state.catalog().List(State::OwnerOf(kRoot)));
  for (const SnapshotRecord& record : records) {
    const uint64_t own = kFirstCookie + record.number;
    if (own <= cookie) continue;
    batch.push_back({record.name, state.NodeOfSnapshot(record), FileType::kDirectory, own});
    if (batch.size() >= kBatch) break;
  }
  return absl::OkStatus();
}

static absl::Status ListDeletedDirectory(State& state, uint64_t cookie,
                                         std::vector<DirectoryEntry>& batch)
    ABSL_SHARED_LOCKS_REQUIRED(state.names) {
  COW_ASSIGN_OR_RETURN(auto deleted, state.ListDeleted());
  for (const auto& [name, record] : deleted) {
    const uint64_t own = kFirstCookie + record.number;
    if (own <= cookie) continue;
    batch.push_back({absl::StrCat(name, "@", record.name), state.NodeOfSnapshot(record),
                     record.owner.is_tree() ? FileType::kDirectory : FileType::kRegular, own});
    if (batch.size() >= kBatch) break;
  }
  return absl::OkStatus();
}

static absl::Status ListEntries(State& state, NodeId id, uint64_t cookie,
                                std::vector<DirectoryEntry>& batch)
    ABSL_SHARED_LOCKS_REQUIRED(state.names) {
  COW_ASSIGN_OR_RETURN(auto inode, state.GetInode(id));
  COW_ASSIGN_OR_RETURN(InodeRecord record, inode->Load());
  if (!record.is_directory()) {
    return MakeError(absl::StatusCode::kInvalidArgument, ENOTDIR, "not a directory");
  }
  COW_ASSIGN_OR_RETURN(Directory entries, state.OpenDirectory(*inode));
  absl::Status status;
  COW_RETURN_IF_ERROR(entries.Scan(cookie + 1, [&](const NamedEntry& entry) {
    // TargetOf takes the same lock, which the analysis cannot see in here.
    absl::StatusOr<NodeId> target = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return state.TargetOf(id, entry);
    }();
    status = target.status();
    if (!status.ok()) return false;
    batch.push_back({entry.name, *target, entry.type, entry.position});
    return batch.size() < kBatch;
  }));
  return status;
}

absl::Status FileSystem::ReadDirectory(NodeId directory, uint64_t cookie,
                                       const std::function<bool(const DirectoryEntry&)>& entry) {
  State& state = *state_;
  for (;;) {
    std::vector<DirectoryEntry> batch;
    if (cookie < std::numeric_limits<int64_t>::max() && !directory.is_stub()) {
      absl::ReaderMutexLock lock(&state.names);
      if (directory == kSnapshotsDirectory) {
        COW_RETURN_IF_ERROR(ListSnapshotsDirectory(state, cookie, batch));
      } else if (directory == kDeletedDirectory) {
        COW_RETURN_IF_ERROR(ListDeletedDirectory(state, cookie, batch));
      } else {
        COW_RETURN_IF_ERROR(ListEntries(state, directory, cookie, batch));
      }
    }
    if (batch.empty()) return absl::OkStatus();
    for (const DirectoryEntry& item : batch) {
      if (!entry(item)) return absl::OkStatus();
    }
    cookie = batch.back().cookie;
  }
}

}  // namespace cow::fs
