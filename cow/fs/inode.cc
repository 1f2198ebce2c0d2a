#include "cow/fs/inode.h"

#include <cerrno>

#include "cow/fs/bytes.h"

namespace cow::fs {
namespace {

constexpr uint8_t kInodeVersion = 1;
constexpr uint8_t kTreeVersion = 1;

}  // namespace

std::string InodeRecord::Encode() const {
  ByteWriter out;
  out.Put(kInodeVersion).Put(static_cast<uint8_t>(type)).Put(uint16_t{0});
  out.Put(mode).Put(uid).Put(gid).Put(nlink).Put(rdev);
  out.Put(parent).Put(position).Put(xattrs);
  out.PutTime(atime).PutTime(mtime).PutTime(ctime).PutTime(btime);
  out.Put(static_cast<uint8_t>(inline_kind)).Put(uint8_t{0});
  out.PutString(inlined);
  return out.Take();
}

absl::StatusOr<InodeRecord> InodeRecord::Decode(std::string_view bytes) {
  if (bytes.empty()) {
    return MakeError(absl::StatusCode::kNotFound, ESTALE,
                     "the file is gone since its tree was rolled back");
  }
  ByteReader in(bytes);
  if (in.Get<uint8_t>() != kInodeVersion) return Malformed("inode of an unknown version");
  InodeRecord record;
  const uint8_t type = in.Get<uint8_t>();
  in.Get<uint16_t>();
  record.type = static_cast<FileType>(type);
  record.mode = in.Get<uint32_t>();
  record.uid = in.Get<uint32_t>();
  record.gid = in.Get<uint32_t>();
  record.nlink = in.Get<uint32_t>();
  record.rdev = in.Get<uint32_t>();
  record.parent = in.Get<uint64_t>();
  record.position = in.Get<uint64_t>();
  record.xattrs = in.Get<uint64_t>();
  record.atime = in.GetTime();
  record.mtime = in.GetTime();
  record.ctime = in.GetTime();
  record.btime = in.GetTime();
  const uint8_t inline_kind = in.Get<uint8_t>();
  in.Get<uint8_t>();
  record.inline_kind = static_cast<Inline>(inline_kind);
  record.inlined = std::string(in.GetString());
  if (!in.ok() || type < 1 || type > static_cast<uint8_t>(FileType::kSocket) || inline_kind > 2 ||
      (record.mode & ~07777u) != 0) {
    return Malformed("malformed inode");
  }
  return record;
}

std::string TreeRecord::Encode() const {
  ByteWriter out;
  out.Put(kTreeVersion).Put(uint8_t{0}).Put(uint16_t{0});
  out.Put(parent_tree).Put(parent).Put(position).PutTime(created);
  return out.Take();
}

absl::StatusOr<TreeRecord> TreeRecord::Decode(std::string_view bytes) {
  ByteReader in(bytes);
  if (in.Get<uint8_t>() != kTreeVersion) return Malformed("tree record of an unknown version");
  in.Get<uint8_t>();
  in.Get<uint16_t>();
  TreeRecord record;
  record.parent_tree = in.Get<uint64_t>();
  record.parent = in.Get<uint64_t>();
  record.position = in.Get<uint64_t>();
  record.created = in.GetTime();
  if (!in.ok()) return Malformed("malformed tree record");
  return record;
}

}  // namespace cow::fs
