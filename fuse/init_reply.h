// What libfuse cannot say to the kernel at the start of a session.
//
// libfuse 3.14 knows the flag for parallel lookups and listings but does not send it, and does not
// know the one that leaves setuid bits to us (privileges.h), which saves the kernel a request for
// each write. So its answer to the kernel's first request gets both on the way out.
#pragma once

#include "absl/status/status.h"

struct fuse_session;

namespace cow::fuse {

// After mounting, before the first request is read.
absl::Status CompleteInitReply(fuse_session* session);

}  // namespace cow::fuse
