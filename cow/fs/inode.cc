#include "cow/fs/inode.h"

#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "cow/base/status.h"
#include "cow/base/types.h"

namespace cow::fs {
namespace {

constexpr uint32_t kInodeVersion = 1;

struct RawTime {
  int64_t seconds;
  uint32_t nanoseconds;
  uint32_t reserved;
};

struct Raw {
  uint32_t version;
  uint32_t mode;
  uint32_t uid;
  uint32_t gid;
  uint32_t links;
  uint32_t reserved;
  uint64_t device;
  std::array<RawTime, 5> times;
  uint64_t parent_tree;
  uint64_t parent_object;
  uint64_t xattrs;
  uint64_t entries;
  uint64_t buckets;
  uint64_t next_overflow;
};
static_assert(sizeof(Raw) == 160 && sizeof(Raw) <= store::kMaxAttributes);

RawTime ToRaw(const timespec& time) {
  return {time.tv_sec, static_cast<uint32_t>(time.tv_nsec), 0};
}
timespec FromRaw(const RawTime& time) {
  return {time.seconds, static_cast<long>(time.nanoseconds)};
}

}  // namespace

std::string EncodeInode(const Inode& inode) {
  Raw raw = {};
  raw.version = kInodeVersion;
  raw.mode = inode.mode;
  raw.uid = inode.uid;
  raw.gid = inode.gid;
  raw.links = inode.links;
  raw.device = inode.device;
  raw.times = {ToRaw(inode.access_time), ToRaw(inode.modify_time), ToRaw(inode.change_time),
               ToRaw(inode.birth_time), ToRaw(inode.snapshot_time)};
  raw.parent_tree = inode.parent_tree;
  raw.parent_object = inode.parent_object;
  raw.xattrs = inode.xattrs;
  raw.entries = inode.entries;
  raw.buckets = inode.buckets;
  raw.next_overflow = inode.next_overflow;
  return std::string(reinterpret_cast<const char*>(&raw), sizeof(raw));
}

absl::StatusOr<Inode> DecodeInode(std::string_view bytes) {
  Raw raw;
  if (bytes.size() != sizeof(raw)) {
    return MakeError(absl::StatusCode::kDataLoss, EIO, "inode of a length that none has");
  }
  std::memcpy(&raw, bytes.data(), sizeof(raw));
  if (raw.version != kInodeVersion) {
    return MakeError(absl::StatusCode::kDataLoss, EIO, "inode of an unknown version");
  }
  Inode inode;
  inode.mode = raw.mode;
  inode.uid = raw.uid;
  inode.gid = raw.gid;
  inode.links = raw.links;
  inode.device = raw.device;
  inode.access_time = FromRaw(raw.times[0]);
  inode.modify_time = FromRaw(raw.times[1]);
  inode.change_time = FromRaw(raw.times[2]);
  inode.birth_time = FromRaw(raw.times[3]);
  inode.snapshot_time = FromRaw(raw.times[4]);
  inode.parent_tree = raw.parent_tree;
  inode.parent_object = raw.parent_object;
  inode.xattrs = raw.xattrs;
  inode.entries = raw.entries;
  inode.buckets = raw.buckets;
  inode.next_overflow = raw.next_overflow;
  return inode;
}

Attributes AttributesOf(const Inode& inode, uint64_t size, uint64_t pages) {
  Attributes attributes;
  attributes.mode = inode.mode;
  attributes.uid = inode.uid;
  attributes.gid = inode.gid;
  attributes.links = inode.links;
  attributes.device = inode.device;
  attributes.size = size;
  attributes.blocks = pages * (kPageSize / 512);
  attributes.access_time = inode.access_time;
  attributes.modify_time = inode.modify_time;
  attributes.change_time = inode.change_time;
  attributes.birth_time = inode.birth_time;
  return attributes;
}

timespec Now() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return now;
}

}  // namespace cow::fs
