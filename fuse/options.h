// The command line of cowfs, and of mount.cowfs, which is the same program.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cow::fuse {

struct Options {
  std::string volume;      // absolute
  std::string mountpoint;  // absolute
  bool create = false;     // make the volume where there is none
  bool foreground = false;
  bool read_only = false;
  bool debug = false;               // print every request
  std::vector<std::string> kernel;  // for the kernel or libfuse: "allow_other", "noatime", ...
  bool help = false;
  bool version = false;
};

extern const char kUsage[];

// kInvalidArgument: a usage error, said in one line.
absl::StatusOr<Options> ParseOptions(int argc, char** argv);

// Why nothing can be mounted at `mountpoint`, if so; tells a mount whose server died.
absl::Status CheckMountpoint(const std::string& mountpoint);

}  // namespace cow::fuse
