#include "cow/base/rate_limit.h"

#include <gtest/gtest.h>

namespace cow {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = RateLimit::Clock;

constexpr uint64_t kPiece = 128 << 10;
const Clock::time_point kStart = Clock::time_point() + std::chrono::hours(1000);

// Bytes done in a second by who waits as told, each wait ending `late`.
uint64_t DoneInASecond(RateLimit& limit, Clock::time_point& now, Clock::duration work,
                       Clock::duration late) {
  const Clock::time_point end = now + seconds(1);
  uint64_t done = 0;
  while (now < end) {
    now += work;
    done += kPiece;
    const Clock::time_point due = limit.Spend(kPiece, now);
    if (due > now) now = due + late;
  }
  return done;
}

TEST(RateLimitTest, WorkIsKeptToTheRateWhateverItsOwnTimeAndHoweverLateWaitsEnd) {
  for (const uint64_t rate : {2 << 20, 100 << 20, 1 << 30}) {
    for (const auto work : {std::chrono::microseconds(1), std::chrono::microseconds(60)}) {
      RateLimit limit(rate);
      Clock::time_point now = kStart;
      for (int i = 0; i < 5; ++i) {
        const auto done = static_cast<double>(DoneInASecond(limit, now, work, milliseconds(2)));
        EXPECT_NEAR(done / static_cast<double>(rate), 1, 0.15) << rate << ", second " << i;
      }
    }
  }
}

TEST(RateLimitTest, WhatWasMissedIsNotMadeUpFor) {
  RateLimit limit(10 << 20);
  Clock::time_point now = kStart;
  DoneInASecond(limit, now, milliseconds(0), milliseconds(0));
  now += seconds(60);
  EXPECT_LT(DoneInASecond(limit, now, milliseconds(0), milliseconds(0)), 12u << 20);
}

TEST(RateLimitTest, WithoutALimitNothingIsWaitedFor) {
  RateLimit limit;
  EXPECT_EQ(limit.Spend(uint64_t{1} << 60, kStart), kStart);
}

}  // namespace
}  // namespace cow
