// Paths, times and messages of the public interface.
#include <cerrno>
#include <chrono>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/core/volume_state.h"

namespace cow::core {
namespace {

absl::string_view View(std::string_view text) {
  return absl::string_view(text.data(), text.size());
}

// What can be done about an error whose message does not say so by itself.
std::string_view Advice(int error) {
  switch (error) {
    case ENOSPC:
      return "; destroy snapshots, or remove files that no snapshot holds";
    case ENOMEM:
      return "; destroy mappings, or map less at once";
    case EXDEV:
      return "; clone it there instead";
    case ESTALE:
      return "; open it again";
    default:
      return "";
  }
}

// The public interface has one code for everything that is not the kind of thing it should be.
absl::StatusCode CodeOf(const absl::Status& status) {
  const int error = ErrnoOf(status);
  const bool kind = error == ENOTDIR || error == EISDIR;
  return kind ? absl::StatusCode::kFailedPrecondition : status.code();
}

}  // namespace

absl::StatusOr<std::string> Normal(std::string_view path) {
  std::string normal;
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view component = path.substr(begin, end - begin);
    if (component == "." || component == ".." || component.find('\0') != std::string_view::npos) {
      return MakeError(absl::StatusCode::kInvalidArgument, EINVAL,
                       "a path has no components `.` and `..` and no zero bytes");
    }
    if (!component.empty()) absl::StrAppend(&normal, "/", View(component));
    begin = end + 1;
  }
  return normal.empty() ? "/" : normal;
}

absl::Status Explain(const absl::Status& status, std::string_view operation,
                     std::string_view path) {
  if (status.ok()) return status;
  std::string_view advice = Advice(ErrnoOf(status));
  // One operation of another says it already.
  if (absl::StrContains(status.message(), View(advice))) advice = "";
  absl::Status explained(CodeOf(status), absl::StrCat(View(operation), " ", View(path), ": ",
                                                      status.message(), View(advice)));
  return WithErrno(std::move(explained), ErrnoOf(status));
}

absl::Status SnapshotError(std::string_view what) {
  return MakeError(absl::StatusCode::kFailedPrecondition, EROFS,
                   std::string(what) + "; clone it, and change the clone");
}

std::chrono::system_clock::time_point TimeOf(const timespec& time) {
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(
          std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec)));
}

std::string SnapshotLabel(std::string_view path, std::string_view name) {
  return absl::StrCat(View(path), "@", View(name));
}

}  // namespace cow::core
