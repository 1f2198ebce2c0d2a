#include "tools/cowctl/target.h"

#include <sys/stat.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "tools/cowctl/errors.h"
#include "tools/cowctl/mountinfo.h"
#include "tools/cowctl/path.h"

namespace cow::ctl {
namespace {

absl::string_view View(std::string_view text) {
  return absl::string_view(text.data(), text.size());
}

// Whether `path` leads to a file of this type.
bool Is(mode_t type, std::string_view path) {
  struct stat attributes = {};
  return stat(std::string(path).c_str(), &attributes) == 0 && (attributes.st_mode & S_IFMT) == type;
}

bool IsDirectory(std::string_view path) { return Is(S_IFDIR, path); }

absl::Status NoName(std::string_view argument) {
  return UsageError(absl::StrCat(View(argument), ": no name of a snapshot after the last @"));
}

// `status`, that `file` is in no mount of a cowfs, with what to write where it is a volume itself.
absl::Status MaybeVolume(absl::Status status, std::string_view file) {
  if (const std::optional<Mount> mount = MountOfVolume(file)) {
    return Advised(std::move(status),
                   absl::StrCat("it is a volume, mounted at ", mount->point, ": name paths there"));
  }
  return Advised(std::move(status), absl::StrCat("if it is a volume, write ", View(file),
                                                 ":/path, or mount it with cowfs"));
}

absl::StatusOr<Located> LocateInVolume(const Doors& doors, std::string_view volume,
                                       std::string_view path, Part part, bool write) {
  std::string_view head = path;
  std::string_view name;
  if (part == Part::kSnapshot) SplitName(path, head, name);
  while (!head.empty() && head.front() == '/') head.remove_prefix(1);
  while (!head.empty() && head.back() == '/') head.remove_suffix(1);
  Located located{.target = nullptr, .path = std::string(head), .name = std::string(name)};
  std::string_view before;
  std::string_view after;
  const bool has_name = part == Part::kEither && SplitName(head, before, after);
  if (has_name && before.empty() && !after.empty()) located.path = WithSnapshot("", after);
  COW_ASSIGN_OR_RETURN(located.target, doors.volume(std::string(volume), write));
  if (has_name && after.empty()) {
    const auto entry =
        located.target->Execute({.command = control::Command::kStat, .path = located.path});
    if (absl::IsNotFound(entry.status())) {
      return NoName(absl::StrCat(View(volume), ":", View(path)));
    }
  }
  return located;
}

absl::StatusOr<Located> LocateInMount(const Doors& doors, std::string_view argument, Part part) {
  std::string_view head = argument;
  std::string_view name;
  if (part == Part::kSnapshot || (part == Part::kEither && !Exists(argument))) {
    if (SplitName(argument, head, name) && name.empty()) return NoName(argument);
  }
  COW_ASSIGN_OR_RETURN(const HostPath path, Canonical(head));
  Located located{.target = nullptr, .path = {}, .name = {}, .reached = true};
  absl::StatusOr<std::unique_ptr<Target>> target = doors.mount(path.existing);
  if (ErrnoOf(target.status()) == ENOTTY && Is(S_IFREG, path.whole)) {
    return MaybeVolume(target.status(), head);
  }
  COW_ASSIGN_OR_RETURN(located.target, std::move(target));
  if (!argument.starts_with('/')) {
    COW_ASSIGN_OR_RETURN(const HostPath here, Canonical("."));
    located.target->SetDirectory(here.whole);
  }
  COW_ASSIGN_OR_RETURN(located.path, located.target->Inside(path.whole));
  if (part == Part::kSnapshot) {
    located.name = name;
  } else if (!name.empty()) {
    located.path = WithSnapshot(located.path, name);
  }
  return located;
}

}  // namespace

std::string WithSnapshot(std::string_view path, std::string_view name) {
  if (path.empty()) return absl::StrCat(View(kRootSnapshots), View(name));
  return absl::StrCat(View(path), "@", View(name));
}

std::string Target::NameOf(std::string_view path) const {
  const std::string name = FullNameOf(path);
  if (directory_.empty() || !name.starts_with(directory_)) return name;
  if (name.size() == directory_.size()) return ".";
  const size_t skipped = directory_.size() + (directory_ == "/" ? 0 : 1);
  return name[skipped - 1] == '/' ? name.substr(skipped) : name;
}

bool SplitName(std::string_view argument, std::string_view& path, std::string_view& name) {
  const size_t at = argument.rfind('@');
  if (at == std::string_view::npos || argument.find('/', at) != std::string_view::npos) {
    return false;
  }
  path = argument.substr(0, at);
  name = argument.substr(at + 1);
  return true;
}

bool SplitVolume(std::string_view argument, std::string_view& volume, std::string_view& path) {
  const size_t colon = argument.find(":/");
  if (colon == std::string_view::npos || colon == 0) return false;
  // "a:/b" is also a legal path of the host. It is one when it is there and no volume "a" is.
  const std::string_view before = argument.substr(0, colon);
  if (!Exists(before) && Exists(argument)) return false;
  if (IsDirectory(before)) return false;
  volume = before;
  path = argument.substr(colon + 1);
  return true;
}

absl::StatusOr<Located> Locate(const Doors& doors, std::string_view argument, Part part,
                               bool write) {
  std::string_view volume;
  std::string_view path;
  absl::StatusOr<Located> located = SplitVolume(argument, volume, path)
                                        ? LocateInVolume(doors, volume, path, part, write)
                                        : LocateInMount(doors, argument, part);
  if (located.ok()) located->argument = argument;
  return located;
}

absl::StatusOr<std::unique_ptr<Target>> LocateWhole(const Doors& doors, std::string_view argument) {
  std::string_view volume = argument;
  std::string_view path;
  if (SplitVolume(argument, volume, path) && path != "/") {
    return UsageError(
        absl::StrCat(View(argument), ": a check is of a whole volume: leave the path away"));
  }
  if (IsDirectory(volume)) {
    COW_ASSIGN_OR_RETURN(const HostPath host, Canonical(volume));
    return doors.mount(host.whole);
  }
  if (const std::optional<Mount> mount = MountOfVolume(volume); mount && !mount->read_only) {
    absl::StatusOr<std::unique_ptr<Target>> mounted = doors.mount(mount->point);
    if (mounted.ok()) return mounted;
  }
  return doors.volume(std::string(volume), false);
}

}  // namespace cow::ctl
