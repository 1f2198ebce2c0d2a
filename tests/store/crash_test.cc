// Crash points, thousands of them. COW_CRASH_SEED=N begins with another seed, COW_CRASH_POINTS=N
// sets how many, COW_CRASH_REPLAY=SEED:POINT repeats one that failed.
#include "tests/store/crash.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "cow/format/geometry.h"

namespace cow::test {
namespace {

uint64_t Environment(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 0);
}

std::string Replay(uint64_t seed, uint64_t point) {
  return "COW_CRASH_REPLAY=" + std::to_string(seed) + ":" + std::to_string(point) +
         " store_test --gtest_filter=CrashTest.ReplaysOnePoint\n";
}

// Runs seeds from `seed` on until `points` were checked.
void CrashEverywhere(uint64_t seed, uint64_t points) {
  seed = Environment("COW_CRASH_SEED", seed);
  points = Environment("COW_CRASH_POINTS", points);
  uint64_t done = 0;
  uint64_t refused = 0;
  for (; done < points; ++seed) {
    CrashRun run(seed);
    ASSERT_TRUE(run.failure().empty()) << run.failure() << Replay(seed, 0);
    refused += run.refused();
    for (uint64_t point = 0; point < run.points() && done < points; ++point) {
      if (run.Redundant(point)) continue;
      const std::string wrong = run.Check(point);
      ASSERT_TRUE(wrong.empty()) << wrong << Replay(seed, point);
      ++done;
    }
  }
  ::testing::Test::RecordProperty("points", std::to_string(done));
  ::testing::Test::RecordProperty("refused", std::to_string(refused));
}

// 20,000 in all; in parts, so that they run beside each other.
TEST(CrashTest, LongRunSurvivesEveryCrash1) { CrashEverywhere(1000, 5000); }
TEST(CrashTest, LongRunSurvivesEveryCrash2) { CrashEverywhere(2000, 5000); }
TEST(CrashTest, LongRunSurvivesEveryCrash3) { CrashEverywhere(3000, 5000); }
TEST(CrashTest, LongRunSurvivesEveryCrash4) { CrashEverywhere(4000, 5000); }

TEST(CrashTest, SurvivesCrashes) {
  for (uint64_t seed : {1, 2, 3, 4}) {
    CrashRun run(seed);
    ASSERT_EQ(run.failure(), "");
    for (uint64_t point = 0; point < run.points(); point += 17) {
      const std::string wrong = run.Check(point);
      ASSERT_TRUE(wrong.empty()) << wrong << Replay(seed, point);
    }
  }
}

TEST(CrashTest, ReplaysOnePoint) {
  const char* replay = std::getenv("COW_CRASH_REPLAY");
  if (replay == nullptr) GTEST_SKIP() << "COW_CRASH_REPLAY=SEED:POINT is not set";
  char* end = nullptr;
  const uint64_t seed = std::strtoull(replay, &end, 0);
  ASSERT_EQ(*end, ':') << "COW_CRASH_REPLAY=SEED:POINT";
  CrashRun run(seed);
  ASSERT_EQ(run.failure(), "");
  EXPECT_EQ(run.Check(std::strtoull(end + 1, nullptr, 0)), "");
}

// What follows proves that the harness can fail.

// How many points of a run are found wrong, with `change` made to the options.
uint64_t WrongPoints(const std::function<void(CrashOptions&)>& change) {
  uint64_t wrong = 0;
  for (uint64_t seed = 10; seed < 13; ++seed) {
    CrashOptions options = CrashRun::OptionsFor(seed);
    options.kills = false;
    change(options);
    CrashRun run(seed, options);
    EXPECT_EQ(run.failure(), "");
    for (uint64_t point = 0; point < run.points(); point += 7) {
      if (!run.Redundant(point) && !run.Check(point).empty()) ++wrong;
    }
  }
  return wrong;
}

TEST(CrashHarnessTest, NoticesThatAllFlushesAreLost) {
  EXPECT_GT(
      WrongPoints([](CrashOptions& options) { options.lose_flush = [](size_t) { return true; }; }),
      0u);
}

TEST(CrashHarnessTest, NoticesThatTheFlushBeforeTheSuperblockIsLost) {
  // A commit flushes twice; the first of each is lost.
  EXPECT_GT(WrongPoints([](CrashOptions& options) {
              options.lose_flush = [](size_t flush) { return flush % 2 == 0; };
            }),
            0u);
}

TEST(CrashHarnessTest, NoticesThatTheFlushAfterTheSuperblockIsLost) {
  EXPECT_GT(WrongPoints([](CrashOptions& options) {
              options.lose_flush = [](size_t flush) { return flush % 2 == 1; };
            }),
            0u);
}

TEST(CrashHarnessTest, NoticesALostSuperblock) {
  CrashRun run(11);
  ASSERT_EQ(run.failure(), "");
  uint64_t wrong = 0;
  for (uint64_t point = 0; point < run.points(); point += CrashRun::kVariants) {
    // Both copies of each slot in turn: one of them is the newest, and the other is older.
    for (int slot : {0, 1}) {
      wrong += !run.Check(point,
                          [&](Image& image) {
                            for (int copy : {0, 1}) {
                              image.Punch(OffsetOf(format::SuperblockFrame(slot, copy)) + 512, 512);
                              image.Punch(OffsetOf(format::SuperblockFrame(slot, copy)), 512);
                            }
                          })
                    .empty();
    }
  }
  EXPECT_GT(wrong, 10u);
}

TEST(CrashHarnessTest, NoticesALostWrite) {
  CrashRun run(11);
  ASSERT_EQ(run.failure(), "");
  const uint64_t last = run.points() - CrashRun::kVariants;
  uint64_t lost = 0;
  uint64_t noticed = 0;
  const std::vector<Event>& events = run.recording().events;
  for (size_t i = 0; i < events.size(); i += 5) {
    if (events[i].kind != Event::Kind::kWrite) continue;
    ++lost;
    noticed +=
        !run.Check(last, [&](Image& image) { image.Punch(events[i].offset, events[i].length); })
             .empty();
  }
  EXPECT_GT(noticed, lost / 4) << "of " << lost;
}

}  // namespace
}  // namespace cow::test
