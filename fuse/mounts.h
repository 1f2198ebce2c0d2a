// What /proc/self/mountinfo says of mounts.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

namespace cow::fuse {

// st_dev of what is mounted at `mountpoint`, without asking its server.
std::optional<dev_t> DeviceOfMount(const std::string& mountpoint);

// Where the volume is mounted by a cowfs; nullopt when it is nowhere.
std::optional<std::string> MountpointOf(const std::string& volume);

}  // namespace cow::fuse
