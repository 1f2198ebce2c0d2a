// Names: finding, making, linking, renaming and removing them.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "cow/base/status.h"
#include "fuse/operations.h"

namespace cow::fuse {
namespace {

fs::FileType TypeOf(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return fs::FileType::kDirectory;
    case S_IFLNK:
      return fs::FileType::kSymlink;
    case S_IFCHR:
      return fs::FileType::kCharacterDevice;
    case S_IFBLK:
      return fs::FileType::kBlockDevice;
    case S_IFIFO:
      return fs::FileType::kFifo;
    case S_IFSOCK:
      return fs::FileType::kSocket;
    default:
      return fs::FileType::kRegular;
  }
}

absl::StatusOr<fs::Node> MakeNode(fuse_req_t request, fs::NodeId directory, const char* name,
                                  mode_t mode, dev_t device, const char* target) {
  const fuse_ctx* caller = fuse_req_ctx(request);
  return ServerOf(request).fs.Make(directory, name,
                                   {.type = TypeOf(mode),
                                    .mode = mode & 07777,
                                    .uid = caller->uid,
                                    .gid = caller->gid,
                                    .rdev = static_cast<uint32_t>(device),
                                    .target = target});
}

void MakeAndReply(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
                  dev_t device, const char* target) {
  const std::optional<fs::NodeId> directory = NodeOf(request, parent);
  if (!directory) return;
  ReplyEntry(request, *directory, MakeNode(request, *directory, name, mode, device, target));
}

void Lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  const std::optional<fs::NodeId> directory = NodeOf(request, parent);
  if (!directory) return;
  absl::StatusOr<fs::Node> node = ServerOf(request).fs.Lookup(*directory, name);
  if (node.ok() && !Sees(fuse_req_ctx(request)->uid, *directory, node->attributes)) {
    node = ErrnoStatus(ENOENT, "no such snapshot");
  }
  // "Not there" may be kept too, but not of what can appear without a request for it.
  const bool may_be_kept =
      strchr(name, '@') == nullptr && !directory->is_virtual() && strcmp(name, ".snapshots") != 0;
  if (!node.ok() && ErrnoOf(node.status()) == ENOENT && may_be_kept) {
    fuse_entry_param none = {};  // number 0
    none.entry_timeout = kEndless;
    fuse_reply_entry(request, &none);
    return;
  }
  ReplyEntry(request, *directory, node);
}

void Forget(fuse_req_t request, fuse_ino_t number, uint64_t count) {
  ServerOf(request).nodes.Forget(number, count);
  fuse_reply_none(request);
}

void ForgetMany(fuse_req_t request, size_t count, fuse_forget_data* forgets) {
  Server& server = ServerOf(request);
  for (size_t i = 0; i < count; ++i) server.nodes.Forget(forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(request);
}

void MakeDevice(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
                dev_t device) {
  MakeAndReply(request, parent, name, mode, device, "");
}

void MakeDirectory(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  MakeAndReply(request, parent, name, (mode & 07777) | S_IFDIR, 0, "");
}

void MakeLink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) {
  MakeAndReply(request, parent, name, S_IFLNK | 0777, 0, target);
}

void Create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
            fuse_file_info* info) {
  const std::optional<fs::NodeId> directory = NodeOf(request, parent);
  if (!directory) return;
  Server& server = ServerOf(request);
  absl::StatusOr<fs::Node> node =
      MakeNode(request, *directory, name, (mode & 07777) | S_IFREG, 0, "");
  if (!node.ok() && ErrnoOf(node.status()) == EEXIST && (info->flags & O_EXCL) == 0) {
    // A name that a control request has just made. The kernel does not know it and so has not
    // checked what the caller may do with it: on this it walks the path anew, and does.
    node = ErrnoStatus(ESTALE, "made meanwhile");
  }
  if (!node.ok()) return ReplyStatus(request, node.status());
  const fuse_entry_param entry = EntryOf(server, *directory, *node);
  if (const absl::Status opened = OpenInto(server, entry.ino, node->id, *info); !opened.ok()) {
    server.nodes.Forget(entry.ino, 1);
    return ReplyStatus(request, opened);
  }
  if (fuse_reply_create(request, &entry, info) != 0) {
    CloseFile(server, *info);
    server.nodes.Forget(entry.ino, 1);
  }
}

void Link(fuse_req_t request, fuse_ino_t number, fuse_ino_t parent, const char* name) {
  const std::optional<fs::NodeId> id = NodeOf(request, number);
  if (!id) return;
  const std::optional<fs::NodeId> directory = NodeOf(request, parent);
  if (!directory) return;
  ReplyEntry(request, *directory, ServerOf(request).fs.Link(*id, *directory, name));
}

void Unlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
  const std::optional<fs::NodeId> directory = NodeOf(request, parent);
  if (directory) ReplyStatus(request, ServerOf(request).fs.Unlink(*directory, name));
}

void RemoveDirectory(fuse_req_t request, fuse_ino_t parent, const char* name) {
  const std::optional<fs::NodeId> directory = NodeOf(request, parent);
  if (directory) ReplyStatus(request, ServerOf(request).fs.RemoveDirectory(*directory, name));
}

void Rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned int flags) {
  const std::optional<fs::NodeId> directory = NodeOf(request, parent);
  if (!directory) return;
  const std::optional<fs::NodeId> new_directory = NodeOf(request, new_parent);
  if (!new_directory) return;
  fs::RenameMode mode = fs::RenameMode::kReplace;
  if (flags == RENAME_NOREPLACE) {
    mode = fs::RenameMode::kNoReplace;
  } else if (flags == RENAME_EXCHANGE) {
    mode = fs::RenameMode::kExchange;
  } else if (flags != 0) {
    fuse_reply_err(request, EINVAL);
    return;
  }
  ReplyStatus(request,
              ServerOf(request).fs.Rename(*directory, name, *new_directory, new_name, mode));
}

void ReadLink(fuse_req_t request, fuse_ino_t number) {
  const std::optional<fs::NodeId> id = NodeOf(request, number);
  if (!id) return;
  const absl::StatusOr<std::string> target = ServerOf(request).fs.ReadLink(*id);
  if (!target.ok()) return ReplyStatus(request, target.status());
  fuse_reply_readlink(request, target->c_str());
}

}  // namespace

void AddNameOperations(fuse_lowlevel_ops& operations) {
  operations.lookup = Lookup;
  operations.forget = Forget;
  operations.forget_multi = ForgetMany;
  operations.mknod = MakeDevice;
  operations.mkdir = MakeDirectory;
  operations.symlink = MakeLink;
  operations.create = Create;
  operations.link = Link;
  operations.unlink = Unlink;
  operations.rmdir = RemoveDirectory;
  operations.rename = Rename;
  operations.readlink = ReadLink;
}

}  // namespace cow::fuse
