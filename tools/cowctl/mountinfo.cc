#include "tools/cowctl/mountinfo.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cow/base/status.h"
#include "tools/cowctl/path.h"

namespace cow::ctl {
namespace {

// The kernel writes space, tab, newline and backslash as \ooo.
std::string Unescaped(std::string_view text) {
  const auto octal = [&text](size_t i) { return text[i] >= '0' && text[i] <= '7'; };
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      result += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                  (text[i + 3] - '0'));
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

// `path` below `base`, both absolute: what follows it, without slashes around. False when it is
// not.
bool Below(std::string_view base, std::string_view path, std::string& rest) {
  if (base == "/") base = "";
  if (!path.starts_with(base)) return false;
  path.remove_prefix(base.size());
  if (!path.empty() && path.front() != '/') return false;
  while (!path.empty() && path.front() == '/') path.remove_prefix(1);
  rest = path;
  return true;
}

std::string Joined(std::string_view base, std::string_view rest) {
  std::string result(base);
  if (rest.empty()) return result;
  if (result.empty() || result.back() != '/') result += '/';
  return result += rest;
}

// What a line says, which ends in the options of the filesystem.
Mount MountOn(const std::vector<std::string>& fields) {
  return {.point = Unescaped(fields[4]),
          .root = Unescaped(fields[3]),
          .read_only = fields.back() == "ro" || absl::StartsWith(fields.back(), "ro,")};
}

// The first line whose fields `wanted` takes.
template <typename Wanted>
std::optional<Mount> FirstMount(std::string_view mountinfo, const Wanted& wanted) {
  // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw
  for (absl::string_view line :
       absl::StrSplit(absl::string_view(mountinfo.data(), mountinfo.size()), '\n')) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ');
    if (fields.size() < 5 || !wanted(fields)) continue;
    return MountOn(fields);
  }
  return std::nullopt;
}

std::string OwnMountinfo() {
  std::ifstream file("/proc/self/mountinfo");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

absl::StatusOr<Mount> FindMount(std::string_view mountinfo, uint64_t id) {
  const std::optional<Mount> mount =
      FirstMount(mountinfo, [id](const std::vector<std::string>& fields) {
        uint64_t found = 0;
        return absl::SimpleAtoi(fields[0], &found) && found == id;
      });
  if (mount.has_value()) return *mount;
  return MakeError(absl::StatusCode::kNotFound, ENOENT, "not in a mount of this process");
}

std::optional<Mount> FindMountOfVolume(std::string_view mountinfo, std::string_view volume) {
  std::optional<Mount> first;
  const auto found = FirstMount(mountinfo, [&](const std::vector<std::string>& fields) {
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.end() - dash <= 2 || dash[1] != "fuse.cowfs" || Unescaped(dash[2]) != volume) {
      return false;
    }
    if (!first.has_value()) first = MountOn(fields);
    return !MountOn(fields).read_only;
  });
  return found.has_value() ? found : first;
}

std::optional<Mount> MountOfVolume(std::string_view volume) {
  const absl::StatusOr<HostPath> path = Canonical(volume);
  if (!path.ok()) return std::nullopt;
  return FindMountOfVolume(OwnMountinfo(), path->whole);
}

absl::StatusOr<Mount> MountOf(const std::string& path) {
  struct statx attributes = {};
  if (statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_MNT_ID, &attributes) != 0) {
    return ErrnoStatus(errno, path);
  }
  if ((attributes.stx_mask & STATX_MNT_ID) == 0) {
    return MakeError(absl::StatusCode::kUnimplemented, EOPNOTSUPP,
                     "the kernel does not tell mounts apart; cowctl needs Linux 5.8 or newer");
  }
  return FindMount(OwnMountinfo(), attributes.stx_mnt_id);
}

std::string InFilesystem(const Mount& mount, std::string_view path) {
  std::string rest;
  Below(mount.point, path, rest);
  return Joined(mount.root, rest).substr(1);
}

std::string InMount(const Mount& mount, std::string_view path) {
  std::string rest;
  const std::string absolute = absl::StrCat("/", absl::string_view(path.data(), path.size()));
  if (!Below(mount.root, absolute, rest)) return mount.point + ":" + absolute;
  return Joined(mount.point, rest);
}

}  // namespace cow::ctl
