// cowctl on volumes that somebody else has open, and what it says where it cannot do what is asked.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/mount_commands.h"

namespace cow::ctl {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

// A volume that is mounted twice: for writing, and for reading as it was with the file `f` alone.
class TwiceMounted : public MountCommands {
 protected:
  void SetUp() override {
    MountCommands::SetUp();
    if (IsSkipped()) return;
    Write("f", "one");
    Do({"snapshot", At("f@mon")});
    std::filesystem::create_directory(reader_);
    Mount(reader_, {"-o", "ro"}, reading_daemon_);
    Write("later", "two");
  }
  void TearDown() override {
    Unmount(reader_, reading_daemon_);
    MountCommands::TearDown();
  }

  const std::string reader_ = mount_ + "-read";
  pid_t reading_daemon_ = -1;
};

TEST_F(TwiceMounted, ReadOnlyMountAnswersAllButTheSpace) {
  EXPECT_FALSE(std::filesystem::exists(reader_ + "/later")) << "it shows what was there";
  for (const char* path : {"", "/f", "/f@mon"}) {
    const nlohmann::json entry = Json({"stat", reader_ + path});
    EXPECT_EQ(entry["name"], reader_ + path);
    EXPECT_EQ(entry["exclusive"], nullptr);
  }
  EXPECT_EQ(Json({"stat", reader_})["volume"]["process"], reading_daemon_);
  const nlohmann::json list = Json({"list", "--space", reader_})["snapshots"];
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0]["exclusive"], nullptr);
  Unmount();
  // What it shows was replaced, and its counts are gone.
  EXPECT_EQ(Json({"stat", reader_ + "/f"})["exclusive"], nullptr);
}

TEST_F(TwiceMounted, VolumeIsAskedWhereItIsWritten) {
  EXPECT_EQ(Json({"stat", volume_})["volume"]["process"], daemon_);
  for (const std::string& argument : {volume_, volume_ + ":/"}) {
    EXPECT_THAT(Do({"check", argument}), EndsWith("no damage\n"));
  }
  Unmount();
  EXPECT_THAT(Do({"check", volume_}), EndsWith("no damage\n")) << "not the one that is mounted";
}

TEST_F(TwiceMounted, ReadOnlyMountSaysThatItIsOne) {
  for (const std::string command : {"defrag", "snapshot"}) {
    const Ran ran = RunCowctl({command, reader_ + (command == "defrag" ? "/f" : "/f@x")});
    EXPECT_EQ(ran.status, kFailed);
    EXPECT_THAT(ran.err, HasSubstr("the volume was opened for reading only"));
  }
}

using InUse = MountCommands;

TEST_F(InUse, MountOfAVolumeIsNamedToWhoNamesTheVolume) {
  Write("f", "one");
  const std::string named = "; it is a volume, mounted at " + mount_ + ": name paths there\n";
  for (const std::string& argument : {volume_, volume_ + "@mon"}) {
    const std::string command = argument == volume_ ? "list" : "snapshot";
    EXPECT_EQ(RunCowctl({command, argument}).err,
              "cowctl " + command + ": " + argument + ": not in the mount of a cowfs" + named);
  }
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"snapshot", volume_ + ":/f@x"},
        {"defrag", volume_ + ":/f"},
        {"tree", "create", volume_ + ":/t"}}) {
    const Ran ran = RunCowctl(arguments);
    EXPECT_EQ(ran.status, kFailed);
    EXPECT_THAT(ran.err, HasSubstr("in use by process " + std::to_string(daemon_)));
    EXPECT_THAT(ran.err, EndsWith("; name paths in its mount, " + mount_ + "\n"));
  }
  const Ran repair = RunCowctl({"check", "--repair", volume_});
  EXPECT_EQ(repair.status, kFailed);
  EXPECT_EQ(repair.err, "cowctl check: " + volume_ + ": mounted at " + mount_ +
                            "; umount it, then repair it\n");
  Unmount();
  EXPECT_EQ(RunCowctl({"list", volume_}).err,
            "cowctl list: " + volume_ + ": not in the mount of a cowfs; if it is a volume, write " +
                volume_ + ":/path, or mount it with cowfs\n");
}

TEST_F(InUse, DefragSaysWhatItTakes) {
  std::filesystem::create_directory(At("d"));
  std::filesystem::create_symlink("nowhere", At("dangling"));
  const std::string files = "; name the files in it: find DIR -type f -exec cowctl defrag {} ';'\n";
  EXPECT_EQ(RunCowctl({"defrag", At("d")}).err,
            "cowctl defrag: " + At("d") + ": a directory" + files);
  EXPECT_EQ(RunCowctl({"defrag", mount_}).err,
            "cowctl defrag: " + mount_ + ": a directory" + files);
  const Ran ran = RunCowctl({"defrag", At("dangling")});
  EXPECT_EQ(ran.status, kFailed);
  EXPECT_EQ(ran.err,
            "cowctl defrag: " + At("dangling") + ": a symbolic link to what is not there\n");
  Unmount();
  EXPECT_EQ(RunCowctl({"defrag", volume_ + ":/d"}).err,
            "cowctl defrag: " + volume_ + ":/d: a directory" + files);
}

TEST_F(InUse, ListWithoutTheRightToReadIsAnError) {
  std::filesystem::create_directory(At("closed"));
  for (const char* path : {"closed/f", "secret"}) {
    Write(path, "one");
    ASSERT_EQ(chmod(At(path).c_str(), 0600), 0);
    Do({"snapshot", At(path) + "@mon"});
  }
  ASSERT_EQ(chmod(At("closed").c_str(), 0711), 0);
  ASSERT_EQ(chmod(directory_.path().c_str(), 0755), 0);
  ASSERT_EQ(seteuid(65534), 0);
  const Ran closed = RunCowctl({"list", At("closed")});
  const Ran secret = RunCowctl({"list", At("secret")});
  const Ran open = RunCowctl({"list", mount_});
  EXPECT_EQ(seteuid(0), 0);
  for (const Ran& ran : {closed, secret}) {
    EXPECT_EQ(ran.out, "");
    EXPECT_EQ(ran.status, kFailed);
    EXPECT_THAT(ran.err, EndsWith(": Permission denied\n"));
  }
  EXPECT_EQ(open.out, "no snapshots\n") << "what is closed within it is left out";
}

}  // namespace
}  // namespace cow::ctl
