#include "tools/cowctl/errors.h"

#include <cerrno>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "tools/cowctl/target.h"

namespace cow::ctl {
namespace {

constexpr char kUsagePayload[] = "cowctl/usage";
constexpr char kAdvicePayload[] = "cowctl/advice";

absl::string_view View(std::string_view text) {
  return absl::string_view(text.data(), text.size());
}

// Whether `message` begins with what `argument` begins with: the volume, or a directory on the way.
bool BeginsAs(absl::string_view message, std::string_view argument) {
  const size_t end = message.find(": ");
  if (end == absl::string_view::npos || end == 0) return false;
  if (!absl::StartsWith(View(argument), message.substr(0, end))) return false;
  return end == argument.size() || argument.find_first_of("/:@", end) == end;
}

}  // namespace

absl::Status UsageError(std::string_view message) {
  absl::Status status = MakeError(absl::StatusCode::kInvalidArgument, EINVAL, message);
  status.SetPayload(kUsagePayload, absl::Cord());
  return status;
}

bool IsUsageError(const absl::Status& status) {
  return status.GetPayload(kUsagePayload).has_value();
}

absl::Status Named(const absl::Status& status, std::string_view argument) {
  if (BeginsAs(status.message(), argument)) return status;
  // Errors about a volume as a whole name it themselves, after what was being done.
  std::string_view volume;
  std::string_view path;
  if (SplitVolume(argument, volume, path) &&
      absl::StrContains(status.message(), absl::StrCat(" ", View(volume), ": "))) {
    return status;
  }
  return Annotate(status, argument);
}

absl::Status Without(std::string_view prefix, const absl::Status& status) {
  if (!absl::StartsWith(status.message(), View(prefix))) return status;
  return MakeError(status.code(), ErrnoOf(status),
                   std::string(status.message().substr(prefix.size())));
}

absl::Status Advised(absl::Status status, std::string_view advice) {
  status.SetPayload(kAdvicePayload, absl::Cord(View(advice)));
  return status;
}

std::string Advice(std::string_view command, const absl::Status& status) {
  // What is said after a semicolon is what to do, and nobody can do two things at once.
  if (absl::StrContains(status.message(), "; ")) return "";
  if (const auto advice = status.GetPayload(kAdvicePayload)) return std::string(*advice);
  switch (ErrnoOf(status)) {
    case ENOTTY:
      return "mount the volume with cowfs, or write VOLUME:/path";
    case ENOTCONN:
      return "the cowfs of this mount has died: umount it and mount it again";
    case EEXIST:
      return command == "snapshot" || command == "rename"
                 ? "choose another name, or destroy that one first"
                 : "choose another path";
    case EISDIR:
      return command == "defrag"
                 ? "name the files in it: find DIR -type f -exec cowctl defrag {} ';'"
                 : "";
    case EXDEV:
      return "a clone stays in its volume: copy it with cp instead";
    case ENOSPC:
      return command == "create" ? "" : "destroy snapshots, or delete files that no snapshot holds";
    case ENOTEMPTY:
      return command == "salvage" ? "name a directory that is new or empty" : "";
    case EIO:
    case EUCLEAN:
      return command == "check" || command == "salvage" ? "" : "cowctl check shows what is damaged";
    default:
      return "";
  }
}

}  // namespace cow::ctl
