#include "cow/format/superblock.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>

#include "cow/base/checksum.h"

namespace cow::format {
namespace {

Superblock Sample() {
  Superblock s;
  for (size_t i = 0; i < s.uuid.size(); ++i) s.uuid[i] = static_cast<uint8_t>(i + 1);
  s.generation = Generation(77);
  s.total_frames = 4096;
  s.used_frames = 123;
  s.max_frames = 9999;
  s.trees = {Entry(FrameNumber(600), Generation(70), 1, 1, true), 5};
  s.catalog = {Entry(FrameNumber(601), Generation(71), 2, 0, true), 6};
  s.orphans = {Entry(), 7};
  s.counts = Entry(FrameNumber(520), Generation(77), 3, 1, false);
  s.count_log = {Entry(FrameNumber(700), Generation(77), 4, 0, false), 10, 20};
  s.free_log = {Entry(), 30, 30};
  s.reaped = {{Entry(FrameNumber(800), Generation(9), 5, 2, false), 64}};
  return s;
}

TEST(SuperblockTest, IsReadAsItWasWritten) {
  const auto bytes = EncodeSuperblock(Sample(), FrameNumber(1));
  absl::StatusOr<Superblock> read = DecodeSuperblock(bytes, FrameNumber(1));
  ASSERT_TRUE(read.ok()) << read.status();
  const Superblock s = Sample();
  EXPECT_EQ(read->uuid, s.uuid);
  EXPECT_EQ(read->generation, s.generation);
  EXPECT_EQ(read->total_frames, s.total_frames);
  EXPECT_EQ(read->used_frames, s.used_frames);
  EXPECT_EQ(read->max_frames, s.max_frames);
  EXPECT_EQ(read->trees.root, s.trees.root);
  EXPECT_EQ(read->catalog.next_object, s.catalog.next_object);
  EXPECT_EQ(read->orphans.next_object, s.orphans.next_object);
  EXPECT_EQ(read->counts, s.counts);
  EXPECT_EQ(read->count_log.tail, s.count_log.tail);
  EXPECT_EQ(read->count_log.end, s.count_log.end);
  EXPECT_EQ(read->free_log.first, s.free_log.first);
  ASSERT_EQ(read->reaped.size(), 1u);
  EXPECT_EQ(read->reaped[0].node, s.reaped[0].node);
  EXPECT_EQ(read->reaped[0].next, 64u);
}

TEST(SuperblockTest, NoticesEveryFlippedBit) {
  const auto bytes = EncodeSuperblock(Sample(), FrameNumber(0));
  for (size_t bit = 0; bit < kPageSize * 8; ++bit) {
    auto flipped = bytes;
    flipped[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(DecodeSuperblock(flipped, FrameNumber(0)).ok()) << "bit " << bit;
  }
}

TEST(SuperblockTest, IsNotTakenFromAnotherFrame) {
  const auto bytes = EncodeSuperblock(Sample(), FrameNumber(0));
  EXPECT_TRUE(absl::IsDataLoss(DecodeSuperblock(bytes, FrameNumber(530)).status()));
}

TEST(SuperblockTest, RefusesWhatItDoesNotKnow) {
  Superblock s = Sample();
  s.incompatible = uint64_t{1} << 40;
  absl::Status status =
      DecodeSuperblock(EncodeSuperblock(s, FrameNumber(0)), FrameNumber(0)).status();
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  s = Sample();
  s.compatible = uint64_t{1} << 40;
  s.read_only_compatible = uint64_t{1} << 40;
  EXPECT_TRUE(DecodeSuperblock(EncodeSuperblock(s, FrameNumber(0)), FrameNumber(0)).ok());
}

TEST(SuperblockTest, RandomBytesAreAnErrorAndNothingElse) {
  std::mt19937_64 random(20);
  const auto good = EncodeSuperblock(Sample(), FrameNumber(0));
  for (int round = 0; round < 2000; ++round) {
    std::array<std::byte, kPageSize> bytes = good;
    // The magic stays, so that the rest is looked at.
    for (size_t i = 8; i < kPageSize; ++i) bytes[i] = static_cast<std::byte>(random());
    EXPECT_FALSE(DecodeSuperblock(bytes, FrameNumber(0)).ok());
  }
  EXPECT_FALSE(DecodeSuperblock({}, FrameNumber(0)).ok());
}

}  // namespace
}  // namespace cow::format
