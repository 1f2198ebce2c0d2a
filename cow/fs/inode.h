// Attribute bytes of an object: what the filesystem keeps of an inode. See README.md for the bytes.
#pragma once

#include <sys/stat.h>
#include <time.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cow/fs/filesystem.h"

namespace cow::fs {

struct Inode {
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t links = 0;
  uint64_t device = 0;
  timespec access_time = {};
  timespec modify_time = {};
  timespec change_time = {};
  timespec birth_time = {};
  uint64_t parent_tree = 0;    // directories: where they are
  uint64_t parent_object = 0;  // snapshots: what they are of, in these two fields
  uint64_t xattrs = 0;         // object that holds the extended attributes; 0: none
  uint64_t entries = 0;        // directories
  uint64_t buckets = 0;
  uint64_t next_overflow = 0;
  timespec snapshot_time = {};

  bool is_directory() const { return (mode & S_IFMT) == S_IFDIR; }
  bool is_regular() const { return (mode & S_IFMT) == S_IFREG; }
};

std::string EncodeInode(const Inode& inode);
// kDataLoss (EIO) for bytes that are no inode, or of a newer version.
absl::StatusOr<Inode> DecodeInode(std::string_view bytes);

Attributes AttributesOf(const Inode& inode, uint64_t size, uint64_t pages);
timespec Now();

}  // namespace cow::fs
