// The content of files.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <span>

#include "cow/base/status.h"
#include "fuse/operations.h"

namespace cow::fuse {
namespace {

// What a reply to copy_file_range can say: whole pages that fit 32 bits.
constexpr size_t kMaxCopy = 0xfffff000;

void Open(fuse_req_t request, fuse_ino_t number, fuse_file_info* info) {
  const std::optional<fs::NodeId> id = NodeOf(request, number);
  if (!id) return;
  Server& server = ServerOf(request);
  if (const absl::Status opened = OpenInto(server, number, *id, *info); !opened.ok()) {
    return ReplyStatus(request, opened);
  }
  if (fuse_reply_open(request, info) != 0) CloseFile(server, *info);
}

void Release(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  CloseFile(ServerOf(request), *info);
  fuse_reply_err(request, 0);
}

void Read(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
  // One a thread, grown to the largest read there was.
  thread_local std::unique_ptr<std::byte[]> buffer;
  thread_local size_t room = 0;
  if (room < size) {
    buffer.reset(new std::byte[size]);
    room = size;
  }
  const absl::StatusOr<size_t> read =
      FileOf(*info).handle.Read(static_cast<uint64_t>(offset), std::span(buffer.get(), size));
  if (!read.ok()) return ReplyStatus(request, read.status());
  fuse_reply_buf(request, reinterpret_cast<const char*>(buffer.get()), *read);
}

// Before the caller changes the content of a file; answers itself where that fails.
bool MayChange(fuse_req_t request, OpenFile& file) {
  const absl::Status dropped =
      ServerOf(request).privileges.DropForWrite(file, fuse_req_ctx(request)->uid);
  if (!dropped.ok()) ReplyStatus(request, dropped);
  return dropped.ok();
}

// What comes from a shared map was stored before; there is no caller.
absl::Status WritePage(Server& server, OpenFile& file, uint64_t offset,
                       std::span<const std::byte> bytes) {
  const std::optional<fs::NodeId> id = server.nodes.Find(file.number);
  // A rollback does not reach what was removed before it.
  if (!id) return file.handle.Write(offset, bytes);
  if (!server.rollbacks.Enter(*id)) return absl::OkStatus();
  const absl::Status written = file.handle.Write(offset, bytes);
  server.rollbacks.Leave(*id);
  return written;
}

// The end is where the server has it: the kernel may go by a size of before a rollback. Then what
// it has put into its cache, at a place of its own, goes too.
void AppendAndReply(fuse_req_t request, fuse_ino_t number, uint64_t offset,
                    std::span<const std::byte> bytes, OpenFile& file) {
  Server& server = ServerOf(request);
  const absl::StatusOr<uint64_t> end = file.handle.Append(bytes);
  if (!end.ok()) return ReplyStatus(request, end.status());
  fuse_reply_write(request, bytes.size());
  if (*end == offset) return;
  server.tasks.Run([&server, number] {
    server.kernel.DropContent(number);
    server.kernel.FetchAttributes({number});
  });
}

void Write(fuse_req_t request, fuse_ino_t number, const char* data, size_t size, off_t offset,
           fuse_file_info* info) {
  OpenFile& file = FileOf(*info);
  const auto begin = static_cast<uint64_t>(offset);
  const std::span bytes = std::as_bytes(std::span(data, size));
  absl::Status written;
  if (info->writepage != 0) {
    written = WritePage(ServerOf(request), file, begin, bytes);
  } else {
    if (!MayChange(request, file)) return;
    if ((info->flags & O_APPEND) != 0) {
      return AppendAndReply(request, number, begin, bytes, file);
    }
    written = file.handle.Write(begin, bytes);
  }
  if (!written.ok()) return ReplyStatus(request, written);
  fuse_reply_write(request, size);
}

void Sync(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) {
  Server& server = ServerOf(request);
  // What the barrier of a snapshot wants written out becomes durable with that snapshot.
  if (server.kernel.IsWritingOut(fuse_req_ctx(request)->pid)) {
    fuse_reply_err(request, 0);
    return;
  }
  ReplyStatus(request, server.fs.Sync());
}

void Allocate(fuse_req_t request, fuse_ino_t, int mode, off_t offset, off_t length,
              fuse_file_info* info) {
  if (!MayChange(request, FileOf(*info))) return;
  fs::FileHandle& file = FileOf(*info).handle;
  const auto begin = static_cast<uint64_t>(offset);
  const auto size = static_cast<uint64_t>(length);
  const bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  switch (mode & ~FALLOC_FL_KEEP_SIZE) {
    case 0:
      return ReplyStatus(request, file.Allocate(begin, size, keep_size));
    case FALLOC_FL_PUNCH_HOLE:
      return ReplyStatus(request, file.Punch(begin, size));
    case FALLOC_FL_ZERO_RANGE:
      return ReplyStatus(request, file.ZeroRange(begin, size, keep_size));
    default:
      fuse_reply_err(request, EOPNOTSUPP);
  }
}

void ReplySeek(fuse_req_t request, const fs::FileHandle& file, uint64_t offset, bool data) {
  const absl::StatusOr<uint64_t> found = data ? file.SeekData(offset) : file.SeekHole(offset);
  if (!found.ok()) return ReplyStatus(request, found.status());
  fuse_reply_lseek(request, static_cast<off_t>(*found));
}

void Seek(fuse_req_t request, fuse_ino_t number, off_t offset, int whence, fuse_file_info* info) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) {
    fuse_reply_err(request, EINVAL);
    return;
  }
  Server& server = ServerOf(request);
  const fs::FileHandle& file = FileOf(*info).handle;
  const auto begin = static_cast<uint64_t>(offset);
  const bool data = whence == SEEK_DATA;
  // A store to a shared map that is not written out yet is data too.
  if (server.nodes.HasWriter(number) && server.tasks.Run([=, &server, &file] {
        server.kernel.WriteOutUnderLock(number);
        ReplySeek(request, file, begin, data);
      })) {
    return;
  }
  ReplySeek(request, file, begin, data);
}

void Copy(fuse_req_t request, fuse_ino_t, off_t source_offset, fuse_file_info* source, fuse_ino_t,
          off_t target_offset, fuse_file_info* target, size_t length, int flags) {
  if (flags != 0) {
    fuse_reply_err(request, EINVAL);
    return;
  }
  if (!MayChange(request, FileOf(*target))) return;
  const absl::StatusOr<uint64_t> copied = ServerOf(request).fs.CopyRange(
      FileOf(*source).handle, static_cast<uint64_t>(source_offset), FileOf(*target).handle,
      static_cast<uint64_t>(target_offset), std::min(length, kMaxCopy));
  if (!copied.ok()) return ReplyStatus(request, copied.status());
  fuse_reply_write(request, *copied);
}

}  // namespace

void AddFileOperations(fuse_lowlevel_ops& operations) {
  operations.open = Open;
  operations.release = Release;
  operations.read = Read;
  operations.write = Write;
  operations.fsync = Sync;
  operations.fallocate = Allocate;
  operations.lseek = Seek;
  operations.copy_file_range = Copy;
}

}  // namespace cow::fuse
