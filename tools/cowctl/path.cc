#include "tools/cowctl/path.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>

#include "cow/base/status.h"

namespace cow::ctl {
namespace {

absl::StatusOr<std::string> RealPath(const std::string& path) {
  const std::unique_ptr<char, decltype(&free)> real(realpath(path.c_str(), nullptr), &free);
  if (real == nullptr) return ErrnoStatus(errno, path);
  return std::string(real.get());
}

}  // namespace

absl::StatusOr<HostPath> Canonical(std::string_view argument) {
  std::string path(argument);
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  absl::StatusOr<std::string> whole = RealPath(path);
  if (whole.ok()) return HostPath{.whole = *whole, .existing = *whole};
  if (ErrnoOf(whole.status()) != ENOENT || path.empty()) return whole.status();

  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "."
                                : slash == 0               ? "/"
                                                           : path.substr(0, slash);
  COW_ASSIGN_OR_RETURN(const std::string parent, RealPath(directory));
  const std::string last = slash == std::string::npos ? path : path.substr(slash + 1);
  return HostPath{.whole = (parent == "/" ? "" : parent) + "/" + last, .existing = parent};
}

bool Exists(std::string_view path) {
  struct stat attributes = {};
  return lstat(std::string(path).c_str(), &attributes) == 0;
}

}  // namespace cow::ctl
