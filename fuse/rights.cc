#include "fuse/rights.h"

#include <algorithm>
#include <cerrno>

#include "cow/base/status.h"

namespace cow::fuse {
namespace {

std::string_view Trim(std::string_view path) {
  while (path.starts_with('/')) path.remove_prefix(1);
  while (path.ends_with('/')) path.remove_suffix(1);
  return path;
}

// Splits off the last component.
std::pair<std::string_view, std::string_view> SplitLast(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {{}, path};
  return {Trim(path.substr(0, slash)), path.substr(slash + 1)};
}

}  // namespace

absl::Status CheckRights(const Caller& caller, const fs::Attributes& attributes, unsigned rights) {
  if (caller.uid == 0) return absl::OkStatus();
  const bool in_group =
      caller.gid == attributes.gid ||
      std::find(caller.groups.begin(), caller.groups.end(), attributes.gid) != caller.groups.end();
  const unsigned shift = caller.uid == attributes.uid ? 6 : in_group ? 3 : 0;
  if ((attributes.mode >> shift & rights) == rights) return absl::OkStatus();
  return MakeError(absl::StatusCode::kPermissionDenied, EACCES, "Permission denied");
}

absl::Status CheckOwner(const Caller& caller, const fs::Attributes& attributes) {
  if (caller.uid == 0 || caller.uid == attributes.uid) return absl::OkStatus();
  return MakeError(absl::StatusCode::kPermissionDenied, EPERM,
                   "only its owner and root may do that");
}

bool Sees(uid_t user, fs::NodeId directory, const fs::Attributes& entry) {
  return directory != fs::kDeletedDirectory || user == 0 || user == entry.uid;
}

absl::StatusOr<fs::Node> Walk(fs::FileSystem& fs, const Caller& caller, std::string_view path) {
  COW_ASSIGN_OR_RETURN(const fs::Attributes root, fs.GetAttributes(fs::kRoot));
  fs::Node node = {.id = fs::kRoot, .attributes = root};
  path = Trim(path);
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, slash);
    path = Trim(path.substr(slash));
    if (node.attributes.type != fs::FileType::kDirectory) {
      return ErrnoStatus(ENOTDIR, "a part of the path");
    }
    // As they stand in no directory, they are the client's to resolve.
    if (name == "." || name == "..") return ErrnoStatus(EINVAL, "`.` and `..` in a path");
    COW_RETURN_IF_ERROR(CheckRights(caller, node.attributes, kExecute));
    const fs::NodeId directory = node.id;
    COW_ASSIGN_OR_RETURN(node, fs.Lookup(directory, name));
    if (!Sees(caller.uid, directory, node.attributes)) return ErrnoStatus(ENOENT, "no such file");
  }
  return node;
}

absl::StatusOr<std::pair<fs::Node, std::string>> WalkToNew(fs::FileSystem& fs, const Caller& caller,
                                                           std::string_view path) {
  const auto [directory, name] = SplitLast(Trim(path));
  if (name.empty()) return ErrnoStatus(EEXIST, "the root of the volume");
  COW_ASSIGN_OR_RETURN(fs::Node node, Walk(fs, caller, directory));
  if (node.attributes.type != fs::FileType::kDirectory) {
    return ErrnoStatus(ENOTDIR, std::string(directory));
  }
  COW_RETURN_IF_ERROR(CheckRights(caller, node.attributes, kWrite | kExecute));
  return std::pair(std::move(node), std::string(name));
}

}  // namespace cow::fuse
