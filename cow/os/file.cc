#include "cow/os/file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "cow/base/status.h"
#include "cow/os/descriptor.h"

namespace cow::os {
namespace {

constexpr uint64_t kMaxOffset = std::numeric_limits<off_t>::max();

// Offsets reach the kernel as a signed type: what does not fit must fail here, not wrap.
bool FitsOffset(uint64_t offset, uint64_t length) {
  return offset <= kMaxOffset && length <= kMaxOffset - offset;
}

uint64_t TotalBytes(std::span<const iovec> buffers) {
  uint64_t total = 0;
  for (const iovec& buffer : buffers) total += buffer.iov_len;
  return total;
}

// Drops `bytes` from the front of buffers[first..]; returns the first buffer that is left.
size_t Advance(std::vector<iovec>& buffers, size_t first, size_t bytes) {
  while (first < buffers.size() && bytes >= buffers[first].iov_len) {
    bytes -= buffers[first].iov_len;
    ++first;
  }
  if (bytes > 0) {
    buffers[first].iov_base = static_cast<char*>(buffers[first].iov_base) + bytes;
    buffers[first].iov_len -= bytes;
  }
  return first;
}

template <typename Call>
auto RetryInterrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

class HostFile final : public File {
 public:
  enum class Kind { kRegular, kBlockDevice, kMemory };

  HostFile(Descriptor descriptor, std::string name, Kind kind)
      : descriptor_(std::move(descriptor)), name_(std::move(name)), kind_(kind) {}

  absl::Status Read(uint64_t offset, std::span<std::byte> buffer) const override;
  absl::Status Write(uint64_t offset, std::span<const std::byte> buffer) override;
  absl::Status WriteVector(uint64_t offset, std::span<const iovec> buffers) override;
  absl::Status ReadVector(uint64_t offset, std::span<const iovec> buffers) const override;
  absl::Status Flush() override;
  absl::Status Allocate(uint64_t offset, uint64_t length) override;
  absl::Status Punch(uint64_t offset, uint64_t length) override;
  absl::StatusOr<uint64_t> Size() const override;
  absl::Status Resize(uint64_t size) override;
  absl::StatusOr<uint64_t> HostFreeBytes() const override;
  absl::StatusOr<uint64_t> AllocatedBytes() const override;
  absl::StatusOr<bool> TryLock(uint64_t byte, LockKind kind) override;
  absl::Status Unlock(uint64_t byte) override;
  absl::StatusOr<std::optional<uint64_t>> FirstLocked(uint64_t begin, uint64_t end) const override;
  int descriptor() const override { return descriptor_.get(); }
  const std::string& name() const override { return name_; }

 private:
  absl::Status Error(int error, std::string_view operation) const {
    return ErrnoStatus(error, absl::StrCat(name_, ": ",
                                           absl::string_view(operation.data(),  //
                                                             operation.size())));
  }
  absl::Status RangeError(int error, std::string_view verb, uint64_t offset,
                          uint64_t length) const {
    return Error(error, absl::StrCat(absl::string_view(verb.data(), verb.size()), " of ", length,
                                     " bytes at ", offset));
  }
  absl::Status WriteZeros(uint64_t offset, uint64_t length);

  const Descriptor descriptor_;
  const std::string name_;
  const Kind kind_;
  // Held while the size is changed: growing is "look, then set", and must never shrink what
  // another thread grew in between.
  absl::Mutex resize_mutex_;
};

absl::Status HostFile::Read(uint64_t offset, std::span<std::byte> buffer) const {
  if (!FitsOffset(offset, buffer.size())) {
    return RangeError(EOVERFLOW, "read", offset, buffer.size());
  }
  size_t done = 0;
  while (done < buffer.size()) {
    const ssize_t n = RetryInterrupted([&] {
      return pread(descriptor_.get(), buffer.data() + done, buffer.size() - done,
                   static_cast<off_t>(offset + done));
    });
    if (n < 0) return RangeError(errno, "read", offset, buffer.size());
    if (n == 0) {
      std::memset(buffer.data() + done, 0, buffer.size() - done);
      break;
    }
    done += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::Status HostFile::Write(uint64_t offset, std::span<const std::byte> buffer) {
  if (!FitsOffset(offset, buffer.size())) {
    return RangeError(EFBIG, "write", offset, buffer.size());
  }
  size_t done = 0;
  while (done < buffer.size()) {
    const ssize_t n = RetryInterrupted([&] {
      return pwrite(descriptor_.get(), buffer.data() + done, buffer.size() - done,
                    static_cast<off_t>(offset + done));
    });
    if (n < 0) return RangeError(errno, "write", offset, buffer.size());
    // A write of more than nothing that moves nothing has no errno; the disk took no bytes.
    if (n == 0) return RangeError(ENOSPC, "write", offset, buffer.size());
    done += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::Status HostFile::WriteVector(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t total = TotalBytes(buffers);
  if (!FitsOffset(offset, total)) return RangeError(EFBIG, "write", offset, total);
  std::vector<iovec> left(buffers.begin(), buffers.end());
  size_t first = Advance(left, 0, 0);
  uint64_t done = 0;
  while (first < left.size()) {
    const int count = static_cast<int>(std::min<size_t>(left.size() - first, IOV_MAX));
    const ssize_t n = RetryInterrupted([&] {
      return pwritev(descriptor_.get(), left.data() + first, count,
                     static_cast<off_t>(offset + done));
    });
    if (n < 0) return RangeError(errno, "write", offset, total);
    if (n == 0) return RangeError(ENOSPC, "write", offset, total);
    done += static_cast<uint64_t>(n);
    first = Advance(left, first, static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status HostFile::ReadVector(uint64_t offset, std::span<const iovec> buffers) const {
  const uint64_t total = TotalBytes(buffers);
  if (!FitsOffset(offset, total)) return RangeError(EOVERFLOW, "read", offset, total);
  std::vector<iovec> left(buffers.begin(), buffers.end());
  size_t first = Advance(left, 0, 0);
  uint64_t done = 0;
  while (first < left.size()) {
    const int count = static_cast<int>(std::min<size_t>(left.size() - first, IOV_MAX));
    const ssize_t n = RetryInterrupted([&] {
      return preadv(descriptor_.get(), left.data() + first, count,
                    static_cast<off_t>(offset + done));
    });
    if (n < 0) return RangeError(errno, "read", offset, total);
    if (n == 0) {
      for (; first < left.size(); ++first) {
        std::memset(left[first].iov_base, 0, left[first].iov_len);
      }
      break;
    }
    done += static_cast<uint64_t>(n);
    first = Advance(left, first, static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status HostFile::Flush() {
  if (kind_ == Kind::kMemory) return absl::OkStatus();
  // Never retried: after a failure the kernel may have dropped the pages and forgotten the error.
  if (fdatasync(descriptor_.get()) != 0) {
    const int error = errno;
    // The kernel takes for written what it could not write: whoever reads next is to see the disk.
    posix_fadvise(descriptor_.get(), 0, 0, POSIX_FADV_DONTNEED);
    return Error(error, "flush");
  }
  return absl::OkStatus();
}

absl::Status HostFile::Allocate(uint64_t offset, uint64_t length) {
  if (length == 0) return absl::OkStatus();
  if (!FitsOffset(offset, length)) return RangeError(EFBIG, "allocation", offset, length);
  if (kind_ == Kind::kBlockDevice) {
    COW_ASSIGN_OR_RETURN(const uint64_t size, Size());
    if (offset + length <= size) return absl::OkStatus();
    return RangeError(ENOSPC, "allocation", offset, length);
  }
  absl::MutexLock lock(&resize_mutex_);
  const int result = RetryInterrupted([&] {
    return fallocate(descriptor_.get(), 0, static_cast<off_t>(offset), static_cast<off_t>(length));
  });
  if (result == 0) return absl::OkStatus();
  if (errno != EOPNOTSUPP && errno != ENOSYS) {
    return RangeError(errno, "allocation", offset, length);
  }
  COW_ASSIGN_OR_RETURN(const uint64_t size, Size());
  if (size >= offset + length) return absl::OkStatus();
  if (ftruncate(descriptor_.get(), static_cast<off_t>(offset + length)) != 0) {
    return RangeError(errno, "allocation", offset, length);
  }
  return absl::OkStatus();
}

absl::Status HostFile::Punch(uint64_t offset, uint64_t length) {
  if (length == 0) return absl::OkStatus();
  if (!FitsOffset(offset, length)) return RangeError(EFBIG, "punch", offset, length);
  const int result = RetryInterrupted([&] {
    return fallocate(descriptor_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     static_cast<off_t>(offset), static_cast<off_t>(length));
  });
  if (result == 0) return absl::OkStatus();
  if (errno != EOPNOTSUPP && errno != ENOSYS) return RangeError(errno, "punch", offset, length);
  return WriteZeros(offset, length);
}

// What a punch leaves to be read, on a host that cannot punch. Never grows the file.
absl::Status HostFile::WriteZeros(uint64_t offset, uint64_t length) {
  static constexpr std::array<std::byte, 65536> kZeros{};
  COW_ASSIGN_OR_RETURN(const uint64_t size, Size());
  const uint64_t end = std::min(size, offset + length);
  while (offset < end) {
    const uint64_t step = std::min<uint64_t>(kZeros.size(), end - offset);
    COW_RETURN_IF_ERROR(Write(offset, std::span(kZeros).first(step)));
    offset += step;
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> HostFile::Size() const {
  if (kind_ == Kind::kBlockDevice) {
    uint64_t size = 0;
    if (ioctl(descriptor_.get(), BLKGETSIZE64, &size) != 0) return Error(errno, "size of device");
    return size;
  }
  struct stat info;
  if (fstat(descriptor_.get(), &info) != 0) return Error(errno, "stat");
  return static_cast<uint64_t>(info.st_size);
}

absl::Status HostFile::Resize(uint64_t size) {
  const auto error = [&](int number) {
    return Error(number, absl::StrCat("resize to ", size, " bytes"));
  };
  if (size > kMaxOffset) return error(EFBIG);
  if (kind_ == Kind::kBlockDevice) {
    // A device has the size it has; a smaller volume in it is fine.
    COW_ASSIGN_OR_RETURN(const uint64_t device, Size());
    return size <= device ? absl::OkStatus() : error(ENOSPC);
  }
  absl::MutexLock lock(&resize_mutex_);
  const int result =
      RetryInterrupted([&] { return ftruncate(descriptor_.get(), static_cast<off_t>(size)); });
  return result == 0 ? absl::OkStatus() : error(errno);
}

absl::StatusOr<uint64_t> HostFile::HostFreeBytes() const {
  if (kind_ == Kind::kBlockDevice) return uint64_t{0};
  struct statvfs info;
  if (fstatvfs(descriptor_.get(), &info) != 0) return Error(errno, "statvfs");
  if (info.f_blocks > 0) return info.f_bavail * info.f_frsize;
  // A file in memory is bounded by the memory that is free.
  return static_cast<uint64_t>(sysconf(_SC_AVPHYS_PAGES)) *
         static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

absl::StatusOr<uint64_t> HostFile::AllocatedBytes() const {
  if (kind_ == Kind::kBlockDevice) return Size();
  struct stat info;
  if (fstat(descriptor_.get(), &info) != 0) return Error(errno, "stat");
  return static_cast<uint64_t>(info.st_blocks) * 512;
}

struct flock LockRange(short type, uint64_t begin, uint64_t length) {
  struct flock range {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(begin);
  range.l_len = static_cast<off_t>(length);
  return range;
}

absl::StatusOr<bool> HostFile::TryLock(uint64_t byte, LockKind kind) {
  const auto error = [&](int number) { return Error(number, absl::StrCat("lock of byte ", byte)); };
  if (!FitsOffset(byte, 1)) return error(EOVERFLOW);
  struct flock range = LockRange(kind == LockKind::kShared ? F_RDLCK : F_WRLCK, byte, 1);
  const int result =
      RetryInterrupted([&] { return fcntl(descriptor_.get(), F_OFD_SETLK, &range); });
  if (result == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  return error(errno);
}

absl::Status HostFile::Unlock(uint64_t byte) {
  const auto error = [&](int number) {
    return Error(number, absl::StrCat("unlock of byte ", byte));
  };
  if (!FitsOffset(byte, 1)) return error(EOVERFLOW);
  struct flock range = LockRange(F_UNLCK, byte, 1);
  const int result =
      RetryInterrupted([&] { return fcntl(descriptor_.get(), F_OFD_SETLK, &range); });
  return result == 0 ? absl::OkStatus() : error(errno);
}

absl::StatusOr<std::optional<uint64_t>> HostFile::FirstLocked(uint64_t begin, uint64_t end) const {
  end = std::min(end, kMaxOffset);
  std::optional<uint64_t> first;
  // The kernel names any one lock that conflicts, not the lowest: ask again below what it named
  // until nothing is there.
  while (begin < end) {
    struct flock range = LockRange(F_WRLCK, begin, end - begin);
    if (fcntl(descriptor_.get(), F_OFD_GETLK, &range) != 0) {
      return Error(errno, absl::StrCat("query of locks in [", begin, ", ", end, ")"));
    }
    if (range.l_type == F_UNLCK) break;
    first = std::max(begin, static_cast<uint64_t>(range.l_start));
    end = *first;
  }
  return first;
}

// A new name is on the disk only once its directory is.
absl::Status SyncDirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "."
                                : slash == 0               ? "/"
                                                           : path.substr(0, slash);
  const Descriptor descriptor(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!descriptor.valid()) return ErrnoStatus(errno, absl::StrCat(directory, ": open"));
  // Some hosts cannot flush a directory and say EINVAL; there is nothing more to be done there.
  if (fsync(descriptor.get()) != 0 && errno != EINVAL) {
    return ErrnoStatus(errno, absl::StrCat(directory, ": flush"));
  }
  return absl::OkStatus();
}

absl::StatusOr<HostFile::Kind> KindOf(int descriptor, const std::string& path) {
  struct stat info;
  if (fstat(descriptor, &info) != 0) return ErrnoStatus(errno, absl::StrCat(path, ": stat"));
  if (S_ISREG(info.st_mode)) return HostFile::Kind::kRegular;
  if (S_ISBLK(info.st_mode)) return HostFile::Kind::kBlockDevice;
  const int error = S_ISDIR(info.st_mode) ? EISDIR : EINVAL;
  return MakeError(absl::StatusCode::kInvalidArgument, error,
                   absl::StrCat(path, ": neither a regular file nor a block device"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<File>> OpenFile(const std::string& path, OpenMode mode) {
  // O_NONBLOCK so that a fifo given by mistake is refused below and not waited for.
  int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  flags |= mode == OpenMode::kRead ? O_RDONLY : O_RDWR;
  if (mode == OpenMode::kCreate) flags |= O_CREAT | O_EXCL;
  Descriptor descriptor(RetryInterrupted([&] { return open(path.c_str(), flags, 0600); }));
  if (!descriptor.valid()) {
    return ErrnoStatus(errno,
                       absl::StrCat(path, mode == OpenMode::kCreate ? ": create" : ": open"));
  }
  COW_ASSIGN_OR_RETURN(const HostFile::Kind kind, KindOf(descriptor.get(), path));
  if (fcntl(descriptor.get(), F_SETFL, 0) != 0) {
    return ErrnoStatus(errno, absl::StrCat(path, ": open"));
  }
  if (mode == OpenMode::kCreate) COW_RETURN_IF_ERROR(SyncDirectoryOf(path));
  return std::make_unique<HostFile>(std::move(descriptor), path, kind);
}

absl::StatusOr<std::unique_ptr<File>> OpenMemoryFile(const std::string& name) {
  Descriptor descriptor(memfd_create(name.c_str(), MFD_CLOEXEC));
  if (!descriptor.valid()) return ErrnoStatus(errno, absl::StrCat(name, ": memfd_create"));
  return std::make_unique<HostFile>(std::move(descriptor), name, HostFile::Kind::kMemory);
}

}  // namespace cow::os
