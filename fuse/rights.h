// What a caller of a control request may do, decided as the kernel decides it for system calls: by
// owner, group and mode bits. The superuser may do everything.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/fs/filesystem.h"

namespace cow::fuse {

struct Caller {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups = {};  // supplementary
};

enum Right : unsigned { kExecute = 1, kWrite = 2, kRead = 4 };

// EACCES.
absl::Status CheckRights(const Caller& caller, const fs::Attributes& attributes, unsigned rights);
// EPERM.
absl::Status CheckOwner(const Caller& caller, const fs::Attributes& attributes);

// Whether `user` sees an entry of `directory`, the directories that guarded what is under
// .snapshots/@deleted being gone: that is for who owned it, and for root.
bool Sees(uid_t user, fs::NodeId directory, const fs::Attributes& entry);

// The node at a path relative to the root; EACCES where the caller may not search a directory on
// the way.
absl::StatusOr<fs::Node> Walk(fs::FileSystem& fs, const Caller& caller, std::string_view path);

// The directory in which the caller may make `path`, and the name that it comes to have.
absl::StatusOr<std::pair<fs::Node, std::string>> WalkToNew(fs::FileSystem& fs, const Caller& caller,
                                                           std::string_view path);

}  // namespace cow::fuse
