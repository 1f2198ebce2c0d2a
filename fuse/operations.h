// The handlers of the kernel's requests, by kind. The userdata of the session is the Server.
//
// A handler answers exactly once. It may block in the filesystem, never in the kernel (kernel.h).
#pragma once

#include <fuse_lowlevel.h>

#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "cow/base/status.h"
#include "fuse/server.h"

namespace cow::fuse {

void AddNameOperations(fuse_lowlevel_ops& operations);
void AddDirectoryOperations(fuse_lowlevel_ops& operations);
void AddAttributeOperations(fuse_lowlevel_ops& operations);
void AddFileOperations(fuse_lowlevel_ops& operations);
void AddControlOperations(fuse_lowlevel_ops& operations);

// ---- Shared by them ----

// Seconds that the kernel may keep what only requests and our own notices change.
inline constexpr double kEndless = 1e9;

inline Server& ServerOf(fuse_req_t request) {
  return *static_cast<Server*>(fuse_req_userdata(request));
}

inline void ReplyStatus(fuse_req_t request, const absl::Status& status) {
  fuse_reply_err(request, ErrnoOf(status));
}

// The node of a number; answers ESTALE itself where there is none.
std::optional<fs::NodeId> NodeOf(fuse_req_t request, fuse_ino_t number);

struct stat StatOf(fs::NodeId id, const fs::Attributes& attributes);
double AttributeTimeout(fs::NodeId id);

// What tells the kernel of `node`, an entry of `directory`, with one more reference to it.
fuse_entry_param EntryOf(Server& server, fs::NodeId directory, const fs::Node& node);
void ReplyEntry(fuse_req_t request, fs::NodeId directory, const absl::StatusOr<fs::Node>& node);

// Opens a file and sets `info` for the kernel.
absl::Status OpenInto(Server& server, uint64_t number, fs::NodeId id, fuse_file_info& info);
// Undoes OpenInto.
void CloseFile(Server& server, const fuse_file_info& info);
inline OpenFile& FileOf(const fuse_file_info& info) {
  return *reinterpret_cast<OpenFile*>(info.fh);
}

}  // namespace cow::fuse
