#include "fuse/kernel.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <functional>

namespace cow::fuse {
namespace {

// How the kernel's FUSE client names an inode to open_by_handle_at: node number and generation.
constexpr int kInodeAndGeneration = 0x81;

// A descriptor of a node that the kernel has in its cache; -1 where that cannot be had.
int OpenNode(int mount, uint64_t node, int flags) {
  alignas(file_handle) char bytes[sizeof(file_handle) + 3 * sizeof(uint32_t)] = {};
  const uint32_t words[3] = {static_cast<uint32_t>(node >> 32), static_cast<uint32_t>(node), 0};
  auto* handle = reinterpret_cast<file_handle*>(bytes);
  handle->handle_bytes = sizeof(words);
  handle->handle_type = kInodeAndGeneration;
  std::memcpy(bytes + sizeof(file_handle), words, sizeof(words));
  return open_by_handle_at(mount, handle, flags | O_CLOEXEC);
}

// Since 6.16 the pages that the kernel writes out stay marked until the server has answered, so
// that sync_file_range waits for that; before, only fsync does.
bool WaitsForServer() {
  utsname system;
  int major_version = 0;
  int minor_version = 0;
  if (uname(&system) != 0 || sscanf(system.release, "%d.%d", &major_version, &minor_version) != 2) {
    return false;
  }
  return major_version > 6 || (major_version == 6 && minor_version >= 16);
}

bool WriteOutFile(int file) {
  static const bool waits = WaitsForServer();
  if (!waits) return fsync(file) == 0;
  return sync_file_range(
             file, 0, 0,
             SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) == 0;
}

// Runs `body` in a thread that does not hold the device open, and waits for it. The kernel calls in
// `body` wait for the server in a way that kill -9 does not end; only closing the device does. That
// happens when the last thread that has it open is gone: so this one must not be among them.
void RunApart(int device, const std::function<void()>& body) {
  struct Work {
    int device;
    const std::function<void()>& body;
  } work = {device, body};
  const auto start = +[](void* argument) -> void* {
    const Work& todo = *static_cast<Work*>(argument);
    if (unshare(CLONE_FILES) == 0) close(todo.device);
    todo.body();
    return nullptr;
  };
  pthread_t thread;
  if (pthread_create(&thread, nullptr, start, &work) != 0) return;
  pthread_join(thread, nullptr);
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

void Kernel::WriteOutOpened(const std::vector<uint64_t>& nodes, std::vector<uint64_t>& left) {
  {
    absl::MutexLock lock(&lock_);
    writing_out_.insert(gettid());
  }
  const int mount = OpenMount();
  for (const uint64_t node : nodes) {
    const int file = mount < 0 ? -1 : OpenNode(mount, node, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (file < 0 || !WriteOutFile(file)) left.push_back(node);
    if (file >= 0) close(file);
  }
  if (mount >= 0) close(mount);
  absl::MutexLock lock(&lock_);
  writing_out_.erase(gettid());
}

void Kernel::WriteOut(const std::vector<uint64_t>& nodes) {
  if (nodes.empty()) return;
  std::vector<uint64_t> left = nodes;
  RunApart(fuse_session_fd(session_), [&] {
    left.clear();
    WriteOutOpened(nodes, left);
  });
  for (const uint64_t node : left) DropContent(node);
}

void Kernel::WriteOutUnderLock(uint64_t node) {
  // fsync would wait for the lock.
  if (WaitsForServer()) {
    WriteOut({node});
  } else {
    DropContent(node);
  }
}

void Kernel::DropContent(uint64_t node) { fuse_lowlevel_notify_inval_inode(session_, node, 0, 0); }

void Kernel::FetchAttributes(const std::vector<uint64_t>& nodes) {
  if (nodes.empty()) return;
  RunApart(fuse_session_fd(session_), [&] {
    const int mount = OpenMount();
    if (mount < 0) return;
    for (const uint64_t node : nodes) {
      const int file = OpenNode(mount, node, O_PATH);
      if (file < 0) continue;
      struct statx attributes;
      statx(file, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &attributes);
      close(file);
    }
    close(mount);
  });
}

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
