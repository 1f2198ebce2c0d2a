// What the parts of the filesystem share: the tables, the inodes that are in use, the namespace
// lock, and the steps that several operations are made of.
//
// Lock order: names (alone for every change of a name, a link or the catalog; shared for looking
// names up), then the store's gate (Begin), then Inode::mu. File content is read and written
// without `names`. cache_mu_ is a leaf.
//
// Invariants, which Check verifies:
//  - every object of a live tree is an inode that is named by `nlink` entries of its tree (a
//    directory by one entry, and 2 + directories in it), or the bytes of an inode's attributes;
//  - a directory's record says where the entry that names it is;
//  - a tree entry counts only where the tree's record names this very entry; anywhere else (in
//    snapshots, clones and rolled-back trees) it is a stub: an empty directory.
#pragma once

#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "cow/fs/catalog.h"
#include "cow/fs/directory.h"
#include "cow/fs/filesystem.h"
#include "cow/fs/inode.h"
#include "cow/fs/node.h"
#include "cow/fs/xattrs.h"
#include "cow/store/store.h"

namespace cow::fs {

inline constexpr std::string_view kSnapshotsName = ".snapshots";
inline constexpr std::string_view kDeletedName = "@deleted";
inline constexpr uint64_t kRootObject = 1;

// `name` as BASE@SNAPSHOT; nullopt where it is none.
std::optional<std::pair<std::string_view, std::string_view>> SplitAt(std::string_view name);
// OK, or why `name` cannot be the name of a snapshot.
absl::Status CheckSnapshotName(std::string_view name);
absl::Status NotFound(std::string_view what);
absl::Status ReadOnlyNode();

class State {
 public:
  State(std::shared_ptr<store::Store> store, const OpenOptions& options);
  // Of what was there when `pinned` was; only for looking at it.
  State(std::shared_ptr<store::Store> store, std::shared_ptr<store::PinnedGeneration> pinned,
        const OpenOptions& options);

  // Makes the first tree and the index of the catalog.
  absl::Status Format(const CreateOptions& create);
  absl::Status Load();

  timespec Now() const;
  Index::Seed SeedOf(uint64_t tree, uint64_t object) const;
  Catalog& catalog() { return *catalog_; }

  // ---- Tables and inodes ----

  // Those of the store, or of the pinned generation.
  store::Table& trees() { return pinned_ == nullptr ? store->trees() : pinned_->trees(); }
  store::Table& versions() { return pinned_ == nullptr ? store->catalog() : pinned_->catalog(); }
  // The object that stands for a live tree, or for a snapshot (tree with NodeId::kSnapshot).
  absl::StatusOr<std::shared_ptr<store::Object>> TreeObject(uint64_t tree);
  absl::StatusOr<std::shared_ptr<store::Table>> TableOf(uint64_t tree);
  absl::StatusOr<TreeRecord> LoadTree(uint64_t tree);
  // Lets go of a tree or snapshot that is removed.
  void Forget(uint64_t tree);
  // A rollback may bring back what was removed but is still open: it is not the same any more.
  void ForgetRemoved(uint64_t tree);

  // ENOENT where there is none. Not for virtual nodes and stubs.
  absl::StatusOr<std::shared_ptr<Inode>> GetInode(NodeId id);
  // The inode of an object that was just made.
  std::shared_ptr<Inode> Adopt(NodeId id, std::shared_ptr<store::Object> object);
  // As GetInode, for a change: EROFS in snapshots.
  absl::StatusOr<std::shared_ptr<Inode>> GetLive(NodeId id);
  // As GetLive; ENOTDIR where it is no directory, ENOENT where it was removed.
  absl::StatusOr<std::shared_ptr<Inode>> GetLiveDirectory(NodeId id);

  // Changes the record of an inode.
  absl::Status Change(store::Transaction& transaction, Inode& inode,
                      const std::function<void(InodeRecord&)>& change);
  absl::StatusOr<Attributes> AttributesOf(const Inode& inode);
  absl::StatusOr<Attributes> SetAttributes(Inode& inode, const AttributeChange& change);
  // Also of virtual nodes and stubs.
  absl::StatusOr<Node> NodeOf(NodeId id);

  // ---- Names ----

  absl::StatusOr<Directory> OpenDirectory(const Inode& directory) ABSL_SHARED_LOCKS_REQUIRED(names);
  // What an entry of `directory` names.
  absl::StatusOr<NodeId> TargetOf(NodeId directory, const NamedEntry& entry)
      ABSL_SHARED_LOCKS_REQUIRED(names);
  // ENOENT.
  absl::StatusOr<NodeId> LookupId(NodeId directory, std::string_view name)
      ABSL_SHARED_LOCKS_REQUIRED(names);
  // OK where `name` can be made in a live directory that has no such entry: EEXIST where it
  // resolves.
  absl::Status CheckFree(NodeId directory, const Directory& entries, std::string_view name)
      ABSL_SHARED_LOCKS_REQUIRED(names);
  // Snapshot `snapshot` of what has, or had, the name `base` in a live directory.
  absl::StatusOr<std::optional<SnapshotRecord>> FindSnapshot(NodeId directory,
                                                             std::string_view base,
                                                             std::string_view snapshot)
      ABSL_SHARED_LOCKS_REQUIRED(names);
  // The directory that a directory is in; nullopt for kRoot and where it is not known.
  absl::StatusOr<std::optional<NodeId>> ParentOf(NodeId directory)
      ABSL_SHARED_LOCKS_REQUIRED(names);
  // The directory that a node is in, and its name there: of a file with several the last made.
  // ENOENT where that is not known.
  absl::StatusOr<std::pair<NodeId, std::string>> PlaceOf(NodeId id)
      ABSL_SHARED_LOCKS_REQUIRED(names);
  // ENOENT also for a path so deep that nobody could use it.
  absl::StatusOr<std::string> PathOf(NodeId id) ABSL_SHARED_LOCKS_REQUIRED(names);
  // As PathOf; in a snapshot PATH@NAME and what follows.
  absl::StatusOr<std::string> AnyPathOf(NodeId id) ABSL_SHARED_LOCKS_REQUIRED(names);
  absl::StatusOr<NodeId> ResolveId(std::string_view path) ABSL_SHARED_LOCKS_REQUIRED(names);

  // Enters `entry` and notes the change in the directory; `links`: by how much its nlink changes.
  absl::StatusOr<uint64_t> AddEntry(store::Transaction& transaction, Inode& directory,
                                    Directory& entries, const NamedEntry& entry, int links)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(names);
  absl::Status TouchDirectory(store::Transaction& transaction, Inode& directory, int links)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(names);
  // One name of an inode that is no directory is gone: the last takes it along. FramesToDrop.
  absl::Status DropLink(store::Transaction& transaction, Inode& inode)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(names);
  // Removes an object and what belongs to it.
  absl::Status RemoveInode(store::Transaction& transaction, Inode& inode);
  static uint64_t FramesToDrop(const InodeRecord& record);

  // A directory that an entry names and that can be removed; without an inode where it is a stub.
  struct EmptyDirectory {
    NodeId id;
    std::shared_ptr<Inode> inode;
    uint64_t frames = 0;  // to reserve for RemoveEmpty
  };
  // ENOTDIR, ENOTEMPTY.
  absl::StatusOr<EmptyDirectory> CheckEmpty(NodeId directory, const NamedEntry& entry)
      ABSL_SHARED_LOCKS_REQUIRED(names);
  // Removes what `entry`, which was in `directory`, named.
  absl::Status RemoveEmpty(store::Transaction& transaction, NodeId directory,
                           const NamedEntry& entry, const EmptyDirectory& removed)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(names);
  // The node that `entry` names is named by an entry of `directory` at `position` from here on.
  absl::Status SetPlace(store::Transaction& transaction, NodeId target, NodeId directory,
                        uint64_t position) ABSL_EXCLUSIVE_LOCKS_REQUIRED(names);
  // EINVAL where `directory` is `id` or below it.
  absl::Status CheckNotWithin(NodeId directory, NodeId id) ABSL_SHARED_LOCKS_REQUIRED(names);

  // ---- Extended attributes ----

  absl::StatusOr<Xattrs> LoadXattrs(const Inode& inode) ABSL_SHARED_LOCKS_REQUIRED(names);
  // The object that holds those of a node in a snapshot.
  absl::StatusOr<std::shared_ptr<store::Object>> XattrsInSnapshot(const Inode& inode,
                                                                  const InodeRecord& record)
      ABSL_SHARED_LOCKS_REQUIRED(names);
  absl::Status StoreXattrs(store::Transaction& transaction, Inode& inode, const std::string& bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(names);

  // ---- Snapshots ----

  // What the snapshots of the target of a live entry belong to; nullopt for what can have none.
  std::optional<Owner> OwnerOf(NodeId directory, const NamedEntry& entry)
      ABSL_SHARED_LOCKS_REQUIRED(names);
  static Owner OwnerOf(NodeId head);
  static NodeId HeadOf(Owner owner);
  // Whether it still has a name.
  bool Alive(Owner owner);
  // Makes the target of `entry`, if it has snapshots, one that had that name in `directory`.
  // FramesToDepart.
  absl::StatusOr<uint64_t> FramesToDepart(NodeId directory, const NamedEntry& entry)
      ABSL_SHARED_LOCKS_REQUIRED(names);
  absl::Status Depart(store::Transaction& transaction, NodeId directory, const NamedEntry& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(names);
  // Its root: the file, or the root directory.
  static NodeId NodeOfSnapshot(const SnapshotRecord& record);
  // EEXIST where a real entry would hide snapshot `name` of a live file or tree.
  absl::Status CheckNotHidden(NodeId head, std::string_view name) ABSL_SHARED_LOCKS_REQUIRED(names);
  // ENOENT.
  absl::StatusOr<SnapshotRecord> RecordOf(uint64_t number) ABSL_SHARED_LOCKS_REQUIRED(names);
  absl::StatusOr<SnapshotInfo> InfoOf(const SnapshotRecord& record)
      ABSL_SHARED_LOCKS_REQUIRED(names);
  // The path in the volume under which `record` is found as PATH@NAME.
  absl::StatusOr<std::string> PathOfOwner(const SnapshotRecord& record, bool alive)
      ABSL_SHARED_LOCKS_REQUIRED(names);
  // That path, where the owner is gone but the directory that it was in last is not, and no other
  // snapshot of that name hides it there.
  absl::StatusOr<std::optional<std::string>> LastPath(const SnapshotRecord& record)
      ABSL_SHARED_LOCKS_REQUIRED(names);
  // Its path in .snapshots/@deleted.
  absl::StatusOr<std::string> DeletedPath(Owner owner) ABSL_SHARED_LOCKS_REQUIRED(names);
  absl::StatusOr<std::string> DeletedName(Owner owner) ABSL_SHARED_LOCKS_REQUIRED(names);
  absl::StatusOr<std::optional<SnapshotRecord>> FindDeleted(std::string_view base,
                                                            std::string_view snapshot)
      ABSL_SHARED_LOCKS_REQUIRED(names);
  // Snapshots whose owners are gone and that no other path leads to, with the owners' names there;
  // by number.
  absl::StatusOr<std::vector<std::pair<std::string, SnapshotRecord>>> ListDeleted()
      ABSL_SHARED_LOCKS_REQUIRED(names);
  // A snapshot of a live file or tree, in a transaction that was begun with BeginFrozen.
  absl::StatusOr<SnapshotRecord> TakeSnapshot(store::Transaction& frozen, Owner owner,
                                              std::string_view name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(names);
  static constexpr uint64_t kFramesToSnapshot = Catalog::kFramesToAdd + 2 * store::kFramesToChange;

  const std::shared_ptr<store::Store> store;
  const OpenOptions options;

  absl::Mutex names;

 private:
  // The names from `top`, a root, down to `id`.
  absl::StatusOr<std::string> PathWithin(NodeId id, NodeId top) ABSL_SHARED_LOCKS_REQUIRED(names);

  const std::shared_ptr<store::PinnedGeneration> pinned_;
  std::unique_ptr<Catalog> catalog_;  // constant after Format or Load

  absl::Mutex cache_mu_;
  absl::flat_hash_map<NodeId, std::weak_ptr<Inode>> inodes_ ABSL_GUARDED_BY(cache_mu_);
  absl::flat_hash_map<uint64_t, std::shared_ptr<store::Table>> tables_ ABSL_GUARDED_BY(cache_mu_);
};

}  // namespace cow::fs
