#include "cow/base/types.h"

#include <gtest/gtest.h>

#include <type_traits>

#include "absl/container/flat_hash_set.h"

namespace cow {
namespace {

template <typename A, typename B>
concept Addable = requires(A a, B b) {
  a + b;
};
template <typename A, typename B>
concept Subtractable = requires(A a, B b) {
  a - b;
};
template <typename A, typename B>
concept Comparable = requires(A a, B b) {
  a == b;
};

// Units of different kinds do not mix, and a plain count does not become a number by itself.
static_assert(Addable<PageNumber, uint64_t>);
static_assert(Subtractable<PageNumber, PageNumber>);
static_assert(!Addable<PageNumber, FrameNumber>);
static_assert(!Addable<PageNumber, PageNumber>);
static_assert(!Subtractable<PageNumber, FrameNumber>);
static_assert(!Comparable<PageNumber, FrameNumber>);
static_assert(!Comparable<ObjectNumber, uint64_t>);
static_assert(!std::is_convertible_v<uint64_t, FrameNumber>);
static_assert(!std::is_convertible_v<FrameNumber, uint64_t>);
static_assert(!std::is_convertible_v<Generation, ObjectNumber>);

TEST(TypesTest, DistanceOfNumbersIsAPlainCount) {
  static_assert(std::is_same_v<decltype(PageNumber(5) - PageNumber(3)), uint64_t>);
  EXPECT_EQ(PageNumber(5) - PageNumber(3), 2u);
  EXPECT_EQ(FrameNumber(3) + 4, FrameNumber(7));
}

TEST(TypesTest, NumbersOrderByValue) {
  EXPECT_LT(Generation(1), Generation(2));
  EXPECT_EQ(FrameNumber(), FrameNumber(0));
}

TEST(TypesTest, NumbersHash) {
  absl::flat_hash_set<FrameNumber> frames = {FrameNumber(1), FrameNumber(2), FrameNumber(1)};
  EXPECT_EQ(frames.size(), 2u);
  EXPECT_TRUE(frames.contains(FrameNumber(2)));
}

TEST(TypesTest, OffsetsRoundDownToPagesAndSizesUp) {
  EXPECT_EQ(PageOf(4095), PageNumber(0));
  EXPECT_EQ(PageOf(4096), PageNumber(1));
  EXPECT_EQ(OffsetOf(PageNumber(3)), 3 * kPageSize);
  EXPECT_EQ(OffsetOf(FrameNumber(1) + 1), 2 * kPageSize);
  EXPECT_EQ(PagesFor(0), 0u);
  EXPECT_EQ(PagesFor(1), 1u);
  EXPECT_EQ(PagesFor(4096), 1u);
  EXPECT_EQ(PagesFor(4097), 2u);
}

// The largest file of 2^52 pages still has offsets that fit.
TEST(TypesTest, LastPageOfTheLargestFileHasAnOffset) {
  EXPECT_EQ(OffsetOf(PageOf(UINT64_MAX)), UINT64_MAX - (kPageSize - 1));
}

}  // namespace
}  // namespace cow
