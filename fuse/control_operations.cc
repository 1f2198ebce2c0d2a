// Control requests: an ioctl on any file or directory of the mount.
#include <cerrno>
#include <cstring>
#include <memory>

#include "cow/base/status.h"
#include "cow/control/message.h"
#include "fuse/operations.h"

namespace cow::fuse {
namespace {

// Supplementary groups are asked of /proc while the caller waits.
Caller CallerOf(fuse_req_t request) {
  const fuse_ctx* context = fuse_req_ctx(request);
  Caller caller = {.uid = context->uid, .gid = context->gid};
  if (caller.uid == 0) return caller;
  caller.groups.resize(32);
  int count =
      fuse_req_getgroups(request, static_cast<int>(caller.groups.size()), caller.groups.data());
  if (count > static_cast<int>(caller.groups.size())) {
    caller.groups.resize(count);
    count = fuse_req_getgroups(request, count, caller.groups.data());
  }
  caller.groups.resize(std::clamp<int>(count, 0, static_cast<int>(caller.groups.size())));
  return caller;
}

void Answer(fuse_req_t request, control::Message& message, const Caller& caller) {
  const absl::StatusOr<control::Request> asked = control::DecodeRequest(message.bytes);
  control::Reply reply;
  if (asked.ok()) {
    reply = ServerOf(request).control.Execute(*asked, caller);
  } else {
    reply.status = asked.status();
  }
  control::EncodeReply(reply, message.bytes);
  fuse_reply_ioctl(request, 0, message.bytes.data(), message.bytes.size());
}

void Control(fuse_req_t request, fuse_ino_t, unsigned int command, void*, fuse_file_info*,
             unsigned int, const void* in, size_t in_size, size_t out_size) {
  auto message = std::make_shared<control::Message>();
  if (command != static_cast<unsigned int>(control::kIoctl) || in_size != message->bytes.size() ||
      out_size != message->bytes.size()) {
    fuse_reply_err(request, ENOTTY);
    return;
  }
  std::memcpy(message->bytes.data(), in, in_size);
  const Caller caller = CallerOf(request);
  if (!ServerOf(request).tasks.Run([=] { Answer(request, *message, caller); })) {
    fuse_reply_err(request, ENOMEM);
  }
}

}  // namespace

void AddControlOperations(fuse_lowlevel_ops& operations) { operations.ioctl = Control; }

}  // namespace cow::fuse
