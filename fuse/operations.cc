#include "fuse/operations.h"

#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "cow/base/status.h"

namespace cow::fuse {

std::optional<fs::NodeId> NodeOf(fuse_req_t request, fuse_ino_t number) {
  std::optional<fs::NodeId> id = ServerOf(request).nodes.Find(number);
  if (!id) fuse_reply_err(request, ESTALE);
  return id;
}

struct stat StatOf(fs::NodeId id, const fs::Attributes& attributes) {
  struct stat result = {};
  result.st_ino = fs::InodeNumber(id);
  result.st_mode = fs::TypeBits(attributes.type) | attributes.mode;
  result.st_nlink = attributes.nlink;
  result.st_uid = attributes.uid;
  result.st_gid = attributes.gid;
  result.st_rdev = attributes.rdev;
  result.st_size = static_cast<off_t>(attributes.size);
  result.st_blocks = static_cast<blkcnt_t>(attributes.blocks);
  result.st_blksize = kPageSize;
  result.st_atim = attributes.atime;
  result.st_mtim = attributes.mtime;
  result.st_ctim = attributes.ctime;
  return result;
}

double AttributeTimeout(fs::NodeId id) {
  // Snapshots come and go in .snapshots without a request for it.
  return id.is_virtual() ? 0 : kEndless;
}

fuse_entry_param EntryOf(Server& server, fs::NodeId directory, const fs::Node& node) {
  fuse_entry_param entry = {};
  entry.ino = server.nodes.Refer(node.id);
  entry.attr = StatOf(node.id, node.attributes);
  entry.attr_timeout = AttributeTimeout(node.id);
  // The name of a snapshot is asked for each time: it goes away with its snapshot, with a rename of
  // the snapshot or of its file, and when another file of that name comes. Below it nothing
  // changes.
  const bool names_snapshot =
      !directory.in_snapshot() && (node.id.in_snapshot() || node.id.is_virtual());
  entry.entry_timeout = names_snapshot ? 0 : kEndless;
  return entry;
}

void ReplyEntry(fuse_req_t request, fs::NodeId directory, const absl::StatusOr<fs::Node>& node) {
  if (!node.ok()) return ReplyStatus(request, node.status());
  Server& server = ServerOf(request);
  const fuse_entry_param entry = EntryOf(server, directory, *node);
  // The caller may have been interrupted: then the kernel never sees the reference.
  if (fuse_reply_entry(request, &entry) != 0) server.nodes.Forget(entry.ino, 1);
}

absl::Status OpenInto(Server& server, uint64_t number, fs::NodeId id, fuse_file_info& info) {
  const int access = info.flags & O_ACCMODE;
  if (access != O_RDONLY && (id.in_snapshot() || id.is_virtual())) {
    return ErrnoStatus(EROFS, "a snapshot cannot be written");
  }
  absl::StatusOr<fs::FileHandle> handle = server.fs.OpenFile(id);
  if (!handle.ok()) return handle.status();
  const bool writer = access == O_RDWR;
  OpenFile* file = server.files.Add(std::make_unique<OpenFile>(*std::move(handle), number, writer));
  if (writer) server.nodes.AddWriter(number);
  info.fh = reinterpret_cast<uint64_t>(file);
  info.keep_cache = 1;
  // Everything that was written is with the server; there is nothing to flush.
  info.noflush = 1;
  return absl::OkStatus();
}

void CloseFile(Server& server, const fuse_file_info& info) {
  OpenFile& file = FileOf(info);
  const uint64_t number = file.number;
  const bool writer = file.writer;
  server.files.Close(&file);
  if (writer) server.nodes.RemoveWriter(number);
}

}  // namespace cow::fuse
