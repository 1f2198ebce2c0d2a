#include "cow/base/status.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace cow {
namespace {

constexpr char kErrnoPayload[] = "cow/errno";

absl::string_view View(std::string_view text) {
  return absl::string_view(text.data(), text.size());
}

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case ENOENT:
    case ESTALE:
    case ENXIO:
      return absl::StatusCode::kNotFound;
    case EEXIST:
      return absl::StatusCode::kAlreadyExists;
    case EACCES:
    case EPERM:
      return absl::StatusCode::kPermissionDenied;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return absl::StatusCode::kResourceExhausted;
    case EINVAL:
    case ENAMETOOLONG:
    case ENOTDIR:
    case EISDIR:
    case ENOTBLK:
      return absl::StatusCode::kInvalidArgument;
    case EROFS:
    case ENOTEMPTY:
    case EBUSY:
    case EXDEV:
    case ETXTBSY:
      return absl::StatusCode::kFailedPrecondition;
    case EFBIG:
    case EOVERFLOW:
    case ERANGE:
      return absl::StatusCode::kOutOfRange;
    case EIO:
    case EUCLEAN:
      return absl::StatusCode::kDataLoss;
    case ENOSYS:
    case EOPNOTSUPP:
      return absl::StatusCode::kUnimplemented;
    case EAGAIN:
    case EINTR:
      return absl::StatusCode::kUnavailable;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

absl::Status WithErrno(absl::Status status, int error) {
  if (!status.ok()) status.SetPayload(kErrnoPayload, absl::Cord(std::to_string(error)));
  return status;
}

absl::Status MakeError(absl::StatusCode code, int error, std::string_view message) {
  return WithErrno(absl::Status(code, View(message)), error);
}

absl::Status ErrnoStatus(int error, std::string_view what) {
  return MakeError(CodeOf(error), error, absl::StrCat(View(what), ": ", std::strerror(error)));
}

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(View(context), ": ", status.message()));
  status.ForEachPayload([&annotated](absl::string_view type, const absl::Cord& payload) {
    annotated.SetPayload(type, payload);
  });
  return annotated;
}

int ErrnoOf(const absl::Status& status) {
  if (status.ok()) return 0;
  int error = 0;
  if (auto payload = status.GetPayload(kErrnoPayload);
      payload.has_value() && absl::SimpleAtoi(std::string(*payload), &error)) {
    return error;
  }
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return ENOENT;
    case absl::StatusCode::kAlreadyExists:
      return EEXIST;
    case absl::StatusCode::kPermissionDenied:
      return EACCES;
    case absl::StatusCode::kUnauthenticated:
      return EPERM;
    case absl::StatusCode::kResourceExhausted:
      return ENOSPC;
    case absl::StatusCode::kInvalidArgument:
      return EINVAL;
    case absl::StatusCode::kOutOfRange:
      return EFBIG;
    case absl::StatusCode::kFailedPrecondition:
      return EROFS;
    case absl::StatusCode::kUnimplemented:
      return ENOSYS;
    case absl::StatusCode::kUnavailable:
      return EAGAIN;
    case absl::StatusCode::kCancelled:
      return EINTR;
    default:
      return EIO;
  }
}

}  // namespace cow
