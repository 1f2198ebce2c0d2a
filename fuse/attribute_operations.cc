// Attributes, plain and extended, and those of the volume.
#include <sys/xattr.h>

#include <cerrno>
#include <string>
#include <vector>

#include "cow/base/status.h"
#include "fuse/operations.h"

namespace cow::fuse {
namespace {

// POSIX access control lists would be stored but not obeyed; so they are refused.
bool IsRefused(std::string_view name) { return name.starts_with("system."); }

// The node that a request is about. What was removed while open, and restored by a rollback as
// another node, is reached by the files that have it open only.
absl::StatusOr<fs::Node> Reach(Server& server, fuse_ino_t number, const fuse_file_info* info) {
  if (info != nullptr) {
    const fs::FileHandle& handle = FileOf(*info).handle;
    COW_ASSIGN_OR_RETURN(const fs::Attributes attributes, handle.GetAttributes());
    return fs::Node{handle.id(), attributes};
  }
  if (const std::optional<fs::NodeId> id = server.nodes.Find(number)) {
    COW_ASSIGN_OR_RETURN(const fs::Attributes attributes, server.fs.GetAttributes(*id));
    return fs::Node{*id, attributes};
  }
  return server.files.NodeOf(number).value_or(ErrnoStatus(ESTALE, "gone"));
}

void ReplyAttributes(fuse_req_t request, const absl::StatusOr<fs::Node>& node) {
  if (!node.ok()) return ReplyStatus(request, node.status());
  const struct stat result = StatOf(node->id, node->attributes);
  fuse_reply_attr(request, &result, AttributeTimeout(node->id));
}

void Get(fuse_req_t request, fuse_ino_t number, fuse_file_info* info) {
  ReplyAttributes(request, Reach(ServerOf(request), number, info));
}

fs::AttributeChange ChangeOf(const struct stat& wanted, int mask) {
  using Change = fs::AttributeChange;
  static constexpr struct {
    int from;
    uint32_t to;
  } kFields[] = {{FUSE_SET_ATTR_MODE, Change::kMode},
                 {FUSE_SET_ATTR_UID, Change::kUid},
                 {FUSE_SET_ATTR_GID, Change::kGid},
                 {FUSE_SET_ATTR_SIZE, Change::kSize},
                 {FUSE_SET_ATTR_ATIME, Change::kAtime},
                 {FUSE_SET_ATTR_MTIME, Change::kMtime},
                 {FUSE_SET_ATTR_ATIME_NOW, Change::kAtimeNow},
                 {FUSE_SET_ATTR_MTIME_NOW, Change::kMtimeNow},
                 {FUSE_SET_ATTR_CTIME, Change::kCtime}};
  Change change = {.mode = wanted.st_mode & 07777,
                   .uid = wanted.st_uid,
                   .gid = wanted.st_gid,
                   .size = static_cast<uint64_t>(wanted.st_size),
                   .atime = wanted.st_atim,
                   .mtime = wanted.st_mtim,
                   .ctime = wanted.st_ctim};
  for (const auto& field : kFields) {
    if ((mask & field.from) != 0) change.fields |= field.to;
  }
  // "Now" comes beside the field that it is for.
  if ((change.fields & Change::kAtimeNow) != 0) change.fields &= ~Change::kAtime;
  if ((change.fields & Change::kMtimeNow) != 0) change.fields &= ~Change::kMtime;
  return change;
}

absl::StatusOr<fs::Node> Change(Server& server, fuse_ino_t number, const fuse_file_info* info,
                                bool bits, fs::AttributeChange change) {
  COW_ASSIGN_OR_RETURN(fs::Node node, Reach(server, number, info));
  COW_RETURN_IF_ERROR(server.privileges.DropForChange(number, node.attributes, bits, change));
  if (info != nullptr) {
    COW_ASSIGN_OR_RETURN(node.attributes, FileOf(*info).handle.SetAttributes(change));
    return node;
  }
  if (!server.nodes.Find(number)) return ErrnoStatus(ESTALE, "gone");
  COW_ASSIGN_OR_RETURN(node.attributes, server.fs.SetAttributes(node.id, change));
  return node;
}

void Set(fuse_req_t request, fuse_ino_t number, struct stat* wanted, int mask,
         fuse_file_info* info) {
  const bool bits = (mask & FUSE_SET_ATTR_KILL_SUID) != 0;
  ReplyAttributes(request, Change(ServerOf(request), number, info, bits, ChangeOf(*wanted, mask)));
}

void SetXattr(fuse_req_t request, fuse_ino_t number, const char* name, const char* value,
              size_t size, int flags) {
  const std::optional<fs::NodeId> id = NodeOf(request, number);
  if (!id) return;
  if (IsRefused(name)) {
    fuse_reply_err(request, EOPNOTSUPP);
    return;
  }
  const fs::XattrMode mode = (flags & XATTR_CREATE) != 0    ? fs::XattrMode::kCreate
                             : (flags & XATTR_REPLACE) != 0 ? fs::XattrMode::kReplace
                                                            : fs::XattrMode::kAny;
  Server& server = ServerOf(request);
  const absl::Status set = server.fs.SetXattr(*id, name, {value, size}, mode);
  if (std::string_view(name) == kCapability) server.privileges.Appeared();
  ReplyStatus(request, set);
}

// Size first, content when asked with room for it.
void ReplyValue(fuse_req_t request, std::string_view value, size_t room) {
  if (room == 0) {
    fuse_reply_xattr(request, value.size());
  } else if (value.size() > room) {
    fuse_reply_err(request, ERANGE);
  } else {
    fuse_reply_buf(request, value.data(), value.size());
  }
}

void GetXattr(fuse_req_t request, fuse_ino_t number, const char* name, size_t room) {
  const std::optional<fs::NodeId> id = NodeOf(request, number);
  if (!id) return;
  if (IsRefused(name)) {
    fuse_reply_err(request, EOPNOTSUPP);
    return;
  }
  const absl::StatusOr<std::string> value = ServerOf(request).fs.GetXattr(*id, name);
  if (!value.ok()) return ReplyStatus(request, value.status());
  ReplyValue(request, *value, room);
}

void ListXattrs(fuse_req_t request, fuse_ino_t number, size_t room) {
  const std::optional<fs::NodeId> id = NodeOf(request, number);
  if (!id) return;
  const absl::StatusOr<std::vector<std::string>> names = ServerOf(request).fs.ListXattrs(*id);
  if (!names.ok()) return ReplyStatus(request, names.status());
  std::string list;
  const bool root = fuse_req_ctx(request)->uid == 0;
  for (const std::string& name : *names) {
    // As elsewhere, others do not get to know of these.
    if (root || !name.starts_with("trusted.")) list.append(name).push_back('\0');
  }
  ReplyValue(request, list, room);
}

void RemoveXattr(fuse_req_t request, fuse_ino_t number, const char* name) {
  const std::optional<fs::NodeId> id = NodeOf(request, number);
  if (id) ReplyStatus(request, ServerOf(request).fs.RemoveXattr(*id, name));
}

void StatVolume(fuse_req_t request, fuse_ino_t) {
  const fs::VolumeSpace space = ServerOf(request).fs.StatFs();
  struct statvfs result = {};
  result.f_bsize = result.f_frsize = kPageSize;
  result.f_blocks = space.total_bytes / kPageSize;
  result.f_bfree = result.f_bavail = space.available_bytes / kPageSize;
  // A volume file grows as its host lets it: the sum is what there is.
  result.f_blocks =
      std::max<uint64_t>(result.f_blocks, (space.used_bytes + space.available_bytes) / kPageSize);
  // Numbers of files are not limited; each takes a page at least.
  result.f_files = result.f_blocks;
  result.f_ffree = result.f_favail = result.f_bfree;
  result.f_namemax = fs::kMaxName;
  fuse_reply_statfs(request, &result);
}

}  // namespace

void AddAttributeOperations(fuse_lowlevel_ops& operations) {
  operations.getattr = Get;
  operations.setattr = Set;
  operations.setxattr = SetXattr;
  operations.getxattr = GetXattr;
  operations.listxattr = ListXattrs;
  operations.removexattr = RemoveXattr;
  operations.statfs = StatVolume;
}

}  // namespace cow::fuse
