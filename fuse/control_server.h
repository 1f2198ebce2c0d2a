// Executes the requests of cowctl (cow/control) on the mounted filesystem.
//
// Every change that an answer speaks of is durable, and no longer hidden by anything that the
// kernel kept. Before a version is handed out, what was stored to shared maps is written out.
//
// Thread safety: Execute may be called from many threads; as it waits for the kernel, only from
// tasks (tasks.h).
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "cow/control/message.h"
#include "cow/fs/filesystem.h"
#include "fuse/checker.h"
#include "fuse/kernel.h"
#include "fuse/nodes.h"
#include "fuse/open_files.h"
#include "fuse/privileges.h"
#include "fuse/rights.h"
#include "fuse/rollbacks.h"
#include "fuse/tasks.h"

namespace cow::fuse {

class ControlServer {
 public:
  ControlServer(fs::FileSystem& fs, Nodes& nodes, const OpenFiles& files, Kernel& kernel,
                Privileges& privileges, Rollbacks& rollbacks, Tasks& tasks, std::string volume)
      : fs_(fs),
        nodes_(nodes),
        files_(files),
        kernel_(kernel),
        privileges_(privileges),
        rollbacks_(rollbacks),
        checker_(fs, tasks),
        volume_(std::move(volume)) {}

  control::Reply Execute(const control::Request& request, const Caller& caller);
  // Ends what would go on for long; before the mount's tasks are waited for.
  void Stop() { checker_.Stop(); }

 private:
  using Request = control::Request;

  absl::StatusOr<control::Entry> ExecuteOne(const Request& request, const Caller& caller);
  absl::StatusOr<control::Entry> TakeSnapshot(const Request& request, const Caller& caller);
  absl::StatusOr<control::Entry> Clone(const Request& request, const Caller& caller);
  absl::StatusOr<control::Entry> RollBack(const Request& request, const Caller& caller);
  absl::StatusOr<control::Entry> Rename(const Request& request, const Caller& caller);
  absl::StatusOr<control::Entry> Destroy(const Request& request, const Caller& caller);
  absl::StatusOr<control::Entry> CreateTree(const Request& request, const Caller& caller);
  absl::StatusOr<control::Entry> Stat(const Request& request, const Caller& caller);
  control::Reply List(const Request& request, const Caller& caller);
  control::Reply Defragment(const Request& request, const Caller& caller);
  control::Reply Check(const Request& request, const Caller& caller);
  control::Info Ping() const;

  static control::Entry EntryOf(const fs::SnapshotInfo& snapshot);
  // Owners see their snapshots; others those that they can reach and read in place.
  bool MayList(const fs::SnapshotInfo& snapshot, const Caller& caller);
  // Why a list for the caller, which came out empty, does not mean that there are no snapshots.
  static absl::Status MayBeEmpty(const absl::StatusOr<fs::Node>& head, const Caller& caller);
  // The snapshot that a request names, where the caller owns what it is of. ENOENT for one of what
  // is gone where something else has the name now.
  absl::StatusOr<fs::SnapshotInfo> Owned(const Request& request, const Caller& caller);
  absl::StatusOr<fs::Attributes> OwnerAttributes(const fs::SnapshotInfo& snapshot);
  // EPERM where the tree of `root`, or what a snapshot was taken of, is another user's.
  absl::Status CheckOwnsTree(const Caller& caller, const fs::Node& root);
  absl::StatusOr<control::Entry> HeadEntry(const std::string& path, const fs::Node& node);
  absl::Status AddSpace(fs::NodeId id, control::Entry& entry);

  // What was stored to shared maps of a file or of the files of a tree is written out.
  void WriteOut(fs::NodeId head, bool of_tree);
  // What a tree's directories list, so that the kernel can be told which names are new or gone.
  using Names = std::vector<std::pair<uint64_t, std::string>>;
  Names KnownNames(uint64_t tree);
  void DropNames(const Names& names);
  // Nodes of a tree that are gone, and of which a rollback may bring the ids back.
  void RetireRemoved(uint64_t tree);
  // A name that was made without a request of the kernel's.
  void ShowNew(fs::NodeId directory, const std::string& name);

  fs::FileSystem& fs_;
  Nodes& nodes_;
  const OpenFiles& files_;
  Kernel& kernel_;
  Privileges& privileges_;
  Rollbacks& rollbacks_;
  Checker checker_;
  const std::string volume_;
};

}  // namespace cow::fuse
