// The filesystem: names, attributes, trees and the catalog of snapshots over a store.
//
//   auto fs = FileSystem::Open("app.cow", {}).value();
//   Node file = fs->Make(kRoot, "a", {.type = FileType::kRegular, .mode = 0644}).value();
//   FileHandle handle = fs->OpenFile(file.id).value();
//   COW_RETURN_IF_ERROR(handle.Write(0, bytes));
//   SnapshotInfo before = fs->TakeSnapshot(file.id, "before").value();
//   Node old = fs->Resolve("a@before").value();          // old.id == before.node
//
// Every operation that changes names is one transaction of the store: after a crash it happened or
// it did not. Everything is durable with the next Sync (or the store's own commit every few
// seconds).
//
// Rights are not checked here: callers that act for others (cowfs) leave that to the kernel, or
// walk the path themselves. What is enforced is what keeps the volume whole.
//
// Names are any bytes but '/' and NUL, at most kMaxName of them; "." and ".." are refused with
// EINVAL: callers resolve them (Resolve does).
//
// Names of snapshots. `PATH@NAME`, also in the middle of a path; of the root `.snapshots/NAME`. The
// last '@' splits. Lookup answers, in this order: the real entry; snapshot NAME of the inode that
// has the name now; of inodes that had the name here and are gone, newest first. A name that
// resolves cannot be created (EEXIST), nor a snapshot that an entry would hide. Snapshots whose
// directory is gone too are listed in `.snapshots/@deleted` as `NAME#TREE.OBJECT@SNAPSHOT`, a name
// that each snapshot of what is gone has there; `NAME@SNAPSHOT` finds the newest that is listed.
//
// Thread safety: all methods may be called from many threads. Lock order: the namespace lock, the
// store's gate (a transaction), the lock of an inode, the store's own.
//
// Errors carry an errno, the one that POSIX names for the case (ErrnoOf). Besides those: EROFS for
// a change in a snapshot, EXDEV across trees, and what store/store.h lists.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/fs/node.h"
#include "cow/store/store.h"  // and os::File, which it hands on

namespace cow::fs {

class Inode;
class State;

struct OpenOptions {
  store::OpenOptions store = {};
  // The time now; for tests. Nothing: the system's.
  std::function<timespec()> clock = {};
};

struct CreateOptions {
  store::CreateOptions store = {};
  // Of the root directory.
  uint32_t mode = 0755;
  uint32_t uid = 0;
  uint32_t gid = 0;
};

// What Make makes.
struct NewNode {
  FileType type = FileType::kRegular;
  uint32_t mode = 0;  // after the umask; the parent's setgid bit is applied by Make
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t rdev = 0;        // of devices
  std::string target = {};  // of symbolic links
};

// Who makes a clone and is to own it.
struct CloneMaker {
  uint32_t uid = 0;
  uint32_t gid = 0;
};

enum class RenameMode { kReplace, kNoReplace, kExchange };
enum class XattrMode { kAny, kCreate, kReplace };

class FileSystem;

// An open file. It keeps the file alive after its last name is gone. Movable; the FileSystem
// outlives it. May be used from many threads.
class FileHandle {
 public:
  FileHandle(FileHandle&&) = default;
  FileHandle& operator=(FileHandle&&) = default;
  ~FileHandle();

  NodeId id() const;
  absl::StatusOr<Attributes> GetAttributes() const;
  uint64_t size() const;

  // As pread: fewer bytes only at the end of the file. Leaves atime alone (noatime).
  absl::StatusOr<size_t> Read(uint64_t offset, std::span<std::byte> buffer) const;
  // Writes all of it; in transactions of at most 4 MiB.
  absl::Status Write(uint64_t offset, std::span<const std::byte> bytes);
  // As store::Object::WritePages.
  absl::Status WritePages(std::span<const PageNumber> pages, std::span<const std::byte> bytes);
  // Writes at the end; answers where that was. At most 4 MiB; one append of a file at a time.
  absl::StatusOr<uint64_t> Append(std::span<const std::byte> bytes);
  absl::Status Truncate(uint64_t size);
  // As those of FileSystem, also where the file was removed and a rollback restored one of its id.
  absl::StatusOr<Attributes> SetAttributes(const AttributeChange& change);
  // fallocate. Allocate makes the file that long (unless `keep_size`) and answers ENOSPC where the
  // volume has less space than that; what is a hole stays one.
  absl::Status Allocate(uint64_t offset, uint64_t length, bool keep_size);
  absl::Status Punch(uint64_t offset, uint64_t length);
  absl::Status ZeroRange(uint64_t offset, uint64_t length, bool keep_size);
  // store::Store::Defragment for the bytes of one such step, at a multiple of it; all times stay.
  static constexpr uint64_t kDefragmentStep = 4 << 20;
  absl::StatusOr<store::DefragmentResult> Defragment(uint64_t offset, bool unshare);
  // lseek with SEEK_DATA and SEEK_HOLE: ENXIO as there.
  absl::StatusOr<uint64_t> SeekData(uint64_t offset) const;
  absl::StatusOr<uint64_t> SeekHole(uint64_t offset) const;

  // The object behind it: for mappings, splicing and sealing. Who changes it through this calls
  // Touch within the same transaction.
  store::Object& object() const;
  // The time of the last change becomes now.
  absl::Status Touch(store::Transaction& transaction);

 private:
  friend class FileSystem;
  FileHandle(State* state, std::shared_ptr<Inode> inode);
  State* state_;
  std::shared_ptr<Inode> inode_;
};

class FileSystem {
 public:
  // Makes a volume with an empty root directory and opens it. `file` is empty; at `path` is nothing
  // yet (EEXIST).
  static absl::StatusOr<std::unique_ptr<FileSystem>> Create(std::unique_ptr<os::File> file,
                                                            const CreateOptions& create,
                                                            const OpenOptions& options);
  static absl::StatusOr<std::unique_ptr<FileSystem>> Create(const std::string& path,
                                                            const CreateOptions& create,
                                                            const OpenOptions& options);
  // Opens a volume; errors as store::Store::Open.
  static absl::StatusOr<std::unique_ptr<FileSystem>> Open(std::unique_ptr<os::File> file,
                                                          const OpenOptions& options);
  static absl::StatusOr<std::unique_ptr<FileSystem>> Open(const std::string& path,
                                                          const OpenOptions& options);
  // Every FileHandle is gone by then. Commits.
  ~FileSystem();

  store::Store& store();
  bool read_only() const;

  // ---- Nodes ----

  // The entry `name` of a directory, the names of snapshots included. ENOENT, ENOTDIR.
  absl::StatusOr<Node> Lookup(NodeId directory, std::string_view name);
  // ENOENT for a node that is gone (and not open).
  absl::StatusOr<Attributes> GetAttributes(NodeId id);
  absl::StatusOr<Attributes> SetAttributes(NodeId id, const AttributeChange& change);

  absl::StatusOr<Node> Make(NodeId directory, std::string_view name, const NewNode& node);
  // A further name for a file. EPERM for directories, EXDEV across trees.
  absl::StatusOr<Node> Link(NodeId id, NodeId directory, std::string_view name);
  // EISDIR for directories.
  absl::Status Unlink(NodeId directory, std::string_view name);
  // ENOTEMPTY. The root of an empty tree goes with its tree; its snapshots stay.
  absl::Status RemoveDirectory(NodeId directory, std::string_view name);
  absl::Status Rename(NodeId directory, std::string_view name, NodeId new_directory,
                      std::string_view new_name, RenameMode mode = RenameMode::kReplace);
  absl::StatusOr<std::string> ReadLink(NodeId id);

  // Calls `entry` for entries behind `cookie` (0: from the start) until it answers false or there
  // are no more. Each entry that is there all the time comes exactly once. No lock is held during
  // the calls. "." and ".." and the names of snapshots are not listed.
  absl::Status ReadDirectory(NodeId directory, uint64_t cookie,
                             const std::function<bool(const DirectoryEntry&)>& entry);
  // The directory that a directory is in; that of the root of a snapshot is the directory that the
  // owner is in, where it is still there; kRoot otherwise.
  absl::StatusOr<NodeId> Parent(NodeId directory);

  // ---- Extended attributes. ENODATA, EEXIST, E2BIG, ENOSPC (kMaxXattrTotal). ----

  absl::StatusOr<std::string> GetXattr(NodeId id, std::string_view name);
  absl::StatusOr<std::vector<std::string>> ListXattrs(NodeId id);
  absl::Status SetXattr(NodeId id, std::string_view name, std::string_view value,
                        XattrMode mode = XattrMode::kAny);
  absl::Status RemoveXattr(NodeId id, std::string_view name);

  // ---- Files ----

  // A regular file, live or in a snapshot. EISDIR, EINVAL for what is neither.
  absl::StatusOr<FileHandle> OpenFile(NodeId id);
  // As copy_file_range: returns how many bytes: fewer than `length` only at the end of the source.
  // Whole pages become references; a whole file onto one that is not longer is O(1). EINVAL for
  // ranges of one file that overlap.
  absl::StatusOr<uint64_t> CopyRange(const FileHandle& source, uint64_t source_offset,
                                     FileHandle& target, uint64_t target_offset, uint64_t length);
  // The target's content becomes the source's; O(1).
  absl::Status CloneWhole(const FileHandle& source, FileHandle& target);

  // ---- Paths ----

  // The node at `path`, from the root of the volume; slashes at either end do not count, "" is the
  // root. "." and ".." are followed, symbolic links are not (ENOTDIR in the middle).
  absl::StatusOr<Node> Resolve(std::string_view path);
  // The directory that `path` is an entry of, and the name in it: for making `path`. The root:
  // EBUSY.
  absl::StatusOr<std::pair<NodeId, std::string>> ResolveParent(std::string_view path);
  // A path of a live node, without a slash in front; of a file with several names the last that was
  // made, where it is still there. ENOENT where none is known.
  absl::StatusOr<std::string> PathOf(NodeId id);

  // ---- Snapshots. Each is O(1) in the size of what it is of and in the number of snapshots. ----

  // Of a live file, or of a tree, by its root directory. EISDIR for another directory ("make it a
  // tree"), EINVAL for another kind of node or a name that cannot be one, EEXIST
  // for a name that is taken, by a snapshot or by a real entry `PATH@NAME`.
  absl::StatusOr<SnapshotInfo> TakeSnapshot(NodeId head, std::string_view name);
  // Snapshot `name` of a live file or tree. ENOENT.
  absl::StatusOr<SnapshotInfo> GetSnapshot(NodeId head, std::string_view name);
  // By number. ENOENT.
  absl::StatusOr<SnapshotInfo> GetSnapshot(uint64_t number);
  // Snapshot `name` of what is, or was, at `path`: what `path@name` answers ("" is the root).
  absl::StatusOr<SnapshotInfo> FindSnapshot(std::string_view path, std::string_view name);
  // Of one file or tree, or of all the volume; oldest first.
  absl::StatusOr<std::vector<SnapshotInfo>> ListSnapshots(NodeId head);
  absl::StatusOr<std::vector<SnapshotInfo>> ListSnapshots();
  // How many a live file or tree has.
  absl::StatusOr<uint64_t> CountSnapshots(NodeId head);

  absl::Status DestroySnapshot(uint64_t number);
  absl::StatusOr<SnapshotInfo> RenameSnapshot(uint64_t number, std::string_view new_name);
  // The owner becomes what the snapshot holds; it keeps its inode number, names and place. Returns
  // the snapshot `rollback-TIME` of what was replaced. Newer snapshots stay. Trees nested in the
  // tree stay where they are; EBUSY where their directory is not in the snapshot. ENOENT when the
  // owner is gone (clone the snapshot instead). `ready` is called when all is about to change and
  // nothing can be removed any more; it may ask for attributes, and for nothing else.
  absl::StatusOr<SnapshotInfo> RollBack(uint64_t number, const std::function<void()>& ready = {});
  // A new file at `name` with the content of a file, or a new tree with that of a tree (named by
  // its root directory), live or in a snapshot. Trees nested in it are empty directories in the
  // clone. A file's clone belongs to `maker`, where there is one, and is never seen with what only
  // root may give: without setuid, setgid and sticky bits, `security.*` and `trusted.*`.
  absl::StatusOr<Node> Clone(NodeId source, NodeId directory, std::string_view name,
                             const std::optional<CloneMaker>& maker = std::nullopt);

  // ---- Trees ----

  // A new directory `name` that is the root of its own tree. `node`: of its root directory.
  absl::StatusOr<Node> CreateTree(NodeId directory, std::string_view name,
                                  const NewNode& node = {.type = FileType::kDirectory,
                                                         .mode = 0755});
  absl::StatusOr<std::vector<TreeInfo>> ListTrees();

  // ---- The volume ----

  // What was done before the call is durable when it returns.
  absl::Status Sync();
  VolumeSpace StatFs() const;
  // Of a file, of a tree (by its root directory), or of a snapshot of either (its node). Settles
  // the store; costs what has to be counted.
  absl::StatusOr<SpaceInfo> SpaceOf(NodeId id);

  // Verifies every frame and count (as the store's Check), every directory, link count, parent and
  // entry of the catalog, as they are when it begins: changes go on. `progress`: frames done and in
  // all; see there.
  absl::StatusOr<CheckResult> Check(const store::CheckProgress& progress = {});

 private:
  friend class FileHandle;
  explicit FileSystem(std::unique_ptr<State> state);

  const std::unique_ptr<State> state_;
};

}  // namespace cow::fs
