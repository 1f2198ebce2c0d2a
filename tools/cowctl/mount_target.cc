#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/control/client.h"
#include "tools/cowctl/mountinfo.h"
#include "tools/cowctl/path.h"
#include "tools/cowctl/target.h"

namespace cow::ctl {
namespace {

using control::Command;
using control::Reply;
using control::Request;

constexpr auto kPollInterval = std::chrono::milliseconds(50);

class MountTarget : public Target {
 public:
  MountTarget(int descriptor, Mount mount, uint64_t device)
      : descriptor_(descriptor), mount_(std::move(mount)), device_(device) {}
  ~MountTarget() override { close(descriptor_); }
  MountTarget(const MountTarget&) = delete;
  MountTarget& operator=(const MountTarget&) = delete;

  absl::StatusOr<Reply> Execute(const Request& request) override {
    return control::Call(descriptor_, request);
  }

  absl::StatusOr<CheckOutcome> Check(
      uint64_t rate, const std::function<void(uint64_t, uint64_t)>& progress) override {
    COW_ASSIGN_OR_RETURN(Reply reply, Execute({.command = Command::kStartCheck, .rate = rate}));
    Request poll{.command = Command::kPollCheck, .check_id = reply.check.id};
    CheckOutcome outcome;
    for (;;) {
      COW_ASSIGN_OR_RETURN(reply, Execute(poll));
      progress(reply.check.done, reply.check.total);
      if (!reply.check.finished) {
        std::this_thread::sleep_for(kPollInterval);
        continue;
      }
      outcome.frames = reply.check.done;
      for (control::Damage& damage : reply.damages) outcome.damages.push_back(std::move(damage));
      if (reply.next == 0) return outcome;
      poll.cursor = reply.next;
    }
  }

  absl::StatusOr<control::Defragmented> Defragment(
      const std::string& path, bool unshare,
      const std::function<void(uint64_t, uint64_t)>& progress) override {
    Request request{.command = Command::kDefragment, .path = path, .unshare = unshare};
    control::Defragmented all;
    do {
      COW_ASSIGN_OR_RETURN(const Reply reply, Execute(request));
      const control::Defragmented& step = reply.defragmented;
      all.extents_before += step.extents_before;
      all.extents_after += step.extents_after;
      all.moved_bytes += step.moved_bytes;
      all.shared_bytes += step.shared_bytes;
      all.file_bytes = step.file_bytes;
      request.cursor = reply.next;
      progress(reply.next, step.file_bytes);
    } while (request.cursor != 0);
    return all;
  }

  absl::StatusOr<std::string> Inside(std::string_view argument) const override {
    COW_ASSIGN_OR_RETURN(const HostPath path, Canonical(argument));
    struct stat attributes = {};
    if (stat(path.existing.c_str(), &attributes) != 0) return ErrnoStatus(errno, path.existing);
    if (attributes.st_dev != device_) {
      return MakeError(absl::StatusCode::kInvalidArgument, EXDEV,
                       absl::StrCat(std::string(argument), ": not in the same volume"));
    }
    COW_ASSIGN_OR_RETURN(const Mount mount, MountOf(path.existing));
    return InFilesystem(mount, path.whole);
  }

 protected:
  std::string FullNameOf(std::string_view path) const override { return InMount(mount_, path); }

 private:
  const int descriptor_;
  const Mount mount_;
  const uint64_t device_;
};

// Any file of the mount will do for the requests. Directories first, since opening a file may have
// effects of its own.
int OpenSomething(const std::string& path, const Mount& mount) {
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  int descriptor = open(path.c_str(), kFlags | O_DIRECTORY);
  if (descriptor < 0 && path != mount.point) {
    descriptor = open(path.substr(0, path.rfind('/') + 1).c_str(), kFlags | O_DIRECTORY);
  }
  if (descriptor < 0) descriptor = open(mount.point.c_str(), kFlags | O_DIRECTORY);
  struct stat attributes = {};
  if (descriptor < 0 && lstat(path.c_str(), &attributes) == 0 && S_ISREG(attributes.st_mode)) {
    descriptor = open(path.c_str(), kFlags | O_NOFOLLOW);
  }
  return descriptor;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Target>> OpenMount(const std::string& path) {
  COW_ASSIGN_OR_RETURN(Mount mount, MountOf(path));
  const int descriptor = OpenSomething(path, mount);
  if (descriptor < 0) return ErrnoStatus(errno, "open");
  struct stat attributes = {};
  const bool known = fstat(descriptor, &attributes) == 0;
  auto target = std::make_unique<MountTarget>(descriptor, std::move(mount), attributes.st_dev);
  if (!known) return ErrnoStatus(errno, "stat");
  COW_RETURN_IF_ERROR(target->Execute(Request{.command = Command::kPing}).status());
  return target;
}

}  // namespace cow::ctl
