// Opening the volume that is to be mounted.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "cow/fs/filesystem.h"
#include "fuse/options.h"

namespace cow::fuse {

// Makes it first where that was asked for and there is none. A volume whose last mount is just
// gone is waited for: umount(8) returns before the server has committed and closed it.
absl::StatusOr<std::unique_ptr<fs::FileSystem>> OpenVolume(const Options& options);

}  // namespace cow::fuse
