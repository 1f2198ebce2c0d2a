// What `stat` prints of a volume, over one that is always the same.
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "cow/base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/fake_target.h"

namespace cow::ctl {
namespace {

using control::Command;
using control::Statistics;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class StatOfVolume : public ::testing::Test {
 protected:
  StatOfVolume() {
    setenv("TZ", "UTC", 1);
    volume_.info = {.volume = "/srv/app.cow",
                    .uuid = "00000000-1111",
                    .process = 321,
                    .total_bytes = uint64_t{1} << 30,
                    .used_bytes = uint64_t{3} << 20,
                    .available_bytes = uint64_t{1} << 29};
    volume_.statistics = {.open_seconds = 61,
                          .reads = 3,
                          .read_bytes = 4096,
                          .writes = 7,
                          .written_bytes = 8192,
                          .copied_pages = 2,
                          .commits = 4,
                          .committed_frames = 30,
                          .commit_microseconds = 8000,
                          .last_commit_microseconds = 1500,
                          .syncs = 10,
                          .allocated_frames = 50,
                          .freed_frames = 40,
                          .waiting_frames = 5,
                          .folded_items = 60,
                          .waiting_items = 6,
                          .node_hits = 70,
                          .node_misses = 8,
                          .checksum_failures = 1,
                          .taken_snapshots = 2,
                          .made_clones = 0};
  }

  // The root of this machine stands for a mount.
  Ran On(const std::vector<std::string>& arguments) {
    std::ostringstream out;
    std::ostringstream err;
    Environment environment{.out = out, .err = err};
    environment.doors.mount =
        [this](const std::string&) -> absl::StatusOr<std::unique_ptr<Target>> {
      return std::make_unique<FakeTarget>(volume_, "/");
    };
    const int status = ctl::Run(arguments, environment);
    return {.status = status, .out = out.str(), .err = err.str()};
  }

  static std::vector<std::string> Lines(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
  }

  FakeVolume volume_;
};

TEST_F(StatOfVolume, OfAMountIsItsRootThenWhatItsCowfsHasCounted) {
  EXPECT_EQ(On({"stat", "/"}).out,
            "name        /\n"
            "type        file\n"
            "size        8.0K\n"
            "created     2026-11-24 13:05\n"
            "referenced  8.0K\n"
            "exclusive   4.0K\n"
            "snapshots   2\n"
            "volume      /srv/app.cow\n"
            "uuid        00000000-1111\n"
            "total       1.0G\n"
            "used        3.0M\n"
            "available   512M\n"
            "process     321\n"
            "mounted     for 61 s\n"
            "read        4.0K in 3 reads\n"
            "written     8.0K in 7 writes\n"
            "copied      8.0K on write\n"
            "commits     4, 2.0 ms each, the last 1.5 ms, 7.5 frames each\n"
            "syncs       10, 2.5 for each commit\n"
            "frames      50 allocated, 40 freed, 5 waiting to be freed\n"
            "counts      60 items folded, 6 waiting\n"
            "nodes       70 found in memory, 8 read\n"
            "checksums   1 failures\n"
            "versions    2 snapshots taken, 0 clones made\n");
}

TEST_F(StatOfVolume, CountersAreAskedForBeforeTheSpaceWhichCountsToo) {
  On({"stat", "/"});
  ASSERT_EQ(volume_.requests.size(), 2u);
  EXPECT_EQ(volume_.requests[0].command, Command::kStatistics);
  EXPECT_EQ(volume_.requests[1].command, Command::kStat);
}

TEST_F(StatOfVolume, ForScriptsEachCounterHasALineWithOneNumber) {
  const std::vector<std::string> lines = Lines(On({"stat", "-Hp", "/"}).out);
  for (const char* line : {"total\t1073741824", "process\t321", "open_seconds\t61",
                           "commit_microseconds\t8000", "made_clones\t0"}) {
    EXPECT_THAT(lines, ::testing::Contains(line));
  }
}

TEST_F(StatOfVolume, AsJsonAddsTheVolumeToTheEntry) {
  const nlohmann::json json = nlohmann::json::parse(On({"stat", "--json", "/"}).out);
  EXPECT_EQ(json["name"], "/");
  EXPECT_EQ(json["exclusive"], 4096);
  EXPECT_EQ(json["volume"]["path"], "/srv/app.cow");
  EXPECT_EQ(json["volume"]["process"], 321);
  EXPECT_EQ(json["volume"]["statistics"].size(), std::size(control::kStatisticsFields));
  EXPECT_EQ(json["volume"]["statistics"]["syncs"], 10);
}

TEST_F(StatOfVolume, OfWhatIsNotMountedSaysNothingOfCounters) {
  volume_.info.process = 0;
  EXPECT_THAT(On({"stat", "/"}).out, ::testing::EndsWith("available   512M\n"));
  const nlohmann::json json = nlohmann::json::parse(On({"stat", "--json", "/"}).out);
  EXPECT_EQ(json["volume"]["statistics"], nullptr);
  const Ran watched = On({"stat", "/", "--watch"});
  EXPECT_EQ(watched.status, kFailed);
  EXPECT_THAT(watched.err, HasSubstr("not mounted: there is nothing to watch"));
}

TEST_F(StatOfVolume, WatchPrintsWhatWasDoneBetweenTwoLooksUntilTheMountIsGone) {
  int looks = 0;
  volume_.looked = [&] {
    volume_.statistics.commits += 2;
    volume_.statistics.commit_microseconds += 5000;
    if (++looks == 3) volume_.failure = ErrnoStatus(ENOTCONN, "gone");
  };
  const Ran ran = On({"stat", "-H", "-p", "/", "--watch", "0.001"});
  EXPECT_EQ(ran.status, kFailed);
  EXPECT_THAT(ran.err, HasSubstr("gone"));
  // Read, written, copied, syncs, commits, ms/commit, allocated, freed: nothing else was done.
  const auto row = ::testing::MatchesRegex("0\t0\t0\t0.0\t[0-9.]*\t2.5\t0\t0\t20480");
  EXPECT_THAT(Lines(ran.out), ElementsAre(row, row));
  // Nothing else is asked: no space is counted.
  for (const control::Request& request : volume_.requests) {
    EXPECT_EQ(request.command, Command::kStatistics);
  }
}

TEST_F(StatOfVolume, WatchOfAnotherCowfsBeginsAnew) {
  int looks = 0;
  volume_.looked = [&] {
    ++volume_.info.process;
    volume_.statistics.commits = 1;
    volume_.statistics.commit_microseconds = 7000;
    if (++looks == 2) volume_.failure = ErrnoStatus(ENOTCONN, "gone");
  };
  EXPECT_THAT(On({"stat", "-H", "/", "--watch", "0.001"}).out, HasSubstr("\t7.0\t"));
}

TEST_F(StatOfVolume, WatchAsJsonIsAnObjectALine) {
  int looks = 0;
  volume_.looked = [&] {
    if (++looks == 3) volume_.failure = ErrnoStatus(ENOTCONN, "gone");
  };
  const std::vector<std::string> lines = Lines(On({"stat", "/", "--json", "--watch", "0.001"}).out);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(nlohmann::json::parse(lines[1])["statistics"]["reads"], 3);
}

TEST_F(StatOfVolume, WatchTakesSecondsAndNeedNotBeTold) {
  for (const char* seconds : {"0", "-1", "x", "1e9", "nan"}) {
    const Ran ran = On({"stat", "/", std::string("--watch=") + seconds});
    EXPECT_EQ(ran.status, kUsage) << seconds;
    EXPECT_THAT(ran.err, StartsWith("cowctl stat: --watch takes seconds, as in --watch 5\n"));
  }
  volume_.failure = ErrnoStatus(ENOTCONN, "gone");
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"stat", "/", "--watch"}, {"stat", "--watch", "/"}}) {
    EXPECT_THAT(On(arguments).err, HasSubstr("gone")) << ::testing::PrintToString(arguments);
  }
}

}  // namespace
}  // namespace cow::ctl
