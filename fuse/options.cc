#include "fuse/options.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cow/base/status.h"

namespace cow::fuse {

const char kUsage[] =
    "usage: cowfs [--create] VOLUME MOUNTPOINT [-f] [-o OPTIONS]\n"
    "Mounts the volume file VOLUME at the directory MOUNTPOINT.\n"
    "\n"
    "  --create      make the volume first if there is none\n"
    "  -f            stay in the foreground\n"
    "  -d            print every request (implies -f)\n"
    "  -o OPTIONS    comma-separated: ro, allow_other (given by default to root),\n"
    "                noallow_other, and what mount(8) knows: noatime, nosuid, nodev, noexec\n"
    "  -o ro         the volume as it is now, to read, also while another process writes it:\n"
    "                what that writes later is not shown\n"
    "  --version, --help\n"
    "\n"
    "Snapshots are beside their files: PATH@NAME, and .snapshots/NAME for the root.\n"
    "Unmount with umount MOUNTPOINT (or fusermount3 -u), or by sending INT, TERM or HUP.\n";

namespace {

absl::Status UsageError(std::string_view what) {
  return MakeError(
      absl::StatusCode::kInvalidArgument, EINVAL,
      absl::StrCat(absl::string_view(what.data(), what.size()), "; cowfs --help tells the usage"));
}

bool KnownToKernel(const std::string& option) {
  static constexpr std::string_view kKnown[] = {
      "allow_other", "allow_root", "rw",         "suid",     "nosuid",     "dev",
      "nodev",       "exec",       "noexec",     "atime",    "noatime",    "sync",
      "async",       "dirsync",    "nodiratime", "relatime", "norelatime", "strictatime"};
  for (const std::string_view known : kKnown) {
    if (option == known) return true;
  }
  return option.starts_with("context=") || option.starts_with("max_background=");
}

// What mount(8) passes on although it is meant for itself, and what is always on.
bool IsForMount(const std::string& option) {
  static constexpr std::string_view kIgnored[] = {
      "auto",  "noauto",  "user",   "nouser",   "users",
      "owner", "_netdev", "nofail", "defaults", "default_permissions",
      ""};
  for (const std::string_view ignored : kIgnored) {
    if (option == ignored) return true;
  }
  return option.starts_with("x-") || option.starts_with("comment=");
}

absl::Status Apply(const std::string& option, Options& options, bool& others) {
  if (option == "ro") {
    options.read_only = true;
  } else if (option == "debug") {
    options.debug = options.foreground = true;
  } else if (option == "noallow_other") {
    others = false;
  } else if (KnownToKernel(option)) {
    options.kernel.push_back(option);
    if (option == "allow_other" || option == "allow_root") others = false;
  } else if (!IsForMount(option)) {
    return UsageError(absl::StrCat("unknown option -o ", option));
  }
  return absl::OkStatus();
}

std::string Absolute(const std::string& path) {
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) != nullptr) return resolved;
  // A volume that is to be made: its directory is there.
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "."
                                : slash == 0               ? "/"
                                                           : path.substr(0, slash);
  if (realpath(directory.c_str(), resolved) == nullptr) return path;
  return absl::StrCat(resolved, "/", slash == std::string::npos ? path : path.substr(slash + 1));
}

}  // namespace

absl::StatusOr<Options> ParseOptions(int argc, char** argv) {
  Options options;
  bool others = geteuid() == 0;
  std::vector<std::string> operands;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--create") {
      options.create = true;
    } else if (argument == "-f") {
      options.foreground = true;
    } else if (argument == "-d") {
      options.debug = options.foreground = true;
    } else if (argument == "-h" || argument == "--help") {
      options.help = true;
    } else if (argument == "-V" || argument == "--version") {
      options.version = true;
    } else if (argument == "-n" || argument == "-s" || argument == "-v") {
      // Of mount(8)'s calls of mount.TYPE; they change nothing here.
    } else if (argument.starts_with("-o")) {
      if (argument.size() == 2 && i + 1 == argc) return UsageError("-o needs options");
      const std::string list = argument.size() > 2 ? argument.substr(2) : argv[++i];
      for (const auto& option : absl::StrSplit(list, ',')) {
        COW_RETURN_IF_ERROR(Apply(std::string(option), options, others));
      }
    } else if (argument.size() > 1 && argument[0] == '-') {
      return UsageError(absl::StrCat("unknown option ", argument));
    } else {
      operands.push_back(argument);
    }
  }
  if (options.help || options.version) return options;
  if (operands.size() != 2) return UsageError("a volume and a mountpoint are needed");
  if (others) options.kernel.push_back("allow_other");
  options.volume = Absolute(operands[0]);
  options.mountpoint = Absolute(operands[1]);
  return options;
}

absl::Status CheckMountpoint(const std::string& mountpoint) {
  // Opening asks the server, where there is one; stat may be answered by the kernel for a dead one.
  const int directory = open(mountpoint.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) {
    if (errno == ENOTCONN) {
      return MakeError(absl::StatusCode::kFailedPrecondition, ENOTCONN,
                       absl::StrCat(mountpoint,
                                    " is a mount whose server has died; unmount it "
                                    "first: umount ",
                                    mountpoint));
    }
    return ErrnoStatus(errno, mountpoint);
  }
  close(directory);
  return absl::OkStatus();
}

}  // namespace cow::fuse
