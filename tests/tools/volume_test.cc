// cowctl on volumes that are not mounted, through the library.
#include "cow/volume.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"
#include "tests/tools/fake_target.h"

namespace cow::ctl {
namespace {

using ::testing::HasSubstr;

class VolumeCommands : public ::testing::Test {
 protected:
  VolumeCommands() : volume_(directory_ / "v.cow") {}

  std::string At(const std::string& path) const { return volume_ + ":/" + path; }

  // Fills `count` pages of a file, from `page` on, with a letter. Makes the file.
  void Fill(const std::string& path, uint64_t page, size_t count, char letter) {
    auto volume = Volume::Open(volume_);
    ASSERT_TRUE(volume.ok()) << volume.status();
    auto file = volume->OpenFile(path);
    if (!file.ok()) file = volume->CreateFile(path);
    ASSERT_TRUE(file.ok()) << file.status();
    const std::vector<std::byte> bytes(count * 4096, static_cast<std::byte>(letter));
    ASSERT_TRUE(file->Write(page * 4096, bytes).ok());
    ASSERT_TRUE(volume->Sync().ok());
  }

  char FirstLetter(const std::string& path) {
    auto volume = Volume::Open(volume_);
    EXPECT_TRUE(volume.ok()) << volume.status();
    auto file = volume->OpenFile(path);
    EXPECT_TRUE(file.ok()) << file.status();
    std::byte letter = {};
    EXPECT_TRUE(file->Read(0, {&letter, 1}).ok());
    return static_cast<char>(letter);
  }

  nlohmann::json Json(std::vector<std::string> arguments) {
    arguments.push_back("--json");
    return nlohmann::json::parse(Do(arguments));
  }

  test::TemporaryDirectory directory_;
  const std::string volume_;
};

TEST_F(VolumeCommands, CreateMakesAVolumeOnceAndSaysWhere) {
  EXPECT_EQ(Do({"create", volume_, "--size", "64M"}), "created volume " + volume_ + " of 64M\n");
  const Ran again = RunCowctl({"create", volume_});
  EXPECT_EQ(again.status, kFailed);
  EXPECT_THAT(again.err, HasSubstr("exists"));
  EXPECT_EQ(Do({"list", At("")}), "no snapshots\n");
}

TEST_F(VolumeCommands, DefragBringsAFileTogetherAndLeavesWhatASnapshotShares) {
  Do({"create", volume_});
  for (int i = 0; i < 64; ++i) Fill("/f", i * 37 % 64, 1, static_cast<char>('a' + i % 26));
  const nlohmann::json done = Json({"defrag", At("f")});
  EXPECT_GT(done["extents_before"], 30);
  EXPECT_EQ(done["extents"], 1);
  EXPECT_EQ(done["moved"], 64 * 4096);
  EXPECT_EQ(FirstLetter("/f"), 'a');
  for (int i = 0; i < 64; i += 3) Fill("/f", i, 1, 'x');
  Do({"snapshot", At("f@mon")});
  EXPECT_THAT(Do({"defrag", At("f")}), HasSubstr("256K lie scattered and are shared"));
  const nlohmann::json unshared = Json({"defrag", "--unshare", At("f")});
  EXPECT_EQ(unshared["extents"], 1);
  EXPECT_EQ(unshared["moved"], 64 * 4096);
  EXPECT_THAT(Do({"check", volume_}), HasSubstr("no damage"));

  EXPECT_THAT(RunCowctl({"defrag", At("f@mon")}).err, HasSubstr("f@mon: "));
  EXPECT_EQ(RunCowctl({"defrag", At("f@mon")}).status, kFailed);
  EXPECT_THAT(RunCowctl({"defrag", At("")}).err, HasSubstr("directory"));
  EXPECT_THAT(RunCowctl({"defrag", At("none")}).err, HasSubstr("none: "));
}

TEST_F(VolumeCommands, LifeOfASnapshotOfAFile) {
  Do({"create", volume_});
  Fill("/f", 0, 8, 'a');
  EXPECT_EQ(Do({"snapshot", At("f@mon")}), "took snapshot " + At("f@mon") + "\n");
  Fill("/f", 0, 1, 'b');
  EXPECT_EQ(FirstLetter("/f@mon"), 'a');

  EXPECT_EQ(RunCowctl({"snapshot", At("f@mon")}).status, kFailed);
  Do({"clone", At("f@mon"), At("g")});
  EXPECT_EQ(FirstLetter("/g"), 'a');
  Do({"rename", At("f@mon"), "tue"});
  EXPECT_EQ(RunCowctl({"stat", At("f@mon")}).status, kFailed);

  const std::string kept = Do({"rollback", "-H", At("f@tue")});
  EXPECT_THAT(kept, ::testing::StartsWith(At("f@rollback-")));
  EXPECT_EQ(FirstLetter("/f"), 'a');
  EXPECT_EQ(FirstLetter(kept.substr(volume_.size() + 1, kept.size() - volume_.size() - 2)), 'b');

  EXPECT_EQ(Do({"destroy", At("f@tue")}), "destroyed " + At("f@tue") + "\n");
  EXPECT_EQ(RunCowctl({"destroy", At("f@tue")}).status, kFailed);
  EXPECT_EQ(Do({"list", "-H", At("f")}).substr(0, kept.size() - 1),
            kept.substr(0, kept.size() - 1));
  EXPECT_EQ(Do({"check", volume_}).substr(0, volume_.size()), volume_);
}

TEST_F(VolumeCommands, TreesAreSnapshottedAsOne) {
  Do({"create", volume_});
  Do({"tree", "create", At("t")});
  Fill("/t/x", 0, 1, 'a');
  Do({"snapshot", At("t@mon")});
  Do({"snapshot", At("@all")});
  Fill("/t/x", 0, 1, 'b');
  EXPECT_EQ(FirstLetter("/t@mon/x"), 'a');
  EXPECT_EQ(Json({"stat", At("t@mon")})["type"], "tree");
  EXPECT_EQ(Json({"stat", At("@all")})["name"], At("@all"));
  Do({"clone", At("t@mon"), At("u")});
  EXPECT_EQ(FirstLetter("/u/x"), 'a');
  Do({"rollback", At("t@mon")});
  EXPECT_EQ(FirstLetter("/t/x"), 'a');
  EXPECT_EQ(Json({"list", At("")})["snapshots"].size(), 3u);
  EXPECT_EQ(Json({"list", At("t")})["snapshots"].size(), 2u);
}

TEST_F(VolumeCommands, ExclusiveIsWhatDestroyingFrees) {
  Do({"create", volume_});
  Fill("/f", 0, 64, 'a');
  Do({"snapshot", At("f@mon")});
  EXPECT_LT(Json({"stat", At("f@mon")})["exclusive"], 64 * 4096);
  Fill("/f", 3, 5, 'b');
  const nlohmann::json snapshot = Json({"stat", At("f@mon")});
  EXPECT_GE(snapshot["exclusive"], 5 * 4096);
  EXPECT_LT(snapshot["exclusive"], 10 * 4096);
  EXPECT_GE(snapshot["referenced"], 64 * 4096);
  EXPECT_EQ(Json({"list", "--space", At("")})["snapshots"][0]["exclusive"], snapshot["exclusive"]);

  // Each look at the space folds what is pending, so that what is used is exact.
  const auto used = [this] {
    auto volume = Volume::Open(volume_);
    EXPECT_TRUE(volume->Stat("/f", {.space = true}).ok());
    return volume->Space().used_bytes;
  };
  const uint64_t before = used();
  Do({"destroy", At("f@mon")});
  EXPECT_EQ(Json({"stat", At("f")})["snapshots"], 0);
  EXPECT_NEAR(static_cast<double>(before - used()), snapshot["exclusive"].get<double>(), 4 * 4096);
}

TEST_F(VolumeCommands, ListCountsTheSpaceOfEachOfManySnapshots) {
  Do({"create", volume_});
  for (int i = 0; i < 3; ++i) {
    Fill("/f", 0, 4 + i, static_cast<char>('a' + i));
    Do({"snapshot", At("f@" + std::to_string(i))});
  }
  Do({"rollback", At("f@1")});
  const nlohmann::json list = Json({"list", "--space", At("")})["snapshots"];
  ASSERT_EQ(list.size(), 4u);
  EXPECT_GE(list[0]["exclusive"], 4 * 4096);  // @0 alone has the a
  EXPECT_EQ(list[1]["exclusive"], 0);         // @1 is what is there now
  for (const auto& entry : list) {
    EXPECT_EQ(Json({"stat", entry["name"].get<std::string>()})["exclusive"], entry["exclusive"]);
  }
}

TEST_F(VolumeCommands, RemovedFileKeepsItsSnapshots) {
  Do({"create", volume_});
  Fill("/f", 0, 1, 'a');
  Do({"snapshot", At("f@mon")});
  {
    auto volume = Volume::Open(volume_);
    ASSERT_TRUE(volume->Remove("/f").ok());
  }
  const nlohmann::json list = Json({"list", At("")})["snapshots"];
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0]["name"], At("f@mon"));
  EXPECT_EQ(list[0]["removed"], true);
  Do({"clone", At("f@mon"), At("back")});
  EXPECT_EQ(FirstLetter("/back"), 'a');
  Do({"destroy", At("f@mon")});
  EXPECT_EQ(Do({"list", At("")}), "no snapshots\n");
}

TEST_F(VolumeCommands, VolumeInUseIsRefusedWithItsHolderAndAWayOut) {
  Do({"create", volume_});
  Fill("/f", 0, 1, 'a');
  auto holder = Volume::Open(volume_);
  ASSERT_TRUE(holder.ok()) << holder.status();
  const Ran ran = RunCowctl({"snapshot", At("f@mon")});
  EXPECT_EQ(ran.status, kFailed);
  EXPECT_THAT(ran.err, HasSubstr(volume_));
  EXPECT_THAT(ran.err, HasSubstr(std::to_string(getpid())));
  EXPECT_THAT(ran.err, HasSubstr("use its mount"));
}

TEST_F(VolumeCommands, BesideAWriterAllIsKnownButTheSpace) {
  Do({"create", volume_});
  Fill("/f", 0, 1, 'a');
  Do({"snapshot", At("f@mon")});
  auto writer = Volume::Open(volume_);
  ASSERT_TRUE(writer.ok()) << writer.status();
  nlohmann::json entry = Json({"stat", At("f@mon")});
  EXPECT_EQ(entry["name"], At("f@mon"));
  EXPECT_EQ(entry["size"], 4096);
  EXPECT_EQ(entry["referenced"], nullptr);
  EXPECT_EQ(entry["exclusive"], nullptr);
  entry = Json({"list", "--space", At("")})["snapshots"][0];
  EXPECT_EQ(entry["name"], At("f@mon"));
  EXPECT_EQ(entry["exclusive"], nullptr);

  const Ran check = RunCowctl({"check", volume_});
  EXPECT_EQ(check.status, kFailed);
  EXPECT_THAT(check.err, HasSubstr("in use by process " + std::to_string(getpid())));
  EXPECT_THAT(check.err, HasSubstr("use its mount"));
}

TEST_F(VolumeCommands, VolumeThatCannotBeWrittenIsLookedAtAndCounted) {
  Do({"create", volume_});
  Fill("/f", 0, 8, 'a');
  Do({"snapshot", At("f@mon")});
  Fill("/f", 0, 3, 'b');
  std::optional<SpaceUse> counted;
  {
    auto writer = Volume::Open(volume_);
    ASSERT_TRUE(writer.ok()) << writer.status();
    counted = writer->Stat("/f@mon", {.space = true})->space;
  }
  ASSERT_TRUE(counted.has_value());
  ASSERT_EQ(chmod(volume_.c_str(), 0444), 0);
  ASSERT_EQ(chmod(directory_.path().c_str(), 0555), 0);
  // Root may write what nobody may.
  const uid_t user = geteuid();
  ASSERT_TRUE(user != 0 || seteuid(65534) == 0);
  const Ran snapshot = RunCowctl({"snapshot", At("f@tue")});
  const nlohmann::json stat = Json({"stat", At("f@mon")});
  const nlohmann::json list = Json({"list", "--space", At("")});
  const std::string check = Do({"check", volume_});
  EXPECT_EQ(seteuid(user), 0);
  chmod(directory_.path().c_str(), 0755);

  EXPECT_EQ(snapshot.err, "cowctl snapshot: " + volume_ + ": open: Permission denied\n");
  EXPECT_EQ(stat["referenced"], counted->referenced_bytes);
  EXPECT_EQ(stat["exclusive"], counted->exclusive_bytes);
  EXPECT_EQ(list["snapshots"][0]["exclusive"], counted->exclusive_bytes);
  EXPECT_THAT(check, HasSubstr("no damage"));
}

TEST_F(VolumeCommands, SnapshotWaitsForAnotherCowctl) {
  Do({"create", volume_});
  char name[16] = {};
  ASSERT_EQ(prctl(PR_GET_NAME, name), 0);
  ASSERT_EQ(prctl(PR_SET_NAME, "cowctl"), 0);
  auto holder = Volume::Open(volume_);
  prctl(PR_SET_NAME, name);
  ASSERT_TRUE(holder.ok()) << holder.status();
  std::thread release([other = std::move(*holder)]() mutable {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const Volume ended = std::move(other);
  });
  const Ran ran = RunCowctl({"snapshot", At("@mon")});
  release.join();
  EXPECT_EQ(ran.status, kDone) << ran.err;
}

TEST_F(VolumeCommands, EmptyNameOfASnapshotIsAMistakeUnlessSomethingIsCalledSo) {
  Do({"create", volume_});
  Fill("/f", 0, 1, 'a');
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"stat", At("f@")},
                                                    {"stat", At("@")},
                                                    {"stat", At("d/f@")},
                                                    {"list", At("f@")},
                                                    {"clone", At("f@"), At("g")}}) {
    const Ran ran = RunCowctl(arguments);
    EXPECT_EQ(ran.status, kUsage) << ::testing::PrintToString(arguments);
    EXPECT_THAT(ran.err, HasSubstr(arguments[1] + ": no name of a snapshot after the last @"));
  }
  Fill("/f@", 0, 1, 'b');
  Do({"clone", At("f@"), At("g")});
  EXPECT_EQ(FirstLetter("/g"), 'b');
  EXPECT_EQ(Json({"stat", At("f@")})["snapshot"], nullptr);
}

TEST_F(VolumeCommands, ListOfASnapshotShowsIt) {
  Do({"create", volume_});
  Fill("/f", 0, 1, 'a');
  Do({"snapshot", At("f@mon")});
  Do({"snapshot", At("f@tue")});
  Do({"snapshot", At("@all")});
  for (const std::string& name : {At("f@mon"), At("@all")}) {
    const nlohmann::json list = Json({"list", name})["snapshots"];
    ASSERT_EQ(list.size(), 1u);
    EXPECT_EQ(list[0]["name"], name);
    EXPECT_FALSE(list[0].contains("exclusive"));
  }
  EXPECT_TRUE(Json({"list", "--space", At("f@mon")})["snapshots"][0]["exclusive"].is_number());
  EXPECT_EQ(RunCowctl({"list", At("f@wed")}).status, kFailed);
}

TEST_F(VolumeCommands, ErrorsNameEachThingOnceAndHintWhereItHelps) {
  Do({"create", volume_});
  Fill("/f", 0, 1, 'a');
  Do({"snapshot", At("f@mon")});
  const std::string none = directory_ / "none.cow";
  const std::string hint = "; cowctl list " + At("f") + " shows those that there are";
  const std::vector<std::pair<std::vector<std::string>, std::string>> errors = {
      {{"list", none + ":/"}, none + ": open: No such file or directory"},
      {{"check", none}, none + ": open: No such file or directory"},
      {{"create", volume_}, volume_ + ": create: File exists; choose another path"},
      {{"stat", At("x")}, At("x: no such file")},
      {{"stat", At("f@x")}, At("f@x: no such snapshot") + hint},
      {{"list", At("f@x")}, At("f@x: no such snapshot") + hint},
      {{"stat", At("@x")},
       At("@x: no such snapshot; cowctl list ") + At("") + " shows those that there are"},
      {{"destroy", At("f@x")}, At("f@x: no such snapshot") + hint},
      {{"rename", At("f@x"), "y"}, At("f@x: no such snapshot") + hint},
      {{"stat", At("d/f@x")}, At("d/f@x: no such file")},
      {{"rollback", At("d/f@x")}, At("d/f@x: no such file")},
      {{"snapshot", At("x@mon")}, At("x@mon: no such file")},
      {{"clone", At("f@x"), At("g")}, At("f@x: no such snapshot") + hint},
      {{"clone", At("f@mon"), At("d/g")}, At("f@mon to ") + At("d/g: no such file")},
  };
  for (const auto& [arguments, message] : errors) {
    const Ran ran = RunCowctl(arguments);
    EXPECT_EQ(ran.status, kFailed);
    EXPECT_EQ(ran.err, "cowctl " + arguments[0] + ": " + message + "\n");
  }
}

TEST_F(VolumeCommands, WhatIsNoVolumeIsRefused) {
  const std::string path = directory_ / "text";
  ASSERT_EQ(RunCowctl({"list", path + ":/"}).status, kFailed);
  const int descriptor = open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
  ASSERT_EQ(write(descriptor, "hello", 5), 5);
  close(descriptor);
  const Ran ran = RunCowctl({"check", path});
  EXPECT_EQ(ran.status, kFailed);
  EXPECT_THAT(ran.err, HasSubstr(path));
}

TEST_F(VolumeCommands, PathOutsideOfAnyCowIsRefusedWithAWayOut) {
  const Ran ran = RunCowctl({"snapshot", directory_ / "x@mon"});
  EXPECT_EQ(ran.status, kFailed);
  EXPECT_THAT(ran.err, HasSubstr("mount the volume with cowfs, or write VOLUME:/path"));
}

TEST_F(VolumeCommands, FeaturesNamesEachWithItsUse) {
  EXPECT_NE(Do({"features"}), "");
  const nlohmann::json features = Json({"features"})["features"];
  ASSERT_FALSE(features.empty());
  for (const auto& feature : features) {
    EXPECT_TRUE(feature["available"].is_boolean());
    EXPECT_NE(feature["name"], "");
    EXPECT_NE(feature["used"], "");
  }
}

}  // namespace
}  // namespace cow::ctl
