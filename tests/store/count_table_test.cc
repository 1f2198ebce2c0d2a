// The count table by itself.
#include "cow/store/count_table.h"

#include <gtest/gtest.h>

#include "tests/store/fake_file.h"

namespace cow::test {
namespace {

using store::CountTable;

constexpr uint64_t kLeaves = 200;
constexpr uint64_t kFrames = kLeaves * format::kCountsPerLeaf;

FrameNumber FrameOf(uint64_t leaf) { return FrameNumber(leaf * format::kCountsPerLeaf + 1000); }

TEST(CountTableTest, WhatIsOnItsWayToTheDiskIsNotReadFromThere) {
  MemoryFile file(std::make_shared<Disk>());
  // As few in memory as there can be.
  CountTable table(file, 0);
  table.Load(format::Entry(), kFrames);
  for (uint64_t leaf = 0; leaf < kLeaves / 2; ++leaf) {
    ASSERT_TRUE(table.Set(FrameOf(leaf), 7).ok());
  }
  std::vector<store::PlannedWrite> writes;
  ASSERT_TRUE(table.Plan(Generation(5), kFrames, writes).ok());
  // While a commit writes them, others are counted with.
  for (uint64_t leaf = kLeaves / 2; leaf < kLeaves; ++leaf) {
    ASSERT_TRUE(table.Set(FrameOf(leaf), 8).ok());
  }
  for (uint64_t leaf = 0; leaf < kLeaves; ++leaf) {
    const auto count = table.Get(FrameOf(leaf));
    ASSERT_TRUE(count.ok()) << count.status();
    EXPECT_EQ(*count, leaf < kLeaves / 2 ? 7u : 8u);
  }
}

TEST(CountTableTest, FrozenCountsAreThoseOfThenWhereverTheyAre) {
  MemoryFile file(std::make_shared<Disk>());
  CountTable table(file, 0);
  table.Load(format::Entry(), kFrames);
  for (uint64_t leaf = 0; leaf < kLeaves; ++leaf) ASSERT_TRUE(table.Set(FrameOf(leaf), 7).ok());
  std::vector<store::PlannedWrite> writes;
  ASSERT_TRUE(table.Plan(Generation(5), kFrames, writes).ok());
  for (const store::PlannedWrite& write : writes) {
    ASSERT_TRUE(file.Write(OffsetOf(write.frame), *write.bytes).ok());
  }
  table.Freeze();
  for (uint64_t leaf = 0; leaf < kLeaves; leaf += 3) ASSERT_TRUE(table.Set(FrameOf(leaf), 9).ok());
  ASSERT_TRUE(table.Plan(Generation(6), kFrames, writes).ok());
  for (const store::PlannedWrite& write : writes) {
    ASSERT_TRUE(file.Write(OffsetOf(write.frame), *write.bytes).ok());
  }
  store::CountLeaf counts;
  for (uint64_t leaf = 0; leaf < kLeaves; ++leaf) {
    ASSERT_TRUE(table.ReadFrozen(leaf, counts).ok());
    EXPECT_EQ(counts[1000], 7u);
    EXPECT_EQ(*table.Get(FrameOf(leaf)), leaf % 3 == 0 ? 9u : 7u);
  }
  table.Thaw();
  ASSERT_TRUE(table.ReadFrozen(0, counts).ok());
  EXPECT_EQ(counts[1000], 9u);
}

}  // namespace
}  // namespace cow::test
