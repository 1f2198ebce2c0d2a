// cowctl on a mounted volume.
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/mount_commands.h"

namespace cow::ctl {
namespace {

using ::testing::HasSubstr;

TEST_F(MountCommands, LifeOfASnapshotReadInPlace) {
  Write("f", "one");
  EXPECT_EQ(Do({"snapshot", At("f@mon")}), "took snapshot " + At("f@mon") + "\n");
  Write("f", "two");
  EXPECT_EQ(Read("f@mon"), "one");
  EXPECT_EQ(RunCowctl({"snapshot", At("f@mon")}).status, kFailed);
  Do({"clone", At("f@mon"), At("g")});
  EXPECT_EQ(Read("g"), "one");
  Do({"rename", At("f@mon"), "tue"});
  EXPECT_EQ(Read("f@tue"), "one");
  EXPECT_FALSE(std::filesystem::exists(At("f@mon")));
  const std::string kept = Do({"rollback", "-H", At("f@tue")});
  EXPECT_EQ(Read("f"), "one");
  EXPECT_EQ(Read(std::filesystem::path(kept.substr(0, kept.size() - 1)).filename()), "two");
  Do({"destroy", At("f@tue")});
  EXPECT_FALSE(std::filesystem::exists(At("f@tue")));
  EXPECT_THAT(Do({"check", mount_}), HasSubstr("no damage"));
}

TEST_F(MountCommands, StatOfTheMountAndOfItsVolumeTellWhatCowfsHasDone) {
  Write("f", std::string(10000, 'x'));
  Do({"snapshot", At("f@mon")});
  Write("f", std::string(20000, 'y'));
  Do({"clone", At("f@mon"), At("g")});
  for (const std::string& argument : {mount_, volume_}) {
    const nlohmann::json volume = Json({"stat", argument})["volume"];
    EXPECT_EQ(volume["path"], std::filesystem::canonical(volume_).string());
    EXPECT_EQ(volume["process"], daemon_);
    EXPECT_GT(volume["used"], 30000);
    const nlohmann::json& statistics = volume["statistics"];
    EXPECT_EQ(statistics["taken_snapshots"], 1);
    EXPECT_EQ(statistics["made_clones"], 1);
    EXPECT_GE(statistics["written_bytes"], 30000);
    EXPECT_GE(statistics["commits"], 2);
    EXPECT_GE(statistics["syncs"], 2);
    EXPECT_EQ(statistics["checksum_failures"], 0);
  }
  EXPECT_FALSE(Json({"stat", At("f")}).contains("volume"));
  Unmount();
  const nlohmann::json closed = Json({"stat", volume_});
  EXPECT_EQ(closed["volume"]["process"], nullptr);
  EXPECT_GT(closed["volume"]["used"], 30000);
  EXPECT_FALSE(closed.contains("name"));
}

TEST_F(MountCommands, RootOfTheMountStandsForItsTree) {
  std::filesystem::create_directory(At("d"));
  Write("d/x", "one");
  EXPECT_EQ(Do({"snapshot", "-H", mount_ + "@all"}), mount_ + "@all\n");
  Write("d/x", "two");
  EXPECT_EQ(Read(".snapshots/all/d/x"), "one");
  EXPECT_EQ(Json({"stat", mount_ + "@all"})["type"], "tree");
  Do({"rollback", mount_ + "@all"});
  EXPECT_EQ(Read("d/x"), "one");
  Do({"destroy", mount_ + "@all"});
}

TEST_F(MountCommands, DirectoryBecomesATreeOfItsOwn) {
  Do({"tree", "create", At("t")});
  Write("t/x", "one");
  Do({"snapshot", At("t@mon")});
  Write("t/x", "two");
  EXPECT_EQ(Read("t@mon/x"), "one");
  Do({"clone", At("t@mon"), At("u")});
  EXPECT_EQ(Read("u/x"), "one");
  std::filesystem::create_directory(At("plain"));
  EXPECT_EQ(RunCowctl({"snapshot", At("plain@mon")}).status, kFailed);
}

TEST_F(MountCommands, LinkAtTheEndOfAPathIsFollowed) {
  Write("f", "one");
  std::filesystem::create_symlink("f", At("link"));
  EXPECT_EQ(Do({"snapshot", "-H", At("link@mon")}), At("f@mon") + "\n");
  EXPECT_EQ(Json({"stat", At("link@mon")})["name"], At("f@mon"));
}

TEST_F(MountCommands, NamesAreRelativeWhereTheArgumentIs) {
  const std::filesystem::path before = std::filesystem::current_path();
  Write("f", "one");
  std::filesystem::create_directory(At("d"));
  std::filesystem::current_path(mount_);
  EXPECT_EQ(Do({"snapshot", "-H", "f@mon"}), "f@mon\n");
  EXPECT_EQ(Json({"stat", "."})["name"], ".");
  EXPECT_EQ(Json({"list"})["snapshots"][0]["name"], "f@mon");
  EXPECT_EQ(Json({"list", mount_})["snapshots"][0]["name"], At("f@mon"));
  std::filesystem::current_path(At("d"));
  EXPECT_EQ(Json({"stat", "../f@mon"})["name"], At("f@mon"));
  std::filesystem::current_path(before);
}

TEST_F(MountCommands, RealEntryWithAnAtWins) {
  Write("f", "one");
  Do({"snapshot", At("f@mon")});
  Write("g@mon", "real");
  EXPECT_EQ(Json({"stat", At("g@mon")})["snapshot"], nullptr);
  EXPECT_EQ(Json({"stat", At("f@mon")})["snapshot"], "mon");
  Do({"clone", At("g@mon"), At("h")});
  EXPECT_EQ(Read("h"), "real");
}

TEST_F(MountCommands, EmptyNameOfASnapshotIsAMistakeUnlessSomethingIsCalledSo) {
  Write("f", "one");
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"stat", At("f@")},
                                                    {"stat", At("@")},
                                                    {"stat", mount_ + "@"},
                                                    {"clone", At("f@"), At("g")}}) {
    EXPECT_EQ(RunCowctl(arguments).status, kUsage) << ::testing::PrintToString(arguments);
  }
  EXPECT_FALSE(std::filesystem::exists(At("g")));
  Write("f@", "two");
  Do({"clone", At("f@"), At("g")});
  EXPECT_EQ(Read("g"), "two");
}

TEST_F(MountCommands, ListOfASnapshotShowsIt) {
  Write("f", "one");
  Do({"snapshot", At("f@mon")});
  Do({"snapshot", At("f@tue")});
  Do({"snapshot", mount_ + "@all"});
  for (const std::string& name : {At("f@mon"), mount_ + "@all"}) {
    const nlohmann::json list = Json({"list", name})["snapshots"];
    ASSERT_EQ(list.size(), 1u);
    EXPECT_EQ(list[0]["name"], name);
    EXPECT_FALSE(list[0].contains("exclusive"));
  }
  std::filesystem::remove(At("f"));
  EXPECT_EQ(Json({"list", At("f@mon")})["snapshots"].size(), 1u);
}

TEST_F(MountCommands, SnapshotsOfWhatWasRemovedWithItsDirectoryAreNamedAndTaken) {
  std::filesystem::create_directory(At("d"));
  Write("d/f", "one");
  Do({"snapshot", At("d/f@mon")});
  std::filesystem::remove(At("d/f"));
  std::filesystem::remove(At("d"));
  const std::string name = Json({"list", mount_})["snapshots"][0]["name"];
  EXPECT_THAT(name, ::testing::StartsWith(At(".snapshots/@deleted/f#")));
  EXPECT_EQ(Json({"stat", name})["name"], name);
  Do({"clone", name, At("back")});
  EXPECT_EQ(Read("back"), "one");
  Do({"destroy", name});
  EXPECT_EQ(Do({"list", mount_}), "no snapshots\n");
}

TEST_F(MountCommands, ErrorsNameEachThingOnceAndHintWhereItHelps) {
  Write("f", "one");
  Do({"snapshot", At("f@mon")});
  const std::string hint = "; cowctl list " + At("f") + " shows those that there are";
  const std::vector<std::pair<std::vector<std::string>, std::string>> errors = {
      {{"destroy", At("d/f@x")}, At("d: No such file or directory")},
      {{"stat", At("d/f@x")}, At("d: No such file or directory")},
      {{"clone", At("f@mon"), At("d/g")}, At("d: No such file or directory")},
      {{"stat", At("x")}, At("x: no such file")},
      {{"stat", At("f@x")}, At("f@x: no such snapshot") + hint},
      {{"list", At("f@x")}, At("f@x: no such snapshot") + hint},
      {{"clone", At("f@x"), At("g")}, At("f@x: no such snapshot") + hint},
      {{"destroy", At("f@x")}, At("f@x: no such snapshot") + hint},
      {{"stat", At("x@mon")},
       At("x@mon: no such file; cowctl list shows what snapshots there are")},
      {{"snapshot", At("x@mon")}, At("x@mon: no such file")},
  };
  for (const auto& [arguments, message] : errors) {
    const Ran ran = RunCowctl(arguments);
    EXPECT_EQ(ran.status, kFailed);
    EXPECT_EQ(ran.err, "cowctl " + arguments[0] + ": " + message + "\n");
  }
}

TEST_F(MountCommands, MountWhoseCowfsHasDiedIsToBeMountedAgain) {
  Write("f", "one");
  Do({"snapshot", At("f@mon")});
  kill(daemon_, SIGKILL);
  waitpid(daemon_, nullptr, 0);
  daemon_ = -1;
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"list", mount_},
                                                    {"stat", At("f@mon")},
                                                    {"snapshot", At("f@tue")},
                                                    {"check", mount_}}) {
    EXPECT_THAT(RunCowctl(arguments).err,
                ::testing::EndsWith("; the cowfs of this mount has died: umount it and mount it "
                                    "again\n"));
  }
  umount2(mount_.c_str(), MNT_DETACH);
}

TEST_F(MountCommands, RemovedFileKeepsItsSnapshots) {
  Write("f", "one");
  Do({"snapshot", At("f@mon")});
  std::filesystem::remove(At("f"));
  EXPECT_EQ(Read("f@mon"), "one");
  EXPECT_EQ(Json({"list", mount_})["snapshots"][0]["removed"], true);
  Do({"clone", At("f@mon"), At("back")});
  EXPECT_EQ(Read("back"), "one");
  Do({"rename", At("f@mon"), "tue"});
  Do({"destroy", At("f@tue")});
  EXPECT_EQ(Do({"list", mount_}), "no snapshots\n");
}

TEST_F(MountCommands, ListHoldsThousandsAndOnlyWhatIsBelow) {
  std::filesystem::create_directory(At("d"));
  Write("d/f", "one");
  Write("g", "one");
  Do({"snapshot", At("g@x")});
  constexpr int kSnapshots = 400;  // more than one reply holds
  for (int i = 0; i < kSnapshots; ++i) Do({"snapshot", At("d/f@n" + std::to_string(i))});
  EXPECT_EQ(Json({"list", mount_})["snapshots"].size(), kSnapshots + 1u);
  EXPECT_EQ(Json({"list", At("d")})["snapshots"].size(), kSnapshots + 0u);
  const nlohmann::json list = Json({"list", At("d/f")})["snapshots"];
  ASSERT_EQ(list.size(), kSnapshots + 0u);
  EXPECT_EQ(list[0]["snapshot"], "n0");
  EXPECT_EQ(list[kSnapshots - 1]["snapshot"], "n" + std::to_string(kSnapshots - 1));
}

TEST_F(MountCommands, MountAndVolumeGiveTheSameAnswers) {
  Do({"tree", "create", At("t")});
  Write("t/f", std::string(100'000, 'a'));
  Do({"snapshot", At("t/f@one")});
  Do({"snapshot", At("t@all")});
  Write("t/f", std::string(50'000, 'b'));
  Do({"snapshot", mount_ + "@root"});
  Write("gone", "x");
  Do({"snapshot", At("gone@kept")});
  std::filesystem::remove(At("gone"));
  const std::vector<std::vector<std::string>> commands = {
      {"list", "--space", ""}, {"list", "t"},     {"stat", "t/f@one"}, {"stat", "t/f"},
      {"stat", "t@all/f"},     {"stat", "t@all"}, {"stat", "t"},       {"stat", "gone@kept"},
  };
  // `root`: what the root is called, `prefix` what stands before every other path.
  const auto answers = [&commands](const std::string& prefix, const std::string& root) {
    std::vector<std::string> result;
    for (std::vector<std::string> command : commands) {
      command.back() = prefix + command.back();
      // In this order: the prefix of a mount begins as its root does.
      std::string text = Json(command).dump(1);
      text = absl::StrReplaceAll(text, {{prefix, "ROOT "}});
      text = absl::StrReplaceAll(text, {{root, "ROOT "}});
      result.push_back(text);
    }
    return result;
  };
  const std::vector<std::string> mounted = answers(mount_ + "/", mount_);
  EXPECT_EQ(Json({"stat", volume_ + ":/t"})["exclusive"], nullptr) << "written by cowfs";
  Unmount();
  const std::vector<std::string> unmounted = answers(volume_ + ":/", volume_);
  for (size_t i = 0; i < commands.size(); ++i) {
    EXPECT_EQ(mounted[i], unmounted[i]) << ::testing::PrintToString(commands[i]);
  }
}

TEST_F(MountCommands, SnapshotIsDurableWhenTheCommandReturns) {
  Write("f", "one");
  Do({"snapshot", At("f@mon")});
  Write("f", "two");
  kill(daemon_, SIGKILL);
  waitpid(daemon_, nullptr, 0);
  daemon_ = -1;
  umount2(mount_.c_str(), MNT_DETACH);
  Mount();
  EXPECT_EQ(Read("f@mon"), "one");
  EXPECT_THAT(Do({"check", mount_}), HasSubstr("no damage"));
}

}  // namespace
}  // namespace cow::ctl
