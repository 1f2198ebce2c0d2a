#include "cow/format/entry.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace cow::format {
namespace {

TEST(EntryTest, KeepsEachFieldAtItsLargestValue) {
  const FrameNumber frame((uint64_t{1} << 40) - 1);
  const Generation birth((uint64_t{1} << 48) - 1);
  const Entry entry(frame, birth, 0xffffffff, kMaxLevel, /*table=*/true);
  EXPECT_EQ(entry.frame(), frame);
  EXPECT_EQ(entry.birth(), birth);
  EXPECT_EQ(entry.checksum(), 0xffffffffu);
  EXPECT_EQ(entry.level(), kMaxLevel);
  EXPECT_TRUE(entry.table());
  EXPECT_EQ(entry.operation(), CountOperation::kNone);
}

TEST(EntryTest, FieldsDoNotRunIntoEachOther) {
  const Entry entry(FrameNumber(1), Generation(0), 0, 0, /*table=*/false);
  EXPECT_EQ(entry.birth(), Generation(0));
  EXPECT_EQ(entry.checksum(), 0u);
  const Entry old(FrameNumber(0x12345), Generation(uint64_t{1} << 47), 0, 0, /*table=*/false);
  EXPECT_EQ(old.frame(), FrameNumber(0x12345));
  EXPECT_EQ(old.birth(), Generation(uint64_t{1} << 47));
  EXPECT_EQ(old.checksum(), 0u);
}

TEST(EntryTest, HasTheBytesOfTheSpecification) {
  const Entry entry = Entry(FrameNumber(0x0102030405), Generation(0x060708090a0b), 0x0c0d0e0f, 3,
                            /*table=*/true)
                          .With(CountOperation::kShare);
  const std::array<uint8_t, 16> expected = {0x05, 0x04, 0x03, 0x02, 0x01, 0x0b, 0x0a, 0x09,
                                            0x08, 0x07, 0x06, 0x0f, 0x0e, 0x0d, 0x0c, 0x3b};
  EXPECT_EQ(std::memcmp(&entry, expected.data(), sizeof(entry)), 0);
}

TEST(EntryTest, ChecksumAndOperationCanBeReplaced) {
  Entry entry(FrameNumber(7), Generation(8), 9, 1, /*table=*/false);
  entry.set_checksum(0xdeadbeef);
  EXPECT_EQ(entry.checksum(), 0xdeadbeefu);
  EXPECT_EQ(entry.frame(), FrameNumber(7));
  EXPECT_EQ(entry.level(), 1);
  EXPECT_EQ(entry.With(CountOperation::kDrop).operation(), CountOperation::kDrop);
  EXPECT_EQ(entry.With(CountOperation::kDrop).With(CountOperation::kNone), entry);
}

TEST(EntryTest, OnlyNodesAndLeavesOfRecordsHaveChildren) {
  EXPECT_TRUE(Entry().empty());
  EXPECT_FALSE(Entry(FrameNumber(1), Generation(1), 0, 0, false).has_children());
  EXPECT_TRUE(Entry(FrameNumber(1), Generation(1), 0, 0, true).has_children());
  EXPECT_TRUE(Entry(FrameNumber(1), Generation(1), 0, 1, false).has_children());
}

}  // namespace
}  // namespace cow::format
