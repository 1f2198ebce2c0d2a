#include "tests/support/small_filesystem.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>

namespace cow::test {
namespace {

// A view of the mounts that ends with this process; false on an error (errno).
bool MakePrivateMounts() {
  if (unshare(CLONE_NEWNS) != 0) return false;
  if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
  // The copy would keep the mounts of others in use after these took them away.
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string word, mountpoint;
    for (int i = 0; i < 5; ++i) words >> mountpoint;
    while (words >> word && word != "-") {
    }
    words >> word;
    if (word.starts_with("fuse")) umount2(mountpoint.c_str(), MNT_DETACH);
  }
  return true;
}

}  // namespace

std::string WhyNoFilesystem(const std::string& type) {
  if (geteuid() != 0) return "mounting needs root";
  if (access("/dev/loop-control", R_OK | W_OK) != 0) return "no /dev/loop-control";
  const std::string mkfs = "mkfs." + type;
  if (std::system((mkfs + " -V >/dev/null 2>&1").c_str()) != 0) return "no " + mkfs;
  const std::string known = "grep -qw " + type + " /proc/filesystems || modprobe -q " + type;
  if (std::system((known + " 2>/dev/null").c_str()) != 0) return "no " + type;
  return "";
}

std::string Content(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::string content(size, '\0');
  for (char& c : content) c = static_cast<char>(random());
  return content;
}

SmallFilesystem::SmallFilesystem(uint64_t bytes, const std::string& type)
    : mountpoint_(directory_ / "host") {
  static const bool alone = MakePrivateMounts();
  if (!alone) {
    ADD_FAILURE() << "no mounts of its own: " << std::strerror(errno);
    return;
  }
  mkdir(mountpoint_.c_str(), 0755);
  // The image is in memory, so that flushes cost little.
  if (mount("none", mountpoint_.c_str(), "tmpfs", 0, nullptr) != 0) {
    ADD_FAILURE() << "no tmpfs: " << std::strerror(errno);
    return;
  }
  const std::string image = mountpoint_ + "/image";
  std::ofstream(image).flush();
  // No blocks only for root: who tests is root.
  const std::string make = "mkfs." + type + " -q " + (type == "ext4" ? "-m 0 '" : "'") + image +
                           "' && mount -t " + type + " -o loop '" + image + "' '" + mountpoint_ +
                           "'";
  const bool made =
      truncate(image.c_str(), static_cast<off_t>(bytes)) == 0 && std::system(make.c_str()) == 0;
  EXPECT_TRUE(made) << make;
}

// Where something is still open in it, it goes when that is closed.
SmallFilesystem::~SmallFilesystem() {
  while (umount2(mountpoint_.c_str(), MNT_DETACH) == 0) {
  }
}

std::string SmallFilesystem::operator/(std::string_view name) const {
  return mountpoint_ + "/" + std::string(name);
}

uint64_t SmallFilesystem::FreeBytes() const {
  struct statvfs info = {};
  EXPECT_EQ(statvfs(mountpoint_.c_str(), &info), 0) << std::strerror(errno);
  return info.f_bavail * info.f_frsize;
}

void SmallFilesystem::Fill(std::string_view name, uint64_t left) {
  constexpr off_t kBlock = 4096;
  const std::string path = *this / name;
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  ASSERT_GE(file, 0) << path << ": " << std::strerror(errno);
  off_t end = 0;
  for (off_t step = 4 << 20; step >= kBlock; step /= 2) {
    while (fallocate(file, 0, end, step) == 0) end += step;
    EXPECT_EQ(errno, ENOSPC);
  }
  EXPECT_EQ(ftruncate(file, end - static_cast<off_t>(left)), 0) << std::strerror(errno);
  fsync(file);
  close(file);
}

}  // namespace cow::test
