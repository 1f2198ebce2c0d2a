// The filesystem: names, attributes, trees and snapshots over the store.
//
// Every object of a tree is a file, a directory, a symbolic link or a special file. Tree 1 is the
// volume's root; a directory entry can lead to the root directory of another tree. Snapshots belong
// to a file or to a tree, not to a name, and are found by PATH@NAME.
//
// Each method that changes something is one transaction of the store: after a crash all of it is
// there or nothing. Nothing is durable before Sync().
//
// Thread safety: all methods, from any thread. Reads and writes of file content take no lock of the
// names.
//
// Errors carry the errno that POSIX has for them (cow::ErrnoOf): ENOENT, EEXIST, ENOTDIR, EISDIR,
// ENOTEMPTY, EXDEV (across trees), EROFS (in a snapshot), ENAMETOOLONG, ENOSPC, EIO, ESTALE.
// Permissions are not looked at here; who serves users does that.
#pragma once

#include <time.h>

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
#include "cow/base/types.h"
#include "cow/os/file.h"
#include "cow/store/store.h"

namespace cow::fs {

// Longest name of an entry or of a snapshot, in bytes.
inline constexpr size_t kMaxName = 255;

// An inode. `tree` is the number of a live tree, or, where `snapshot`, the catalog number of a
// snapshot: of a tree (then `object` is in it) or of a file (then `object` is 0).
struct NodeId {
  uint64_t tree = 1;
  uint64_t object = 1;
  bool snapshot = false;
  friend bool operator==(const NodeId&, const NodeId&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const NodeId& id) {
    return H::combine(std::move(h), id.tree, id.object, id.snapshot);
  }
};
// The root directory of a tree is its object 1; that of the volume is object 1 of tree 1.
inline constexpr uint64_t kRootObject = 1;
// Not in any tree: `.snapshots` of the root, and `.snapshots/@deleted`.
inline constexpr NodeId kSnapshotsDirectory{.tree = 0, .object = 1};
inline constexpr NodeId kDeletedDirectory{.tree = 0, .object = 2};

// What stat(2) tells of an inode.
struct Attributes {
  uint32_t mode = 0;  // type and permissions, as st_mode
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t links = 0;
  uint64_t size = 0;
  uint64_t blocks = 0;  // of 512 bytes, as st_blocks
  uint64_t device = 0;  // st_rdev
  timespec access_time = {};
  timespec modify_time = {};
  timespec change_time = {};
  timespec birth_time = {};
};

struct Node {
  NodeId id;
  Attributes attributes;
};

// What SetAttributes changes; what is not given stays.
struct AttributeChange {
  std::optional<uint32_t> mode;  // permission bits
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<uint64_t> size;
  std::optional<timespec> access_time;
  std::optional<timespec> modify_time;
  std::optional<timespec> change_time;  // now, where it is not given and something else is
};

struct NewNode {
  uint32_t mode = 0;  // type and permissions
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t device = 0;
  std::string target;  // of a symbolic link
};

enum class RenameMode { kReplace, kNoReplace, kExchange };
enum class XattrMode { kCreateOrReplace, kCreate, kReplace };

struct DirectoryEntry {
  std::string name;
  NodeId id;
  uint32_t type = 0;    // S_IFMT bits
  uint64_t cookie = 0;  // where reading goes on after this entry
};

struct SnapshotInfo {
  std::string name;
  NodeId id;        // of the file, or of the root directory of the tree as it was
  bool tree = false;
  uint64_t size = 0;
  timespec time = {};
};

struct SpaceInfo {
  uint64_t referenced_bytes = 0;
  uint64_t exclusive_bytes = 0;  // that would be free if it were destroyed
};

// An open file. The file lives as long as a handle does, removed or not.
class OpenFile {
 public:
  const NodeId& id() const { return id_; }
  const std::shared_ptr<store::Object>& object() const { return object_; }

 private:
  friend class FileSystem;
  NodeId id_;
  std::shared_ptr<store::Object> object_;
};
using FilePointer = std::shared_ptr<OpenFile>;

struct Options {
  bool read_only = false;
  int commit_seconds = 5;  // as store::OpenOptions
  uint64_t cache_bytes = 64 << 20;
};

class Namespace;

class FileSystem {
 public:
  // A new volume with an empty root directory, of mode 0755 owned by the caller.
  static absl::StatusOr<std::unique_ptr<FileSystem>> Create(std::unique_ptr<os::File> file,
                                                            const store::CreateOptions& create,
                                                            const Options& options);
  static absl::StatusOr<std::unique_ptr<FileSystem>> Open(std::unique_ptr<os::File> file,
                                                          const Options& options);
  ~FileSystem();

  NodeId root() const { return NodeId{}; }
  store::Store& store();

  // --- names. `parent` is a directory. Names with `@` and `.snapshots` lead to snapshots, as the
  // design says: a real entry of that name first, then the snapshot of what has the name before the
  // last `@` now, then of what had it here and was removed, newest first.
  absl::StatusOr<Node> Lookup(const NodeId& parent, std::string_view name);
  absl::StatusOr<Attributes> GetAttributes(const NodeId& id);
  absl::StatusOr<Attributes> SetAttributes(const NodeId& id, const AttributeChange& change);
  // EEXIST also for a name that resolves to a snapshot.
  absl::StatusOr<Node> Make(const NodeId& parent, std::string_view name, const NewNode& what);
  absl::StatusOr<Node> Link(const NodeId& id, const NodeId& parent, std::string_view name);
  absl::Status Unlink(const NodeId& parent, std::string_view name);
  // Also of the root directory of a tree, which is removed with its snapshots kept as deleted.
  absl::Status RemoveDirectory(const NodeId& parent, std::string_view name);
  absl::Status Rename(const NodeId& parent, std::string_view name, const NodeId& new_parent,
                      std::string_view new_name, RenameMode mode);
  absl::StatusOr<std::string> ReadLink(const NodeId& id);
  // Calls `visit` for each entry after `cookie` (0: from the beginning) until it returns false.
  // `.` and `..` are not among them. An entry that is there all the time is visited exactly once,
  // whatever else comes and goes.
  absl::Status ReadDirectory(const NodeId& id, uint64_t cookie,
                             const std::function<bool(const DirectoryEntry&)>& visit);
  // The directory that `id`, a directory, is in; the root's is itself.
  absl::StatusOr<NodeId> Parent(const NodeId& id);

  // --- extended attributes; values up to 64 KiB, ENODATA where there is none of the name.
  absl::StatusOr<std::string> GetXattr(const NodeId& id, std::string_view name);
  absl::StatusOr<std::vector<std::string>> ListXattrs(const NodeId& id);
  absl::Status SetXattr(const NodeId& id, std::string_view name, std::string_view value,
                        XattrMode mode);
  absl::Status RemoveXattr(const NodeId& id, std::string_view name);

  // --- content.
  absl::StatusOr<FilePointer> OpenNode(const NodeId& id);
  absl::StatusOr<size_t> Read(const OpenFile& file, uint64_t offset, std::span<std::byte> buffer);
  // Sets modify and change time; clears set-uid and set-gid bits where `clear_privileges`.
  absl::Status Write(const OpenFile& file, uint64_t offset, std::span<const std::byte> bytes,
                     bool clear_privileges = false);
  // Writes at the end of the file as it is then; returns where that was.
  absl::StatusOr<uint64_t> Append(const OpenFile& file, std::span<const std::byte> bytes);
  absl::StatusOr<Attributes> GetAttributes(const OpenFile& file);
  absl::Status Truncate(const OpenFile& file, uint64_t size);
  absl::Status Punch(const OpenFile& file, uint64_t offset, uint64_t length);
  absl::StatusOr<uint64_t> SeekData(const OpenFile& file, uint64_t offset);
  absl::StatusOr<uint64_t> SeekHole(const OpenFile& file, uint64_t offset);
  // By reference where source and target offsets are whole pages (a whole file is O(1)), copied
  // elsewhere. Returns the bytes copied: fewer only at the end of the source.
  absl::StatusOr<uint64_t> CopyRange(const OpenFile& source, uint64_t source_offset,
                                     const OpenFile& target, uint64_t target_offset,
                                     uint64_t length);
  absl::Status Sync();

  // --- trees and snapshots. `id` is a file, or the root directory of a tree.
  absl::StatusOr<Node> CreateTree(const NodeId& parent, std::string_view name,
                                  const NewNode& directory);
  absl::StatusOr<SnapshotInfo> TakeSnapshot(const NodeId& id, std::string_view name);
  // Newest last.
  absl::StatusOr<std::vector<SnapshotInfo>> ListSnapshots(const NodeId& id);
  absl::StatusOr<SnapshotInfo> FindSnapshot(const NodeId& id, std::string_view name);
  absl::Status RenameSnapshot(const NodeId& id, std::string_view name, std::string_view new_name);
  absl::Status DestroySnapshot(const NodeId& id, std::string_view name);
  // A new file or tree at `parent`/`name` with the content of `source`: a file or a snapshot of one,
  // the root directory of a tree or of a snapshot of one.
  absl::StatusOr<Node> Clone(const NodeId& source, const NodeId& parent, std::string_view name);
  // The content of `id` becomes that of its snapshot. What it was is kept as a snapshot
  // `rollback-TIME`, whose name is returned.
  absl::StatusOr<std::string> RollBack(const NodeId& id, std::string_view name);
  absl::StatusOr<SpaceInfo> SpaceOf(const NodeId& id);

  // Follows a path of the volume ("/a/b@mon/c"), snapshots included; symbolic links are not followed.
  absl::StatusOr<Node> Resolve(std::string_view path);
  // Whether `id` is the root directory of a tree, live or in a snapshot.
  static bool IsTreeRoot(const NodeId& id) { return id.object == kRootObject && id.tree != 0; }

  struct Statistics {
    uint64_t total_bytes = 0;
    uint64_t free_bytes = 0;
  };
  Statistics Statfs();

  // Check of the store, then of every directory, link count, parent and index entry.
  absl::StatusOr<store::CheckResult> Check(
      const std::function<void(uint64_t, uint64_t)>& progress = {});

 private:
  explicit FileSystem(std::unique_ptr<store::Store> store);
  std::unique_ptr<Namespace> namespace_;
};

}  // namespace cow::fs
