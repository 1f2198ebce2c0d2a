#include "fuse/session.h"

#include <fuse_lowlevel.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "cow/base/status.h"
#include "fuse/init_reply.h"
#include "fuse/mounts.h"
#include "fuse/operations.h"

namespace cow::fuse {
namespace {

constexpr unsigned kMaxWrite = 1 << 20;
// Each caller of fsync occupies a thread until the commit is done.
constexpr unsigned kMaxThreads = 64;
constexpr unsigned kMaxBackground = 64;
// Wakes the thread that waits for libfuse's; does nothing else.
constexpr int kWake = SIGUSR1;

// libfuse's messages from before the mount is up; later ones go to standard error.
std::string* startup_messages = nullptr;
Launcher* startup_launcher = nullptr;

void Log(fuse_log_level, const char* format, va_list arguments) {
  char text[512];
  vsnprintf(text, sizeof(text), format, arguments);
  if (startup_messages != nullptr) {
    startup_messages->append(text);
  } else {
    fputs(text, stderr);
  }
}

void Want(fuse_conn_info& connection, unsigned capability, bool wanted) {
  if (wanted) {
    connection.want |= capability & connection.capable;
  } else {
    connection.want &= ~capability;
  }
}

void Begin(void* userdata, fuse_conn_info* connection) {
  // What the kernel keeps is dropped by our own notices, when something else than a request changed
  // it. Without this, it would drop a file's pages whenever it sees that it was written.
  Want(*connection, FUSE_CAP_AUTO_INVAL_DATA, false);
  Want(*connection, FUSE_CAP_EXPLICIT_INVAL_DATA, true);
  // O_TRUNC as a request of its own, which clears setuid bits as truncate does.
  Want(*connection, FUSE_CAP_ATOMIC_O_TRUNC, false);
  Want(*connection, FUSE_CAP_PARALLEL_DIROPS, true);
  Want(*connection, FUSE_CAP_CACHE_SYMLINKS, true);
  // Every returned write(2) is with us: the promise of a snapshot.
  Want(*connection, FUSE_CAP_WRITEBACK_CACHE, false);
  connection->max_write = kMaxWrite;
  connection->max_background = kMaxBackground;
  static_cast<Server*>(userdata)->kernel.SetFeatures(
      {absl::StrCat("fuse protocol: ", connection->proto_major, ".", connection->proto_minor),
       absl::StrCat("libfuse: ", fuse_pkgversion()),
       absl::StrCat("parallel lookups: ",
                    (connection->want & FUSE_CAP_PARALLEL_DIROPS) != 0 ? "yes" : "no")});
  startup_messages = nullptr;
  startup_launcher->Ready();
}

fuse_lowlevel_ops Operations() {
  fuse_lowlevel_ops operations = {};
  operations.init = Begin;
  AddNameOperations(operations);
  AddDirectoryOperations(operations);
  AddAttributeOperations(operations);
  AddFileOperations(operations);
  AddControlOperations(operations);
  return operations;
}

sigset_t EndingSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  return signals;
}

std::string MountOptions(const Options& options) {
  std::string list = "default_permissions,subtype=cowfs";
  // As mount(8) does for other filesystems: what root mounts is trusted unless it says otherwise.
  if (geteuid() == 0) absl::StrAppend(&list, ",suid,dev");
  if (options.read_only) absl::StrAppend(&list, ",ro");
  for (const std::string& option : options.kernel) absl::StrAppend(&list, ",", option);
  // libfuse splits at commas and takes backslashes for escapes.
  absl::StrAppend(&list,
                  ",fsname=", absl::StrReplaceAll(options.volume, {{"\\", "\\\\"}, {",", "\\,"}}));
  return list;
}

}  // namespace

void BlockSignals() {
  const sigset_t signals = EndingSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  struct sigaction wake = {};
  wake.sa_handler = [](int) {};
  sigaction(kWake, &wake, nullptr);
}

Session::~Session() {
  if (session_ == nullptr) return;
  if (mounted_) fuse_session_unmount(session_);
  fuse_session_destroy(session_);
}

absl::Status Session::Mount() {
  std::string messages;
  startup_messages = &messages;
  startup_launcher = &launcher_;
  fuse_set_log_func(Log);
  const auto failure = [&](int error) {
    startup_messages = nullptr;
    while (messages.ends_with('\n')) messages.pop_back();
    return MakeError(absl::StatusCode::kUnavailable, error,
                     absl::StrCat("cannot mount at ", options_.mountpoint,
                                  messages.empty() ? "" : ": ", messages));
  };

  const fuse_lowlevel_ops operations = Operations();
  const std::string list = MountOptions(options_);
  fuse_args arguments = FUSE_ARGS_INIT(0, nullptr);
  fuse_opt_add_arg(&arguments, "cowfs");
  fuse_opt_add_arg(&arguments, "-o");
  fuse_opt_add_arg(&arguments, list.c_str());
  if (options_.debug) fuse_opt_add_arg(&arguments, "-d");
  session_ = fuse_session_new(&arguments, &operations, sizeof(operations), &server_);
  fuse_opt_free_args(&arguments);
  if (session_ == nullptr) return failure(EINVAL);
  if (fuse_session_mount(session_, options_.mountpoint.c_str()) != 0) return failure(EPERM);
  mounted_ = true;
  COW_RETURN_IF_ERROR(CompleteInitReply(session_));
  const std::optional<dev_t> device = DeviceOfMount(options_.mountpoint);
  server_.kernel.SetSession(session_, device.value_or(0));
  startup_messages = nullptr;
  return absl::OkStatus();
}

void* Session::AwaitSignal(void* session) {
  auto* self = static_cast<Session*>(session);
  const sigset_t signals = EndingSignals();
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
  if (!self->finished_) self->Stop();
  return nullptr;
}

void Session::Stop() {
  server_.kernel.WriteOut(server_.nodes.Select(true, [](const fs::NodeId&) { return true; }));
  // The result is main's to report, by a commit of its own.
  server_.fs.Sync().IgnoreError();
  // The flag alone wakes nobody, and a signal may come just before its receiver goes to sleep.
  while (!finished_) {
    fuse_session_exit(session_);
    pthread_kill(main_, kWake);
    const timespec pause = {.tv_sec = 0, .tv_nsec = 5'000'000};
    nanosleep(&pause, nullptr);
  }
}

absl::Status Session::Serve() {
  pthread_t waiter;
  if (const int error = pthread_create(&waiter, nullptr, AwaitSignal, this); error != 0) {
    return ErrnoStatus(error, "cannot make a thread");
  }
  fuse_loop_config* config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_max_threads(config, kMaxThreads);
  const int result = fuse_session_loop_mt(session_, config);
  fuse_loop_cfg_destroy(config);
  finished_ = true;
  pthread_kill(waiter, SIGTERM);
  pthread_join(waiter, nullptr);

  // Takes the mount away, where it is still there, and cuts the connection: who still uses it gets
  // ENOTCONN, and no task waits for an answer that nobody gives any more.
  fuse_session_unmount(session_);
  mounted_ = false;
  server_.control.Stop();
  server_.tasks.Wait();
  server_.files.CloseAll();
  if (result < 0) return ErrnoStatus(-result, "the connection to the kernel");
  return absl::OkStatus();
}

}  // namespace cow::fuse
