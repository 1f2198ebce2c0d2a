// What is kept of a file, directory or link in the attribute bytes of its object, and of a tree in
// those of the object that stands for it. The bytes are specified in README.md.
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "cow/fs/node.h"
#include "cow/store/store.h"

namespace cow::fs {

// Bytes of a link's target or of all extended attributes that fit beside the rest.
inline constexpr size_t kMaxInline = 104;

struct InodeRecord {
  FileType type = FileType::kRegular;
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 1;
  uint32_t rdev = 0;
  // The entry that names it: the directory's number and the position in it. Of a directory always
  // true (0 for the root of a tree); of others the name that was made last.
  uint64_t parent = 0;
  uint64_t position = 0;
  // The object that holds the extended attributes; 0: they are in `inlined`, or there are none.
  uint64_t xattrs = 0;
  timespec atime = {};
  timespec mtime = {};
  timespec ctime = {};
  timespec btime = {};
  // What `inlined` is, if anything.
  enum class Inline : uint8_t { kNothing = 0, kLink = 1, kXattrs = 2 };
  Inline inline_kind = Inline::kNothing;
  std::string inlined = {};

  std::string Encode() const;
  // ESTALE for no bytes at all: the object is gone since its tree was rolled back.
  static absl::StatusOr<InodeRecord> Decode(std::string_view bytes);

  bool is_directory() const { return type == FileType::kDirectory; }
};

struct TreeRecord {
  // The entry that names the tree: tree, number of the directory and position in it. 0, 0, 0 for
  // tree 1, and for a tree that no entry names.
  uint64_t parent_tree = 0;
  uint64_t parent = 0;
  uint64_t position = 0;
  timespec created = {};

  std::string Encode() const;
  static absl::StatusOr<TreeRecord> Decode(std::string_view bytes);
};

// A node that somebody has in hands. There is one Inode for a node at a time.
class Inode {
 public:
  Inode(NodeId id, std::shared_ptr<store::Object> object) : id(id), object(std::move(object)) {}

  absl::StatusOr<InodeRecord> Load() const { return InodeRecord::Decode(object->attributes()); }

  const NodeId id;
  const std::shared_ptr<store::Object> object;
  // Held from Load to SetAttributes, so that no change is lost. Taken within a transaction.
  absl::Mutex mu;
};

}  // namespace cow::fs
