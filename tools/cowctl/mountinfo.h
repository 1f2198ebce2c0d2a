// Which mount a path is in, and what the path is called inside of the mounted filesystem.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace cow::ctl {

struct Mount {
  std::string point;       // where it is mounted: absolute, "/" or without a slash at its end
  std::string root;        // what of the filesystem is mounted there: as `point`
  bool read_only = false;  // that filesystem, not only what is seen of it there
};

// The mount that holds `path`, which exists. A path that was mounted over is never meant.
absl::StatusOr<Mount> MountOf(const std::string& path);

// The line of `mountinfo` (as in /proc/self/mountinfo) that has this mount id; kNotFound if none.
absl::StatusOr<Mount> FindMount(std::string_view mountinfo, uint64_t id);

// Where a cowfs has the volume in file `volume` mounted, if it has; rather where it is written.
std::optional<Mount> MountOfVolume(std::string_view volume);

// The first line of `mountinfo` that is of a cowfs and of this volume, whose path is canonical; one
// that is for writing goes first.
std::optional<Mount> FindMountOfVolume(std::string_view mountinfo, std::string_view volume);

// `path`, which is absolute, canonical and in `mount`, relative to the root of the filesystem; ""
// for the root itself.
std::string InFilesystem(const Mount& mount, std::string_view path);

// The reverse: where `path` can be reached. What a bind mount does not show is written
// POINT:/PATH.
std::string InMount(const Mount& mount, std::string_view path);

}  // namespace cow::ctl
