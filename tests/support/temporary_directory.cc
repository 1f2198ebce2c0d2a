#include "tests/support/temporary_directory.h"

#include <ftw.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace cow::test {

TemporaryDirectory::TemporaryDirectory() {
  const char* parent = std::getenv("TMPDIR");
  path_ = std::string(parent == nullptr || *parent == '\0' ? "/tmp" : parent) + "/cow-test-XXXXXX";
  if (::mkdtemp(path_.data()) == nullptr) {
    // No test can go on without it, and a constructor has no other way to say so.
    std::fprintf(stderr, "mkdtemp %s: %s\n", path_.c_str(), std::strerror(errno));
    std::abort();
  }
}

TemporaryDirectory::~TemporaryDirectory() {
  // FTW_MOUNT: a mount that a failed test left behind must not lose what it holds.
  ::nftw(
      path_.c_str(),
      [](const char* path, const struct stat*, int, struct FTW*) {
        ::remove(path);
        return 0;
      },
      16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

std::string TemporaryDirectory::operator/(std::string_view name) const {
  return path_ + "/" + std::string(name);
}

}  // namespace cow::test
