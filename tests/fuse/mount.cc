#include "tests/fuse/mount.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/control/client.h"

namespace cow::test {
namespace {

constexpr auto kPause = std::chrono::milliseconds(2);

pid_t Spawn(const std::vector<std::string>& command, int output) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child != 0) return child;
  // Does not outlive the test.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  if (output >= 0) {
    dup2(output, 1);
    dup2(output, 2);
  }
  execvp(arguments[0], arguments.data());
  _exit(127);
}

int WaitFor(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return -1;
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

std::string WhyNoFuse() {
  if (geteuid() != 0) return "mounting needs root";
  const int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (device < 0) return absl::StrCat("/dev/fuse: ", strerror(errno));
  close(device);
  return "";
}

Outcome RunProgram(const std::vector<std::string>& command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {};
  const pid_t child = Spawn(command, ends[1]);
  close(ends[1]);
  Outcome outcome;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof(buffer))) > 0;)
    outcome.output.append(buffer, n);
  close(ends[0]);
  outcome.status = WaitFor(child);
  return outcome;
}

Outcome Shell(const std::string& line, const std::string& directory) {
  return RunProgram({"bash", "-c", absl::StrCat("cd '", directory, "' && { ", line, "\n}")});
}

Mount::Mount(const std::string& volume)
    : volume_(volume.empty() ? directory_ / "volume" : volume), mountpoint_(directory_ / "mnt") {
  // Other users are part of what is tested.
  chmod(directory_.path().c_str(), 0755);
  mkdir(mountpoint_.c_str(), 0755);
}

Mount::~Mount() {
  Clear();
  if (pid_ > 0) End(SIGKILL);
  Clear();
}

bool Mount::Start(const std::vector<std::string>& options) {
  struct stat before;
  struct stat now;
  if (stat(mountpoint_.c_str(), &before) != 0) return false;
  std::vector<std::string> command = {COWFS, "--create", volume(), mountpoint_, "-f"};
  command.insert(command.end(), options.begin(), options.end());
  pid_ = Spawn(command, -1);
  if (pid_ < 0) return false;
  while (stat(mountpoint_.c_str(), &now) != 0 || now.st_dev == before.st_dev) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      return false;
    }
    std::this_thread::sleep_for(kPause);
  }
  return true;
}

int Mount::Wait() { return WaitFor(std::exchange(pid_, -1)); }

int Mount::Unmount() {
  // Someone (an indexer, a finished child) may hold it for a moment.
  for (int i = 0; umount2(mountpoint_.c_str(), 0) != 0; ++i) {
    if (errno != EBUSY || i == 1000) return -errno;
    std::this_thread::sleep_for(kPause);
  }
  return Wait();
}

int Mount::End(int signal) {
  kill(pid_, signal);
  return Wait();
}

void Mount::Clear() {
  while (umount2(mountpoint_.c_str(), MNT_FORCE | MNT_DETACH) == 0) {
  }
}

bool Mount::Restart() {
  End(SIGKILL);
  Clear();
  return Start();
}

absl::StatusOr<control::Reply> Mount::Call(const control::Request& request) const {
  const Descriptor root(mountpoint_, O_RDONLY | O_DIRECTORY);
  if (root < 0) return ErrnoStatus(errno, mountpoint_);
  return control::Call(root, request);
}

absl::Status Mount::TakeSnapshot(const std::string& path, const std::string& name) const {
  return Call({.command = control::Command::kSnapshot, .path = path, .name = name}).status();
}

absl::Status Mount::RollBack(const std::string& path, const std::string& name) const {
  return Call({.command = control::Command::kRollBack, .path = path, .name = name}).status();
}

absl::Status Mount::Destroy(const std::string& path, const std::string& name) const {
  return Call({.command = control::Command::kDestroy, .path = path, .name = name}).status();
}

absl::Status Mount::Clone(const std::string& path, const std::string& target) const {
  return Call({.command = control::Command::kClone, .path = path, .target = target}).status();
}

absl::Status Mount::CreateTree(const std::string& path) const {
  return Call({.command = control::Command::kCreateTree, .path = path}).status();
}

std::string Mount::Check() const {
  absl::StatusOr<control::Reply> reply = Call({.command = control::Command::kStartCheck});
  if (!reply.ok()) return reply.status().ToString();
  const uint64_t id = reply->check.id;
  do {
    std::this_thread::sleep_for(kPause);
    reply = Call({.command = control::Command::kPollCheck, .check_id = id});
    if (!reply.ok()) return reply.status().ToString();
  } while (!reply->check.finished);
  std::string text;
  for (const control::Damage& damage : reply->damages) {
    absl::StrAppend(&text, damage.where, ": ", damage.what, "\n");
  }
  return text;
}

bool Put(const std::string& path, const std::string& content) {
  const Descriptor file(path, O_WRONLY | O_CREAT | O_TRUNC);
  return file >= 0 &&
         write(file, content.data(), content.size()) == static_cast<ssize_t>(content.size());
}

std::string Get(const std::string& path) {
  const Descriptor file(path, O_RDONLY);
  if (file < 0) return absl::StrCat("ERROR: ", strerror(errno));
  std::string content;
  char buffer[65536];
  ssize_t n;
  while ((n = read(file, buffer, sizeof(buffer))) > 0) content.append(buffer, n);
  return n < 0 ? absl::StrCat("ERROR: ", strerror(errno)) : content;
}

bool Exists(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0;
}

std::vector<std::string> Names(const std::string& directory) {
  std::vector<std::string> names;
  DIR* stream = opendir(directory.c_str());
  if (stream == nullptr) return {absl::StrCat("ERROR: ", strerror(errno))};
  while (const dirent* entry = readdir(stream)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(stream);
  std::sort(names.begin(), names.end());
  return names;
}

Descriptor::Descriptor(const std::string& path, int flags, mode_t mode)
    : value_(open(path.c_str(), flags | O_CLOEXEC, mode)) {}

Descriptor::~Descriptor() {
  if (value_ >= 0) close(value_);
}

SharedMap::SharedMap(int descriptor, size_t size) : size_(size) {
  void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (address != MAP_FAILED) address_ = static_cast<char*>(address);
}

SharedMap::~SharedMap() {
  if (address_ != nullptr) munmap(address_, size_);
}

std::string SharedMap::Text(size_t offset, size_t size) const {
  return std::string(const_cast<const char*>(address_) + offset, size);
}

void SharedMap::Store(size_t offset, const std::string& text) {
  std::memcpy(address_ + offset, text.data(), text.size());
}

}  // namespace cow::test
