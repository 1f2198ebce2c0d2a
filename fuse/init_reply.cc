#include "fuse/init_reply.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "cow/base/status.h"

namespace cow::fuse {
namespace {

// Of the request that begins the session, until it is answered; there is one session a process.
std::atomic<uint64_t> init_request = 0;
std::atomic<uint32_t> offered_flags = 0;

ssize_t ReadRequest(int device, void* buffer, size_t size, void*) {
  const ssize_t n = read(device, buffer, size);
  if (n >= static_cast<ssize_t>(sizeof(fuse_in_header))) {
    fuse_in_header header;
    std::memcpy(&header, buffer, sizeof(header));
    if (header.opcode == FUSE_INIT) {
      const char* in = static_cast<const char*>(buffer) + sizeof(header);
      if (n >= static_cast<ssize_t>(sizeof(header) + offsetof(fuse_init_in, flags) + 4)) {
        uint32_t flags;
        std::memcpy(&flags, in + offsetof(fuse_init_in, flags), sizeof(flags));
        offered_flags = flags;
        init_request = header.unique;
      }
    }
  }
  return n;
}

ssize_t WriteReply(int device, iovec* parts, int count, void*) {
  if (init_request.load(std::memory_order_relaxed) != 0 && count == 2 &&
      parts[0].iov_len == sizeof(fuse_out_header) && parts[1].iov_len == sizeof(fuse_init_out)) {
    const auto* header = static_cast<const fuse_out_header*>(parts[0].iov_base);
    uint64_t expected = header->unique;
    if (header->error == 0 && init_request.compare_exchange_strong(expected, 0)) {
      fuse_init_out out;
      std::memcpy(&out, parts[1].iov_base, sizeof(out));
      out.flags |= offered_flags & (FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2);
      iovec changed[2] = {parts[0], {.iov_base = &out, .iov_len = sizeof(out)}};
      return writev(device, changed, 2);
    }
  }
  return writev(device, parts, count);
}

ssize_t SpliceRequest(int in, off_t* in_offset, int out, off_t* out_offset, size_t size,
                      unsigned int flags, void*) {
  return splice(in, in_offset, out, out_offset, size, flags);
}

}  // namespace

absl::Status CompleteInitReply(fuse_session* session) {
  static const fuse_custom_io kIo = {.writev = WriteReply,
                                     .read = ReadRequest,
                                     .splice_receive = SpliceRequest,
                                     .splice_send = SpliceRequest};
  const int result = fuse_session_custom_io(session, &kIo, fuse_session_fd(session));
  if (result != 0) return ErrnoStatus(-result, "cannot take over the connection to the kernel");
  return absl::OkStatus();
}

}  // namespace cow::fuse
