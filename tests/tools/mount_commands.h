// cowctl on a volume that the real cowfs has mounted.
#pragma once

#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"
#include "tests/tools/fake_target.h"

extern char** environ;

namespace cow::ctl {

class MountCommands : public ::testing::Test {
 protected:
  MountCommands()
      : volume_(directory_ / "v.cow"),
        mount_(std::string(std::filesystem::canonical(directory_.path())) + "/mnt") {}

  void SetUp() override {
    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
      GTEST_SKIP() << "a mount needs root and /dev/fuse";
    }
    std::filesystem::create_directory(mount_);
    Do({"create", volume_});
    Mount();
  }

  void TearDown() override { Unmount(); }

  void Mount() { Mount(mount_, {}, daemon_); }
  void Unmount() { Unmount(mount_, daemon_); }

  // Mounts the volume at `mountpoint`; `daemon` is then the cowfs.
  void Mount(const std::string& mountpoint, const std::vector<std::string>& options,
             pid_t& daemon) const {
    struct stat before = {};
    ASSERT_EQ(stat(mountpoint.c_str(), &before), 0);
    std::vector<std::string> arguments = {COWFS, "-f", volume_, mountpoint};
    arguments.insert(arguments.end(), options.begin(), options.end());
    std::vector<char*> argv;
    for (const std::string& argument : arguments) {
      argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    ASSERT_EQ(posix_spawn(&daemon, COWFS, nullptr, nullptr, argv.data(), environ), 0);
    for (;;) {
      struct stat now = {};
      if (stat(mountpoint.c_str(), &now) == 0 && now.st_dev != before.st_dev) return;
      int status = 0;
      if (waitpid(daemon, &status, WNOHANG) == daemon) {
        daemon = -1;
        FAIL() << "cowfs ended with status " << status;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  static void Unmount(const std::string& mountpoint, pid_t& daemon) {
    if (daemon < 0) return;
    if (umount2(mountpoint.c_str(), 0) != 0) {
      umount2(mountpoint.c_str(), MNT_DETACH);
      kill(daemon, SIGTERM);
    }
    waitpid(daemon, nullptr, 0);
    daemon = -1;
  }

  static nlohmann::json Json(std::vector<std::string> arguments) {
    arguments.push_back("--json");
    return nlohmann::json::parse(Do(arguments));
  }

  std::string At(const std::string& path) const { return mount_ + "/" + path; }

  void Write(const std::string& path, const std::string& text) {
    std::ofstream file(At(path), std::ios::binary | std::ios::trunc);
    file << text;
    ASSERT_TRUE(file.flush()) << path;
  }

  std::string Read(const std::string& path) const {
    std::ifstream file(At(path), std::ios::binary);
    EXPECT_TRUE(file) << path;
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  test::TemporaryDirectory directory_;
  const std::string volume_;
  const std::string mount_;
  pid_t daemon_ = -1;
};

}  // namespace cow::ctl
