#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <random>
#include <set>

#include "cow/format/geometry.h"
#include "cow/format/log_frame.h"
#include "cow/format/record.h"

namespace cow::format {
namespace {

TEST(RecordTest, FieldsAreWhereTheSpecificationSays) {
  EXPECT_EQ(offsetof(Record, root), 0u);
  EXPECT_EQ(offsetof(Record, size), 16u);
  EXPECT_EQ(offsetof(Record, pages), 24u);
  EXPECT_EQ(offsetof(Record, flags), 32u);
  EXPECT_EQ(offsetof(Record, attribute_length), 34u);
  EXPECT_EQ(offsetof(Record, attributes), 48u);
}

TEST(GeometryTest, FixedFramesOfAZoneDoNotOverlapAndAreInItsHeader) {
  std::set<FrameNumber> frames = {SuperblockFrame(0, 0), SuperblockFrame(1, 0),
                                  SuperblockFrame(0, 1), SuperblockFrame(1, 1), kHolderFrame};
  EXPECT_EQ(frames.size(), 5u);
  for (uint64_t leaf = 0; leaf < kLeavesPerZone; ++leaf) {
    EXPECT_TRUE(frames.insert(CountLeafPair(leaf)).second);
    EXPECT_TRUE(frames.insert(CountLeafPair(leaf) + 1).second);
  }
  for (uint8_t level = 1; level <= kMaxCountLevel; ++level) {
    EXPECT_TRUE(frames.insert(CountNodePair(level, 0)).second);
    EXPECT_TRUE(frames.insert(CountNodePair(level, 0) + 1).second);
  }
  for (FrameNumber frame : frames) EXPECT_LT(frame.value(), kZoneHeader);
}

TEST(GeometryTest, CountsLieInTheZoneTheyCount) {
  EXPECT_EQ(CountLeafPair(kLeavesPerZone).value(), kZoneFrames + 8);
  EXPECT_EQ(CountNodePair(1, 3).value(), 3 * kZoneFrames + 520);
  EXPECT_EQ(CountNodePair(2, 1).value(), 256 * kZoneFrames + 522);
}

TEST(GeometryTest, TheCountTreeIsAsHighAsTheVolumeNeeds) {
  EXPECT_EQ(CountLevels(1), 1);
  EXPECT_EQ(CountLevels(kZoneFrames), 1);
  EXPECT_EQ(CountLevels(kZoneFrames + 1), 2);
  EXPECT_EQ(CountLevels(256 * kZoneFrames), 2);
  EXPECT_EQ(CountLevels(256 * kZoneFrames + 1), 3);
  EXPECT_EQ(CountLevels(kMaxFrame), kMaxCountLevel);
}

TEST(GeometryTest, HeaderFramesCountPartialZones) {
  EXPECT_EQ(HeaderFrames(100), 100u);
  EXPECT_EQ(HeaderFrames(kZoneFrames), kZoneHeader);
  EXPECT_EQ(HeaderFrames(kZoneFrames + 10), kZoneHeader + 10);
}

TEST(LogFrameTest, IsReadAsItWasWritten) {
  LogFrame log_frame;
  log_frame.generation = Generation(5);
  log_frame.first = 1000;
  log_frame.previous = Entry(FrameNumber(9), Generation(4), 3, 0, false);
  for (uint64_t i = 1; i <= kItemsPerLogFrame; ++i) {
    log_frame.items.push_back(
        Entry(FrameNumber(i), Generation(1), 2, 0, false).With(CountOperation::kAdd));
  }
  absl::StatusOr<LogFrame> read = DecodeLogFrame(EncodeLogFrame(log_frame));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->generation, log_frame.generation);
  EXPECT_EQ(read->first, log_frame.first);
  EXPECT_EQ(read->previous, log_frame.previous);
  EXPECT_EQ(read->items, log_frame.items);
}

TEST(LogFrameTest, RandomBytesAreAnErrorOrWithinBounds) {
  std::mt19937_64 random(21);
  LogFrame one;
  one.items.push_back(Entry(FrameNumber(1), Generation(1), 0, 0, false));
  const auto good = EncodeLogFrame(one);
  for (int round = 0; round < 2000; ++round) {
    auto bytes = good;
    for (size_t i = 4; i < kPageSize; ++i) bytes[i] = static_cast<std::byte>(random());
    if (round % 2 == 0) bytes[5] = bytes[6] = bytes[7] = std::byte{0};
    absl::StatusOr<LogFrame> read = DecodeLogFrame(bytes);
    if (read.ok()) {
      EXPECT_LE(read->items.size(), kItemsPerLogFrame);
    }
  }
  EXPECT_FALSE(DecodeLogFrame({}).ok());
}

}  // namespace
}  // namespace cow::format
