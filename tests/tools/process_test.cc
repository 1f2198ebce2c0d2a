// The built cowctl, run as a process.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "cow/volume.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"
#include "tools/cowctl/run.h"

extern char** environ;

namespace cow::ctl {
namespace {

class CowctlProcess : public ::testing::Test {
 protected:
  CowctlProcess() : volume_(directory_ / "v.cow") {}

  test::TemporaryDirectory directory_;
  const std::string volume_;
};

// Starts cowctl with its standard output at `output`.
pid_t Start(const std::vector<std::string>& arguments, const char* output) {
  std::vector<char*> argv = {const_cast<char*>("cowctl")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT, 0644);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  pid_t child = -1;
  const int error = posix_spawn(&child, COWCTL, &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  EXPECT_EQ(error, 0);
  return error == 0 ? child : -1;
}

int StatusOf(pid_t child) {
  if (child < 0) return -1;
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Exit status of cowctl, with its standard output at `output`.
int Process(const std::vector<std::string>& arguments, const char* output) {
  return StatusOf(Start(arguments, output));
}

TEST_F(CowctlProcess, SnapshotsTakenAtTheSameTimeWaitForEachOther) {
  ASSERT_EQ(Process({"create", volume_}, "/dev/null"), kDone);
  std::vector<pid_t> children;
  for (int i = 0; i < 8; ++i) {
    children.push_back(Start({"snapshot", volume_ + ":/@" + std::to_string(i)}, "/dev/null"));
  }
  for (const pid_t child : children) EXPECT_EQ(StatusOf(child), kDone);
  auto volume = Volume::Open(volume_);
  ASSERT_TRUE(volume.ok()) << volume.status();
  EXPECT_EQ(volume->ListSnapshots("/")->size(), 8u);
}

TEST_F(CowctlProcess, ExitsWith0Or1Or2) {
  EXPECT_EQ(Process({"create", volume_}, "/dev/null"), kDone);
  EXPECT_EQ(Process({"create", volume_}, "/dev/null"), kFailed);
  EXPECT_EQ(Process({"creat", volume_}, "/dev/null"), kUsage);
  EXPECT_EQ(Process({"--help"}, "/dev/null"), kDone);
}

TEST_F(CowctlProcess, ResultThatCannotBeWrittenIsAFailure) {
  EXPECT_EQ(Process({"create", volume_}, "/dev/full"), kFailed);
}

}  // namespace
}  // namespace cow::ctl
