#include "fuse/volume.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "fuse/mounts.h"

namespace cow::fuse {
namespace {

constexpr auto kPatience = std::chrono::seconds(10);
constexpr auto kPause = std::chrono::milliseconds(10);

}  // namespace

absl::StatusOr<std::unique_ptr<fs::FileSystem>> OpenVolume(const Options& options) {
  const std::string& path = options.volume;
  struct stat info;
  const bool there = stat(path.c_str(), &info) == 0;
  if (!there && errno == ENOENT && options.create) {
    return fs::FileSystem::Create(path, {.uid = geteuid(), .gid = getegid()}, {});
  }
  if (!there) {
    const int error = errno;
    const std::string what =
        error == ENOENT ? absl::StrCat(path, " (--create makes a volume)") : path;
    return ErrnoStatus(error, what);
  }
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    auto fs = fs::FileSystem::Open(path, {.store = {.read_only = options.read_only}});
    if (fs.ok() || ErrnoOf(fs.status()) != EBUSY) return fs;
    if (const auto mountpoint = MountpointOf(path)) {
      return WithErrno(Annotate(fs.status(), absl::StrCat(path, " is mounted at ", *mountpoint)),
                       EBUSY);
    }
    if (std::chrono::steady_clock::now() > deadline) return fs;
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace cow::fuse
