#include "cow/move/host.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "cow/base/status.h"

namespace cow::move {
namespace {

// `result` of a system call about `path`.
absl::Status StatusOf(int result, const std::string& path) {
  return result == 0 ? absl::OkStatus() : ErrnoStatus(errno, path);
}

// As the kernel encodes it in 32 bits.
dev_t DeviceOf(uint32_t rdev) {
  return makedev((rdev & 0xfff00) >> 8, (rdev & 0xff) | ((rdev >> 12) & 0xfff00));
}

bool MayGiveAway() { return geteuid() == 0; }

}  // namespace

bool HostIsOut(const absl::Status& status) {
  switch (ErrnoOf(status)) {
    case ENOSPC:
    case EDQUOT:
    case EIO:
    case EROFS:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return true;
    default:
      return false;
  }
}

bool NameIsRefused(const absl::Status& status) {
  switch (ErrnoOf(status)) {
    case ENAMETOOLONG:
    case EEXIST:
    case EINVAL:
    case EILSEQ:
    case ENOTDIR:
      return true;
    default:
      return false;
  }
}

absl::StatusOr<NewFile> NewFile::Create(const std::string& path) {
  os::Descriptor descriptor(
      open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!descriptor.valid()) return ErrnoStatus(errno, path);
  return NewFile(std::move(descriptor));
}

absl::Status NewFile::Resize(uint64_t size) {
  return StatusOf(ftruncate(descriptor_.get(), static_cast<off_t>(size)), "resize");
}

absl::Status NewFile::Write(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written =
        pwrite(descriptor_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(errno, "write");
    if (written == 0) return ErrnoStatus(EIO, "write");
    offset += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status MakeDirectory(const std::string& path, mode_t mode) {
  return StatusOf(mkdir(path.c_str(), mode), path);
}

absl::Status MakeLink(const std::string& target, const std::string& path) {
  return StatusOf(symlink(target.c_str(), path.c_str()), path);
}

absl::Status MakeHardLink(const std::string& existing, const std::string& path) {
  return StatusOf(link(existing.c_str(), path.c_str()), path);
}

absl::Status MakeSpecial(const fs::InodeRecord& record, const std::string& path) {
  return StatusOf(mknod(path.c_str(), fs::TypeBits(record.type) | 0600, DeviceOf(record.rdev)),
                  path);
}

absl::Status SetXattr(const std::string& path, const std::string& name, std::string_view value) {
  return StatusOf(lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0), name);
}

absl::Status SetOwner(const fs::InodeRecord& record, const std::string& path) {
  if (!MayGiveAway()) return absl::OkStatus();
  return StatusOf(lchown(path.c_str(), record.uid, record.gid), "change owner");
}

absl::Status SetModeAndTimes(const fs::InodeRecord& record, const std::string& path) {
  mode_t mode = record.mode;
  // A program that runs as its owner would now run as somebody else.
  if (!MayGiveAway()) mode &= ~static_cast<mode_t>(S_ISUID | S_ISGID);
  // Links have no mode of their own.
  if (record.type != fs::FileType::kSymlink) {
    COW_RETURN_IF_ERROR(StatusOf(chmod(path.c_str(), mode), "change mode"));
  }
  const std::array<timespec, 2> times = {record.atime, record.mtime};
  return StatusOf(utimensat(AT_FDCWD, path.c_str(), times.data(), AT_SYMLINK_NOFOLLOW),
                  "change times");
}

bool IsFree(const std::string& path) {
  struct stat found;
  return lstat(path.c_str(), &found) != 0 && errno == ENOENT;
}

absl::Status MakeEmptyDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0777) == 0) return absl::OkStatus();
  if (errno != EEXIST) return ErrnoStatus(errno, path);
  DIR* directory = opendir(path.c_str());
  if (directory == nullptr) return ErrnoStatus(errno, path);
  bool empty = true;
  while (const dirent* entry = readdir(directory)) {
    empty =
        empty && (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0);
  }
  closedir(directory);
  return empty ? absl::OkStatus() : ErrnoStatus(ENOTEMPTY, path);
}

}  // namespace cow::move
