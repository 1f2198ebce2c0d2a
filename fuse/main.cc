// cowfs: mounts a volume.
#include <fuse_lowlevel.h>
#include <syslog.h>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "cow/base/status.h"
#include "fuse/launcher.h"
#include "fuse/options.h"
#include "fuse/server.h"
#include "fuse/session.h"
#include "fuse/volume.h"

namespace cow::fuse {
namespace {

constexpr int kFailure = 1;
constexpr int kUsageError = 2;

// From open to close. What goes wrong before the mount is up is said to the user by the launcher;
// later, to the log of the system.
absl::Status Run(const Options& options, Launcher& launcher) {
  COW_RETURN_IF_ERROR(CheckMountpoint(options.mountpoint));
  COW_ASSIGN_OR_RETURN(const std::unique_ptr<fs::FileSystem> fs, OpenVolume(options));
  absl::Status served;
  {
    Server server(*fs, options.volume, options.mountpoint);
    Session session(server, options, launcher);
    COW_RETURN_IF_ERROR(session.Mount());
    served = session.Serve();
  }
  const absl::Status committed = options.read_only ? absl::OkStatus() : fs->Sync();
  return committed.ok() ? served : committed;
}

int Main(int argc, char** argv) {
  const absl::StatusOr<Options> options = ParseOptions(argc, argv);
  if (!options.ok()) {
    fprintf(stderr, "cowfs: %s\n", std::string(options.status().message()).c_str());
    return kUsageError;
  }
  if (options->help) {
    fputs(kUsage, stdout);
    return 0;
  }
  if (options->version) {
    printf("cowfs %s, libfuse %s\n", COW_VERSION, fuse_pkgversion());
    return 0;
  }
  absl::StatusOr<Launcher> launcher = Launcher::Start(options->foreground);
  if (!launcher.ok()) {
    fprintf(stderr, "cowfs: %s\n", std::string(launcher.status().message()).c_str());
    return kFailure;
  }
  if (launcher->exit_code()) return *launcher->exit_code();

  BlockSignals();
  absl::Status status = Run(*options, *launcher);
  if (status.ok() && !launcher->decided()) {
    status = ErrnoStatus(ECANCELED, "the mount ended before it was up");
  }
  if (status.ok()) return 0;
  if (!launcher->decided() || options->foreground) {
    launcher->Failed(status);
  } else {
    openlog("cowfs", LOG_PID, LOG_DAEMON);
    syslog(LOG_ERR, "%s: %s", options->volume.c_str(), std::string(status.message()).c_str());
  }
  return kFailure;
}

}  // namespace
}  // namespace cow::fuse

int main(int argc, char** argv) { return cow::fuse::Main(argc, argv); }
