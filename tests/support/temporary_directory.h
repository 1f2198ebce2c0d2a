// A directory of a test's own, gone when the test ends.
#pragma once

#include <string>
#include <string_view>

namespace cow::test {

// Made under $TMPDIR or /tmp by the constructor; removed with all that is in it by the destructor,
// also when the test fails. Does not cross into filesystems mounted below: unmount them first.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  // Path of `name` in it.
  std::string operator/(std::string_view name) const;

 private:
  std::string path_;
};

}  // namespace cow::test
