#include "fuse/kernel.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "absl/cleanup/cleanup.h"

namespace cow::fuse {
namespace {

// How the kernel's FUSE client names an inode to open_by_handle_at: node number and generation.
constexpr int kInodeAndGeneration = 0x81;

// A descriptor of a node that the kernel has in its cache; -1 where that cannot be had.
int OpenNode(int mount, uint64_t node) {
  alignas(file_handle) char bytes[sizeof(file_handle) + 3 * sizeof(uint32_t)] = {};
  const uint32_t words[3] = {static_cast<uint32_t>(node >> 32), static_cast<uint32_t>(node), 0};
  auto* handle = reinterpret_cast<file_handle*>(bytes);
  handle->handle_bytes = sizeof(words);
  handle->handle_type = kInodeAndGeneration;
  std::memcpy(bytes + sizeof(file_handle), words, sizeof(words));
  return open_by_handle_at(mount, handle, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

}  // namespace

int Kernel::OpenMount() const {
  const int mount = open(mountpoint_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct stat info;
  // Something else may be mounted there by now.
  if (mount >= 0 && (fstat(mount, &info) != 0 || info.st_dev != device_)) {
    close(mount);
    return -1;
  }
  return mount;
}

void Kernel::WriteOut(const std::vector<uint64_t>& nodes) {
  if (nodes.empty()) return;
  {
    absl::MutexLock lock(&lock_);
    writing_out_.insert(gettid());
  }
  const int mount = OpenMount();
  absl::Cleanup done = [this, mount] {
    if (mount >= 0) close(mount);
    absl::MutexLock lock(&lock_);
    writing_out_.erase(gettid());
  };
  for (const uint64_t node : nodes) {
    const int file = mount < 0 ? -1 : OpenNode(mount, node);
    const bool written = file >= 0 && fsync(file) == 0;
    if (file >= 0) close(file);
    if (!written) WriteOutAndEvict(node);
  }
}

void Kernel::WriteOutAndEvict(uint64_t node) {
  fuse_lowlevel_notify_inval_inode(session_, node, 0, 0);
}

void Kernel::DropContent(uint64_t node) { fuse_lowlevel_notify_inval_inode(session_, node, 0, 0); }

void Kernel::DropAttributes(uint64_t node) {
  fuse_lowlevel_notify_inval_inode(session_, node, -1, 0);
}

void Kernel::DropEntry(uint64_t directory, std::string_view name) {
  const std::string text(name);
  fuse_lowlevel_notify_inval_entry(session_, directory, text.c_str(), text.size());
}

bool Kernel::IsWritingOut(pid_t caller) const {
  absl::ReaderMutexLock lock(&lock_);
  return writing_out_.contains(caller);
}

}  // namespace cow::fuse
