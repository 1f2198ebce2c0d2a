// A volume mounted by the real cowfs, for one test.
//
// Whatever happens to the test, the destructor takes the mount away and ends the process that it
// started, by its number.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cow/control/message.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"

namespace cow::test {

// Skips the running test where nothing can be mounted.
#define REQUIRE_FUSE() \
  if (const std::string why = cow::test::WhyNoFuse(); !why.empty()) GTEST_SKIP() << why

std::string WhyNoFuse();

// Runs a program to its end; returns its exit status (128 + signal) and what it wrote to both
// outputs.
struct Outcome {
  int status = -1;
  std::string output;
};
Outcome RunProgram(const std::vector<std::string>& command);
// A command line of the shell, in `directory`.
Outcome Shell(const std::string& line, const std::string& directory = "/");

class Mount {
 public:
  // Of a volume in a directory of its own, or of the one given; does not mount it yet.
  explicit Mount(const std::string& volume = "");
  ~Mount();
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;

  // Mounts; true when it is up. Standard error of cowfs is the test's.
  bool Start(const std::vector<std::string>& options = {});
  // Unmounts as umount(8) does and waits for cowfs; its exit status.
  int Unmount();
  // Sends a signal and waits for cowfs; its exit status (128 + signal where that ended it).
  int End(int signal);
  // Takes away what a killed cowfs left.
  void Clear();
  // kill -9, Clear, Start.
  bool Restart();

  pid_t pid() const { return pid_; }
  const std::string& volume() const { return volume_; }
  const std::string& path() const { return mountpoint_; }
  std::string operator/(const std::string& name) const { return mountpoint_ + "/" + name; }

  // A control request; the reply's own status is the status.
  absl::StatusOr<control::Reply> Call(const control::Request& request) const;
  absl::Status TakeSnapshot(const std::string& path, const std::string& name) const;
  absl::Status RollBack(const std::string& path, const std::string& name) const;
  absl::Status Destroy(const std::string& path, const std::string& name) const;
  absl::Status Clone(const std::string& path, const std::string& target) const;
  absl::Status CreateTree(const std::string& path) const;
  // Checks all; the damages as text, "" for none.
  std::string Check() const;

 private:
  int Wait();

  TemporaryDirectory directory_;
  const std::string volume_;
  const std::string mountpoint_;
  pid_t pid_ = -1;
};

// Of a file: all of it, in one write, without syncing. False on an error (errno).
bool Put(const std::string& path, const std::string& content);
// Content, or "ERROR: strerror".
std::string Get(const std::string& path);
bool Exists(const std::string& path);
// Sorted, without "." and "..".
std::vector<std::string> Names(const std::string& directory);

// A descriptor that is closed at the end of its scope.
class Descriptor {
 public:
  Descriptor(const std::string& path, int flags, mode_t mode = 0644);
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  operator int() const { return value_; }  // NOLINT: it stands for its number

 private:
  const int value_;
};

// A map of a file that is unmapped at the end of its scope.
class SharedMap {
 public:
  SharedMap(int descriptor, size_t size);
  ~SharedMap();
  SharedMap(const SharedMap&) = delete;
  SharedMap& operator=(const SharedMap&) = delete;
  bool ok() const { return address_ != nullptr; }
  volatile char* data() const { return address_; }
  std::string Text(size_t offset, size_t size) const;
  void Store(size_t offset, const std::string& text);

 private:
  char* address_ = nullptr;
  const size_t size_;
};

}  // namespace cow::test
