#include "cow/control/client.h"

#include <sys/ioctl.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "cow/base/status.h"

namespace cow::control {

absl::StatusOr<Reply> Call(int descriptor, const Request& request) {
  auto message = std::make_unique<Message>();
  COW_RETURN_IF_ERROR(EncodeRequest(request, message->bytes));
  if (ioctl(descriptor, kIoctl, message.get()) != 0) {
    // What filesystems other than ours answer to an ioctl that they do not know.
    if (errno == ENOTTY || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP) {
      return MakeError(absl::StatusCode::kUnimplemented, ENOTTY, "not in the mount of a cowfs");
    }
    return ErrnoStatus(errno, "the request to cowfs failed");
  }
  COW_ASSIGN_OR_RETURN(Reply reply, DecodeReply(message->bytes));
  if (!reply.status.ok()) return std::move(reply.status);
  return reply;
}

}  // namespace cow::control
