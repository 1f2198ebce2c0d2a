// Sends a request to the cowfs that has a file open.
#pragma once

#include "absl/status/statusor.h"
#include "cow/control/message.h"

namespace cow::control {

// The reply of the cowfs in whose mount `descriptor` is. kUnimplemented (ENOTTY) when that is no
// cowfs; the status of the reply when the request failed. Blocks as long as the request takes.
absl::StatusOr<Reply> Call(int descriptor, const Request& request);

}  // namespace cow::control
