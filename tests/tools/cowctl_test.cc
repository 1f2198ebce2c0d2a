// What cowctl prints, letter by letter, and its exit status, over a volume that is always the same.
#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cow/base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/fake_target.h"

namespace cow::ctl {
namespace {

using control::Command;
using control::Entry;
using control::Kind;
using ::testing::HasSubstr;

class Cowctl : public ::testing::Test {
 protected:
  Cowctl() {
    setenv("TZ", "UTC", 1);
    // Not in the order in which they are to be listed.
    volume_.snapshots = {
        {.path = "db/app.db",
         .name = "tue",
         .has_space = true,
         .size = 5'242'880,
         .created_ns = 1'795'611'912'000'000'001,
         .referenced = 5'242'880,
         .exclusive = 12'288},
        {.path = "db/app.db",
         .name = "mon",
         .has_space = true,
         .size = 4'194'304,
         .created_ns = 1'795'525'512'000'000'000,
         .referenced = 4'194'304,
         .exclusive = 0},
        {.path = "",
         .name = "nightly",
         .kind = Kind::kTree,
         .has_space = true,
         .created_ns = 1'795'525'512'000'000'000,
         .referenced = 9'437'184,
         .exclusive = 1'048'576},
        {.path = "old\tname",
         .name = "x",
         .removed = true,
         .has_space = true,
         .size = 100,
         .created_ns = 1'795'525'512'000'000'000,
         .referenced = 4096,
         .exclusive = 4096},
    };
  }

  Ran On(const std::vector<std::string>& arguments, bool terminal = false) {
    return RunOn(volume_, arguments, terminal);
  }

  FakeVolume volume_;
};

TEST_F(Cowctl, ListIsATableForPeople) {
  const Ran ran = On({"list", "v.cow:/"});
  EXPECT_EQ(ran.status, kDone);
  EXPECT_EQ(ran.err, "");
  EXPECT_EQ(ran.out,
            "NAME                  TYPE          CREATED           SIZE\n"
            "v.cow:/@nightly       tree          2026-11-24 13:05     -\n"
            "v.cow:/db/app.db@mon  file          2026-11-24 13:05  4.0M\n"
            "v.cow:/db/app.db@tue  file          2026-11-25 13:05  5.0M\n"
            "v.cow:/old\\011name@x  removed file  2026-11-24 13:05  100B\n");
}

TEST_F(Cowctl, ListForScriptsHasTabsExactNumbersAndNoHeader) {
  const Ran ran = On({"list", "-H", "-p", "--space", "v.cow:/"});
  EXPECT_EQ(ran.status, kDone);
  EXPECT_EQ(ran.out,
            "v.cow:/@nightly\ttree\t1795525512\t-\t9437184\t1048576\n"
            "v.cow:/db/app.db@mon\tfile\t1795525512\t4194304\t4194304\t0\n"
            "v.cow:/db/app.db@tue\tfile\t1795611912\t5242880\t5242880\t12288\n"
            "v.cow:/old\\011name@x\tremoved file\t1795525512\t100\t4096\t4096\n");
  ASSERT_EQ(volume_.requests.size(), 2u);
  EXPECT_TRUE(volume_.requests[0].space);
  EXPECT_EQ(volume_.requests[1].cursor, 2u);
}

TEST_F(Cowctl, ListAsJsonFollowsTheSchema) {
  volume_.snapshots.resize(1);
  const Ran ran = On({"list", "--json", "--space", "v.cow:/"});
  EXPECT_EQ(ran.status, kDone);
  EXPECT_EQ(ran.out, R"({
  "snapshots": [
    {
      "name": "v.cow:/db/app.db@tue",
      "path": "v.cow:/db/app.db",
      "snapshot": "tue",
      "type": "file",
      "removed": false,
      "size": 5242880,
      "created_ns": 1795611912000000001,
      "referenced": 5242880,
      "exclusive": 12288
    }
  ]
}
)");
}

TEST_F(Cowctl, EmptyListSaysSoToPeopleOnly) {
  volume_.snapshots.clear();
  EXPECT_EQ(On({"list", "v.cow:/"}).out, "no snapshots\n");
  EXPECT_EQ(On({"list", "-H", "v.cow:/"}).out, "");
  EXPECT_EQ(On({"list", "--json", "v.cow:/"}).out, "{\n  \"snapshots\": []\n}\n");
}

TEST_F(Cowctl, StatIsAFieldALine) {
  EXPECT_EQ(On({"stat", "v.cow:/a"}).out,
            "name        v.cow:/a\n"
            "type        file\n"
            "size        8.0K\n"
            "created     2026-11-24 13:05\n"
            "referenced  8.0K\n"
            "exclusive   4.0K\n"
            "snapshots   2\n");
  EXPECT_EQ(On({"stat", "-Hp", "v.cow:/a"}).out,
            "name\tv.cow:/a\n"
            "type\tfile\n"
            "size\t8192\n"
            "created\t1795525512\n"
            "referenced\t8192\n"
            "exclusive\t4096\n"
            "snapshots\t2\n");
}

TEST_F(Cowctl, SpaceThatIsNotCountedIsADashAndNull) {
  volume_.counted = false;
  volume_.snapshots.resize(1);
  volume_.snapshots[0].has_space = false;
  EXPECT_THAT(On({"stat", "v.cow:/a"}).out, HasSubstr("referenced  -\nexclusive   -\n"));
  EXPECT_THAT(On({"stat", "-H", "v.cow:/a"}).out, HasSubstr("referenced\t-\nexclusive\t-\n"));
  EXPECT_THAT(On({"list", "-Hp", "--space", "v.cow:/"}).out, ::testing::EndsWith("\t-\t-\n"));
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"stat", "--json", "v.cow:/a"},
        {"list", "--json", "--space", "v.cow:/"}}) {
    const std::string out = On(arguments).out;
    EXPECT_THAT(out, HasSubstr("\"referenced\": null"));
    EXPECT_THAT(out, HasSubstr("\"exclusive\": null"));
  }
}

TEST_F(Cowctl, WhatOnlyLooksOpensForReading) {
  On({"list", "v.cow:/"});
  On({"list", "--space", "v.cow:/"});
  On({"stat", "v.cow:/a"});
  On({"check", "v.cow"});
  On({"check", "v.cow:/"});
  EXPECT_THAT(volume_.opened_for_writing, ::testing::Each(false));
  On({"snapshot", "v.cow:/a@mon"});
  EXPECT_TRUE(volume_.opened_for_writing.back());
}

TEST_F(Cowctl, ListOfASnapshotIsThatSnapshot) {
  volume_.snapshots.clear();
  volume_.is_snapshot = true;
  EXPECT_EQ(On({"list", "-H", "v.cow:/a@mon"}).out, "v.cow:/a@mon\tfile\t2026-11-24 13:05\t8.0K\n");
  EXPECT_THAT(On({"list", "-Hp", "--space", "v.cow:/a@mon"}).out,
              ::testing::EndsWith("\t8192\t8192\t4096\n"));
  volume_.is_snapshot = false;
  EXPECT_EQ(On({"list", "v.cow:/a@mon"}).out, "no snapshots\n") << "an entry with an @";
}

TEST_F(Cowctl, ChangesAnswerInOneLine) {
  EXPECT_EQ(On({"tree", "create", "v.cow:/t"}).out, "created tree v.cow:/t\n");
  EXPECT_EQ(On({"snapshot", "v.cow:/a@mon"}).out, "took snapshot v.cow:/a@mon\n");
  EXPECT_EQ(On({"clone", "v.cow:/a@mon", "v.cow:/b"}).out, "cloned v.cow:/a@mon to v.cow:/b\n");
  EXPECT_EQ(On({"rollback", "v.cow:/a@mon"}).out,
            "rolled back to v.cow:/a@mon; what it replaced is "
            "v.cow:/a@rollback-20261124-130500\n");
  EXPECT_EQ(On({"rename", "v.cow:/a@mon", "tue"}).out, "renamed v.cow:/a@mon to v.cow:/a@tue\n");
  EXPECT_EQ(On({"destroy", "v.cow:/a@tue"}).out, "destroyed v.cow:/a@tue\n");
}

TEST_F(Cowctl, ChangesForScriptsAnswerWithTheNameAlone) {
  EXPECT_EQ(On({"snapshot", "-H", "v.cow:/a@mon"}).out, "v.cow:/a@mon\n");
  EXPECT_EQ(On({"rollback", "-H", "v.cow:/a@mon"}).out, "v.cow:/a@rollback-20261124-130500\n");
  EXPECT_EQ(On({"clone", "-H", "v.cow:/a@mon", "v.cow:/b"}).out, "v.cow:/b\n");
}

TEST_F(Cowctl, ArgumentsBecomeRequests) {
  On({"snapshot", "v.cow:/dir/a@b@mon"});
  On({"snapshot", "v.cow:/@all"});
  On({"clone", "v.cow:/dir/a@mon", "v.cow:/c"});
  On({"stat", "v.cow:/@all"});
  On({"stat", "v.cow:/d@x/f"});
  ASSERT_EQ(volume_.requests.size(), 5u);
  EXPECT_EQ(volume_.requests[0],
            (control::Request{.command = Command::kSnapshot, .path = "dir/a@b", .name = "mon"}));
  EXPECT_EQ(volume_.requests[1],
            (control::Request{.command = Command::kSnapshot, .path = "", .name = "all"}));
  EXPECT_EQ(volume_.requests[2],
            (control::Request{.command = Command::kClone, .path = "dir/a@mon", .target = "c"}));
  EXPECT_EQ(volume_.requests[3].path, ".snapshots/all");
  EXPECT_EQ(volume_.requests[4].path, "d@x/f");
}

TEST_F(Cowctl, DefragGoesOverTheFileUntilItHelpsNoMore) {
  const std::vector<control::Defragmented> passes = {
      {.extents_before = 900, .extents_after = 200, .moved_bytes = 2 << 20, .file_bytes = 4 << 20},
      {.extents_before = 200, .extents_after = 20, .moved_bytes = 1 << 20, .file_bytes = 4 << 20},
      {.extents_before = 20, .extents_after = 18, .moved_bytes = 1 << 20, .file_bytes = 4 << 20}};
  volume_.passes = passes;
  Ran ran = On({"defrag", "v.cow:/a"});
  EXPECT_EQ(ran.status, kDone) << ran.err;
  EXPECT_EQ(ran.out, "v.cow:/a: 900 extents, now 18; moved 4.0M\n");
  EXPECT_TRUE(volume_.passes.empty());
  EXPECT_FALSE(volume_.unshared);
  volume_.passes = passes;
  EXPECT_EQ(On({"defrag", "-H", "-p", "v.cow:/a"}).out, "v.cow:/a\t900\t18\t4194304\t0\n");
  volume_.passes = passes;
  const auto json = nlohmann::json::parse(On({"defrag", "--json", "v.cow:/a"}).out);
  EXPECT_EQ(json, nlohmann::json::parse(R"({"name": "v.cow:/a", "extents_before": 900,
                                            "extents": 18, "moved": 4194304, "shared": 0})"));
}

TEST_F(Cowctl, DefragSaysWhatIsSharedAndWhatMovingItTakes) {
  volume_.passes = {
      {.extents_before = 9, .extents_after = 9, .shared_bytes = 36864, .file_bytes = 36864}};
  EXPECT_EQ(On({"defrag", "v.cow:/a"}).out,
            "v.cow:/a: 9 extents, now 9; moved 0B\n"
            "36K lie scattered and are shared with snapshots or clones; --unshare moves them too, "
            "to new space\n");
  volume_.passes = {{.extents_before = 9, .extents_after = 9}};
  EXPECT_EQ(On({"defrag", "--unshare", "v.cow:/a"}).status, kDone);
  EXPECT_TRUE(volume_.unshared);
}

TEST_F(Cowctl, CheckOfASoundVolumeSucceeds) {
  volume_.check = {.damages = {}, .frames = 1024};
  const Ran ran = On({"check", "v.cow"});
  EXPECT_EQ(ran.status, kDone);
  EXPECT_EQ(ran.out, "v.cow: checked 4.0M, no damage\n");
  EXPECT_EQ(ran.err, "");
}

TEST_F(Cowctl, CheckReadsAtTheRateThatItIsGiven) {
  On({"check", "--rate", "100M", "v.cow"});
  EXPECT_EQ(volume_.check_rate, uint64_t{100} << 20);
  On({"check", "v.cow"});
  EXPECT_EQ(volume_.check_rate, 0u);
}

TEST_F(Cowctl, CheckPrintsEachDamageAndFails) {
  volume_.check = {.damages = {{"tree 1, object 7, page 12", "its checksum does not match"},
                               {"count of frame 9", "is 2, should be 3"}},
                   .frames = 1024};
  Ran ran = On({"check", "v.cow"});
  EXPECT_EQ(ran.status, kFailed);
  EXPECT_EQ(ran.out,
            "tree 1, object 7, page 12: its checksum does not match\n"
            "count of frame 9: is 2, should be 3\n"
            "v.cow: checked 4.0M, 2 damages\n");
  ran = On({"check", "-H", "v.cow"});
  EXPECT_EQ(ran.status, kFailed);
  EXPECT_EQ(ran.out,
            "tree 1, object 7, page 12\tits checksum does not match\n"
            "count of frame 9\tis 2, should be 3\n");
  volume_.check.damages.resize(1);
  ran = On({"check", "--json", "v.cow"});
  EXPECT_EQ(ran.status, kFailed);
  EXPECT_EQ(ran.out, R"({
  "volume": "v.cow",
  "damaged": true,
  "frames": 1024,
  "damages": [
    {
      "where": "tree 1, object 7, page 12",
      "what": "its checksum does not match"
    }
  ]
}
)");
}

TEST_F(Cowctl, ProgressIsShownOnATerminalAndTakenAway) {
  volume_.check = {.damages = {}, .frames = 1024};
  const Ran ran = On({"check", "v.cow"}, /*terminal=*/true);
  EXPECT_THAT(ran.err, HasSubstr("50%  2.0M of 4.0M"));
  EXPECT_TRUE(ran.err.ends_with(" \r")) << ran.err;
  EXPECT_EQ(ran.out, "v.cow: checked 4.0M, no damage\n");
}

TEST_F(Cowctl, ErrorNamesOperationFileCauseAndWhatToDo) {
  volume_.failure =
      MakeError(absl::StatusCode::kAlreadyExists, EEXIST, "a snapshot of that name exists");
  Ran ran = On({"snapshot", "v.cow:/a@mon"});
  EXPECT_EQ(ran.status, kFailed);
  EXPECT_EQ(ran.out, "");
  EXPECT_EQ(
      ran.err,
      "cowctl snapshot: v.cow:/a@mon: a snapshot of that name exists; choose another name, or "
      "destroy that one first\n");
  volume_.failure = MakeError(absl::StatusCode::kDataLoss, EIO, "frame 7: checksum");
  ran = On({"list", "v.cow:/a"});
  EXPECT_EQ(ran.status, kFailed);
  EXPECT_EQ(ran.err,
            "cowctl list: v.cow:/a: frame 7: checksum; cowctl check shows what is damaged\n");
}

TEST_F(Cowctl, MessageThatSaysWhatToDoGetsNoSecondHint) {
  volume_.failure = MakeError(absl::StatusCode::kDataLoss, EIO, "frame 7: checksum; run a check");
  EXPECT_EQ(On({"list", "v.cow:/a"}).err,
            "cowctl list: v.cow:/a: frame 7: checksum; run a check\n");
}

TEST_F(Cowctl, ErrorsOfRightsComeWithoutAHint) {
  volume_.failure = MakeError(absl::StatusCode::kPermissionDenied, EPERM, "only its owner may");
  EXPECT_EQ(On({"destroy", "v.cow:/a@m"}).err, "cowctl destroy: v.cow:/a@m: only its owner may\n");
  volume_.failure = MakeError(absl::StatusCode::kPermissionDenied, EACCES, "Permission denied");
  EXPECT_EQ(On({"list", "v.cow:/a"}).err, "cowctl list: v.cow:/a: Permission denied\n");
}

TEST_F(Cowctl, ErrorThatNamesItsPathIsNotNamedAgain) {
  volume_.failure = MakeError(absl::StatusCode::kDataLoss, EBADMSG, "v.cow: no superblock");
  EXPECT_EQ(On({"list", "v.cow:/a"}).err, "cowctl list: v.cow: no superblock\n");
  volume_.failure = MakeError(absl::StatusCode::kDataLoss, EBADMSG, "stat /a: v.cow: frame 7");
  EXPECT_EQ(On({"list", "v.cow:/a"}).err, "cowctl list: stat /a: v.cow: frame 7\n");
  volume_.failure = MakeError(absl::StatusCode::kDataLoss, EBADMSG, "v: an odd thing");
  EXPECT_EQ(On({"list", "v.cow:/a"}).err, "cowctl list: v.cow:/a: v: an odd thing\n");
}

TEST_F(Cowctl, ErrorOfARenameNamesTheSnapshot) {
  volume_.failure = MakeError(absl::StatusCode::kAlreadyExists, EEXIST, "there is one already");
  EXPECT_THAT(On({"rename", "v.cow:/a@1", "one"}).err,
              ::testing::StartsWith("cowctl rename: v.cow:/a@1: there is one already; choose"));
}

TEST_F(Cowctl, CloneIntoAnotherVolumeFails) {
  const Ran ran = On({"clone", "v.cow:/a", "/elsewhere/b"});
  EXPECT_EQ(ran.status, kFailed);
  EXPECT_THAT(ran.err, HasSubstr("not in the same volume; a clone stays in its volume"));
  EXPECT_TRUE(volume_.requests.empty());
}

TEST_F(Cowctl, MistakesInUsageExitWith2AndAskForNothing) {
  const std::vector<std::vector<std::string>> mistakes = {
      {},
      {"frobnicate"},
      {"snapshot"},
      {"snapshot", "v.cow:/a@m", "more"},
      {"snapshot", "v.cow:/a"},
      {"snapshot", "v.cow:/a@"},
      {"snapshot", "v.cow:/a@.."},
      {"rename", "v.cow:/a@m", "x/y"},
      {"rename", "v.cow:/a@m", "x@y"},
      {"list", "--sapce", "v.cow:/"},
      {"tree"},
      {"create", "v.cow", "--size", "many"},
  };
  for (const auto& arguments : mistakes) {
    const Ran ran = On(arguments);
    EXPECT_EQ(ran.status, kUsage) << ::testing::PrintToString(arguments) << ran.err;
    EXPECT_EQ(ran.out, "") << ::testing::PrintToString(arguments);
    EXPECT_NE(ran.err, "") << ::testing::PrintToString(arguments);
  }
  EXPECT_TRUE(volume_.requests.empty());
}

TEST_F(Cowctl, HelpGoesToTheOutputAndNamesEveryCommand) {
  const Ran ran = On({"--help"});
  EXPECT_EQ(ran.status, kDone);
  for (const char* command : {"create", "tree", "snapshot", "clone", "rollback", "rename",
                              "destroy", "list", "stat", "check", "features"}) {
    EXPECT_THAT(ran.out, HasSubstr(command));
  }
  EXPECT_THAT(On({"snapshot", "--help"}).out, HasSubstr("PATH@NAME"));
  EXPECT_THAT(On({"--version"}).out, HasSubstr("cowctl "));
}

}  // namespace
}  // namespace cow::ctl
