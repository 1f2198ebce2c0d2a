// What the filesystem calls the things it hands out: nodes, their attributes, snapshots.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include "cow/base/types.h"

namespace cow::fs {

// Longest name of an entry and of a snapshot; longest target of a symbolic link.
inline constexpr size_t kMaxName = 255;
inline constexpr size_t kMaxLink = 4095;
// Longest value of an extended attribute; bytes that all of one node may take.
inline constexpr size_t kMaxXattrValue = 64 << 10;
inline constexpr size_t kMaxXattrTotal = 1 << 20;

// A file, directory or link, live or in a snapshot. Stable for the life of the volume and never
// reused. Two are equal exactly when they are the same node; a node in a snapshot is never the same
// as the live one.
//
//   tree                          object
//   number of a live tree         number within the tree; the root directory is 1
//   kSnapshot | catalog number    a snapshot of a tree: number within it; of a file: the file's
//   kVirtual                      .snapshots and .snapshots/@deleted
struct NodeId {
  uint64_t tree = 0;
  uint64_t object = 0;

  static constexpr uint64_t kSnapshot = uint64_t{1} << 63;
  static constexpr uint64_t kVirtual = uint64_t{1} << 62;
  // In `object`: the place of a nested tree in a snapshot, or of one that is gone: an empty
  // directory. The other bits are the number of that tree.
  static constexpr uint64_t kStub = uint64_t{1} << 63;

  // In a snapshot, or a virtual directory: every change is EROFS, and attributes never change.
  bool in_snapshot() const { return (tree & kSnapshot) != 0; }
  bool is_virtual() const { return (tree & kVirtual) != 0; }
  bool is_stub() const { return (object & kStub) != 0; }
  // The snapshot it is in, as SnapshotInfo::number.
  uint64_t snapshot() const { return tree & ~kSnapshot; }

  friend bool operator==(const NodeId&, const NodeId&) = default;
  friend auto operator<=>(const NodeId&, const NodeId&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const NodeId& id) {
    return H::combine(std::move(h), id.tree, id.object);
  }
};

// Root directory of the volume: of tree 1.
inline constexpr NodeId kRoot = {1, 1};
// .snapshots and .snapshots/@deleted
inline constexpr NodeId kSnapshotsDirectory = {NodeId::kVirtual, 1};
inline constexpr NodeId kDeletedDirectory = {NodeId::kVirtual, 2};

// A number for st_ino: unique among nodes, live and in snapshots (that of kRoot is 1), as long as a
// volume has had fewer than 2^40 files in a tree and 2^21 trees and snapshots; a hash from there
// on.
uint64_t InodeNumber(NodeId id);

enum class FileType : uint8_t {
  kRegular = 1,
  kDirectory = 2,
  kSymlink = 3,
  kCharacterDevice = 4,
  kBlockDevice = 5,
  kFifo = 6,
  kSocket = 7,
};

// S_IFREG and so on.
mode_t TypeBits(FileType type);

struct Attributes {
  FileType type = FileType::kRegular;
  uint32_t mode = 0;  // the lower 12 bits of st_mode
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 1;
  uint32_t rdev = 0;    // of devices: as the kernel encodes it in 32 bits
  uint64_t size = 0;    // of files: bytes; of links: length of the target
  uint64_t blocks = 0;  // of 512 bytes
  timespec atime = {};
  timespec mtime = {};
  timespec ctime = {};
  timespec btime = {};
  bool tree_root = false;  // root directory of a tree, or of a snapshot of one
};

struct Node {
  NodeId id;
  Attributes attributes;
};

// Which fields SetAttributes changes, and to what.
struct AttributeChange {
  enum Field : uint32_t {
    kMode = 1,
    kUid = 2,
    kGid = 4,
    kSize = 8,
    kAtime = 16,
    kMtime = 32,
    kAtimeNow = 64,
    kMtimeNow = 128,
    kCtime = 256,  // otherwise now
  };
  uint32_t fields = 0;
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;
  timespec atime = {};
  timespec mtime = {};
  timespec ctime = {};
};

struct DirectoryEntry {
  std::string name;
  NodeId id;
  FileType type = FileType::kRegular;
  // To go on behind this entry. Stable while entries come and go; at least 256 and less than 2^63,
  // so that callers can use smaller ones for "." and "..", which are not listed.
  uint64_t cookie = 0;
};

// A snapshot of a file or of a tree.
struct SnapshotInfo {
  uint64_t number = 0;  // in the catalog: names the snapshot for good, over renames
  std::string name;
  // What it was taken of. A tree is named by its root directory, {tree, 1}.
  NodeId owner;
  bool of_tree = false;
  // The snapshot itself: the file, or the root directory of the tree.
  NodeId node;
  timespec created = {};
  uint64_t size = 0;  // of files
  // The owner is gone; `path` is the last it had.
  bool removed = false;
  // Of the owner, from the root of the volume without a slash in front; "" for the root. Empty for
  // an owner that was removed with its directory too; then it is found in .snapshots/@deleted.
  std::string path;
  // Of an owner that was removed: its path in .snapshots/@deleted, which no later file hides.
  std::string deleted_path;
};

// A tree of the volume.
struct TreeInfo {
  uint64_t number = 0;
  std::string path;  // "" for the root
  timespec created = {};
  uint64_t snapshots = 0;
};

// Something a check found wrong.
struct Damage {
  std::string where;  // "/a/b, page 12 (at byte 49152)"
  std::string what;
};

struct CheckResult {
  std::vector<Damage> damages;  // at most 1000 of frames, and 1000 of names
  uint64_t frames_checked = 0;
};

struct SpaceInfo {
  uint64_t referenced = 0;  // bytes of the pages it can reach
  uint64_t exclusive = 0;   // bytes that would be free without it
};

struct VolumeSpace {
  uint64_t total_bytes = 0;
  uint64_t used_bytes = 0;
  uint64_t available_bytes = 0;
};

}  // namespace cow::fs
