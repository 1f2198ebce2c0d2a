// All extended attributes of an inode, as one run of bytes: beside the rest of the inode where they
// are few, in an object of their own otherwise.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace cow::fs {

using Xattrs = std::map<std::string, std::string, std::less<>>;

std::string EncodeXattrs(const Xattrs& xattrs);
absl::StatusOr<Xattrs> DecodeXattrs(std::string_view bytes);

}  // namespace cow::fs
