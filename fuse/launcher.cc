#include "fuse/launcher.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "cow/base/status.h"

namespace cow::fuse {
namespace {

// First byte of the verdict; the text of a failure follows.
constexpr char kReady = '+';
constexpr char kFailed = '-';

void Send(int descriptor, const std::string& text) {
  size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t n = write(descriptor, text.data() + sent, text.size() - sent);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    sent += n;
  }
}

}  // namespace

Launcher::Launcher(Launcher&& other) noexcept
    : foreground_(other.foreground_),
      verdict_(std::exchange(other.verdict_, -1)),
      decided_(std::exchange(other.decided_, true)),
      exit_code_(other.exit_code_) {}

Launcher::~Launcher() {
  if (verdict_ >= 0) close(verdict_);
}

absl::StatusOr<Launcher> Launcher::Start(bool foreground) {
  if (foreground) return Launcher(true, -1);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "cannot make a pipe");
  const pid_t child = fork();
  if (child < 0) {
    const int error = errno;
    close(ends[0]);
    close(ends[1]);
    return ErrnoStatus(error, "cannot fork");
  }
  if (child == 0) {
    close(ends[0]);
    setsid();
    return Launcher(false, ends[1]);
  }
  close(ends[1]);
  Launcher left_behind(false, -1);
  left_behind.decided_ = true;
  left_behind.exit_code_ = Await(ends[0]);
  close(ends[0]);
  return left_behind;
}

int Launcher::Await(int verdict) {
  std::string text;
  char buffer[512];
  while (true) {
    const ssize_t n = read(verdict, buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(buffer, n);
  }
  if (!text.empty() && text[0] == kReady) return 0;
  if (text.empty()) text = "-the process ended before the mount was up";
  fprintf(stderr, "cowfs: %s\n", text.c_str() + 1);
  return 1;
}

void Launcher::Ready() {
  if (std::exchange(decided_, true) || foreground_) return;
  // From here on nobody reads what is printed, and the directory must be free to be unmounted.
  if (chdir("/") != 0) return Failed(ErrnoStatus(errno, "cannot change to the root directory"));
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) {
    for (int standard = 0; standard <= 2; ++standard) dup2(null, standard);
    close(null);
  }
  Send(verdict_, std::string(1, kReady));
  close(std::exchange(verdict_, -1));
}

void Launcher::Failed(const absl::Status& why) {
  decided_ = true;
  const std::string text(why.message().data(), why.message().size());
  if (verdict_ < 0) {
    fprintf(stderr, "cowfs: %s\n", text.c_str());
    return;
  }
  Send(verdict_, kFailed + text);
  close(std::exchange(verdict_, -1));
}

}  // namespace cow::fuse
