// Paths of the host, as arguments name them.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace cow::ctl {

struct HostPath {
  std::string whole;     // absolute and without symbolic links; its last component may not exist
  std::string existing;  // `whole` if it exists, else its directory
};

// An error (ENOENT, EACCES, ...) where not even its directory can be reached.
absl::StatusOr<HostPath> Canonical(std::string_view argument);

// Whether there is something of that name; a symbolic link counts, wherever it leads.
bool Exists(std::string_view path);

}  // namespace cow::ctl
