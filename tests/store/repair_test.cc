// Repairing what can be repaired without guessing.
#include <gtest/gtest.h>

#include "cow/base/status.h"
#include "cow/format/geometry.h"
#include "tests/store/forge.h"
#include "tests/store/volume.h"

namespace cow::test {
namespace {

using format::Entry;
using store::Store;

// A volume with shared frames, a snapshot, and space that was freed.
Image SomeImage() {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(300 * kPageSize, 1));
  volume.Commit();
  volume.Snapshot(file);
  volume.Write(file, 0, RandomBytes(50 * kPageSize, 2));
  volume.Clone(file);
  ObjectPointer removed = volume.CreateFile(RandomBytes(100 * kPageSize, 3));
  volume.Commit();
  volume.Remove(removed);
  removed.reset();
  file.reset();
  volume.Settle();
  volume.Close();
  return volume.disk()->Copy();
}

absl::StatusOr<std::unique_ptr<Store>> Open(const std::shared_ptr<Disk>& disk,
                                            const store::OpenOptions& options = kQuiet) {
  return Store::Open(std::make_unique<MemoryFile>(disk), options);
}

// One bit of it.
void Flip(Image& image, FrameNumber frame) {
  std::byte byte;
  image.Read(OffsetOf(frame) + 40, {&byte, 1});
  byte ^= std::byte{4};
  image.Write(OffsetOf(frame) + 40, {&byte, 1});
}

World WorldOf(const Image& image) {
  auto store = Open(std::make_shared<Disk>(image));
  EXPECT_TRUE(store.ok()) << store.status();
  auto world = ReadWorld(**store);
  EXPECT_TRUE(world.ok()) << world.status();
  return world.ok() ? *world : World();
}

// Repairs; afterwards a check is clean, everything is what it was, and the volume goes on.
store::RepairResult RepairAndGoOn(const Image& damaged, const World& world) {
  auto disk = std::make_shared<Disk>(damaged);
  {
    auto reader = Open(disk, kReadOnly);
    EXPECT_TRUE(reader.ok()) << reader.status();
    EXPECT_NE(Damages(**reader), "");
  }
  auto store = Open(disk);
  EXPECT_TRUE(store.ok()) << store.status();
  auto repaired = (*store)->Repair();
  EXPECT_TRUE(repaired.ok()) << repaired.status();
  if (!repaired.ok()) return {};
  EXPECT_EQ(Damages(**store), "");
  store->reset();
  store = Open(disk);
  EXPECT_TRUE(store.ok()) << store.status();
  EXPECT_EQ(Damages(**store), "");
  EXPECT_EQ(Difference(world, *ReadWorld(**store)), "");
  {
    auto transaction = (*store)->Begin(store::FramesToWrite(4 << 20) + store::kFramesToChange);
    EXPECT_TRUE(transaction.ok()) << transaction.status();
    auto file = (*store)->catalog().Create(*transaction);
    EXPECT_TRUE((*file)->Write(*transaction, 0, RandomBytes(4 << 20, 9)).ok());
  }
  EXPECT_TRUE((*store)->Settle().ok());
  EXPECT_EQ(Damages(**store), "");
  return *repaired;
}

TEST(RepairTest, FramesThatNothingRefersToAreFreed) {
  Image image = SomeImage();
  const World world = WorldOf(image);
  const std::vector<uint64_t> free = FramesWith(image, 0);
  ASSERT_GT(free.size(), 10u);
  SetCounts(image, {{free[3], 1}, {free[4], 7}, {free[9], 1}});
  const store::RepairResult result = RepairAndGoOn(image, world);
  EXPECT_EQ(result.corrected_counts, 3u);
  EXPECT_EQ(result.freed_frames, 3u);
}

TEST(RepairTest, CountsThatAreTooLowOrTooHighAreMadeRight) {
  Image image = SomeImage();
  const World world = WorldOf(image);
  const std::vector<uint64_t> once = FramesWith(image, 1);
  const std::vector<uint64_t> shared = FramesWith(image, 2);
  ASSERT_GT(once.size(), 10u);
  ASSERT_GT(shared.size(), 2u);
  SetCounts(image, {{once[2], 0}, {once[5], 9}, {shared[1], 1}});
  const store::RepairResult result = RepairAndGoOn(image, world);
  EXPECT_EQ(result.corrected_counts, 3u);
  EXPECT_EQ(result.freed_frames, 0u);
}

TEST(RepairTest, CountsThatCannotBeReadAreMadeAnew) {
  const Image image = SomeImage();
  const World world = WorldOf(image);
  int slot = 0;
  const format::Superblock superblock = NewestSuperblock(image, &slot);
  Entry entry;
  for (const FrameNumber rotten : {CountLeafOf(image, &entry), superblock.counts.frame()}) {
    SCOPED_TRACE(rotten.value());
    Image damaged = image;
    Flip(damaged, rotten);
    const store::RepairResult result = RepairAndGoOn(damaged, world);
    EXPECT_GT(result.corrected_counts, 100u);
  }
}

TEST(RepairTest, NothingIsGuessedWhereANodeCannotBeRead) {
  const Image image = SomeImage();
  int slot = 0;
  Image damaged = image;
  Flip(damaged, NewestSuperblock(image, &slot).catalog.root.frame());
  auto store = Open(std::make_shared<Disk>(damaged));
  ASSERT_TRUE(store.ok()) << store.status();
  auto repaired = (*store)->Repair();
  ASSERT_TRUE(repaired.ok()) << repaired.status();
  EXPECT_GT(repaired->lost_nodes, 0u);
  EXPECT_EQ(repaired->corrected_counts, 0u);
  EXPECT_EQ(repaired->freed_frames, 0u);
}

TEST(RepairTest, WhatWasLostWithADamagedFileComesBackOnceItIsRemoved) {
  const Image image = SomeImage();
  int lost = 0;
  for (const auto& [number, content] : image.frames()) {
    if (number < format::kZoneHeader) continue;
    Image damaged = image;
    Flip(damaged, FrameNumber(number));
    auto store = Open(std::make_shared<Disk>(damaged));
    if (!store.ok()) continue;
    auto before = (*store)->Repair();
    ASSERT_TRUE(before.ok()) << before.status();
    if (before->lost_nodes == 0) continue;
    // Which object it is part of is not known here: all go that can be opened.
    for (ObjectNumber at(1);;) {
      auto next = (*store)->catalog().NextObject(at);
      if (!next.ok() || !next->has_value()) break;
      at = **next + 1;
      auto object = (*store)->catalog().Open(**next);
      if (!object.ok()) continue;
      auto transaction = (*store)->Begin(store::kFramesToChange, true);
      ASSERT_TRUE(transaction.ok());
      (void)(*store)->catalog().Remove(*transaction, *object);
    }
    ASSERT_TRUE((*store)->Settle().ok());
    auto after = (*store)->Repair();
    ASSERT_TRUE(after.ok()) << after.status();
    if (after->lost_nodes > 0) continue;  // the catalog's own node
    ++lost;
    EXPECT_EQ(Damages(**store), "");
    EXPECT_LT((*store)->space().used_frames, 20u);
  }
  EXPECT_GT(lost, 0);
}

TEST(RepairTest, IsRefusedWhileOthersRead) {
  Volume volume;
  volume.CreateFile(RandomBytes(5000, 1));
  volume.Commit();
  auto reader = volume.OpenAnother(kReadOnly);
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(ErrnoOf(volume->Repair().status()), EBUSY);
  reader->reset();
  EXPECT_TRUE(volume->Repair().ok());
}

TEST(RepairTest, NodesThatWereBeingReapedCanBeUsedAgain) {
  // Small, so that frames are soon used again; a commit folds a few items.
  Volume volume({.max_bytes = 4 << 20}, {.commit_seconds = 0, .fold_per_commit = 30});
  // Files that are more nodes than data are made and removed.
  const auto make_and_remove = [&] {
    std::vector<ObjectPointer> files;
    for (int i = 0; i < 70; ++i) {
      files.push_back(volume.CreateFile());
      ASSERT_NE(files.back(), nullptr);
      volume.Write(files.back(), 100000 * kPageSize, RandomBytes(100, i));
    }
    volume.Commit();
    for (const ObjectPointer& file : files) volume.Remove(file);
  };
  make_and_remove();
  int slot = 0;
  const auto reaped = [&] { return NewestSuperblock(volume.disk()->Copy(), &slot).reaped.size(); };
  for (int i = 0; i < 50 && reaped() < 20; ++i) volume.Commit();
  ASSERT_GE(reaped(), 20u);
  ASSERT_TRUE(volume->Repair().ok());
  EXPECT_EQ(reaped(), 0u);
  for (int round = 0; round < 6; ++round) {
    make_and_remove();
    volume.Settle();
    ASSERT_EQ(volume->health(), absl::OkStatus());
  }
  volume.ExpectClean();
}

TEST(RepairTest, OfASoundVolumeChangesNothing) {
  const Image image = SomeImage();
  const World world = WorldOf(image);
  auto store = Open(std::make_shared<Disk>(image));
  ASSERT_TRUE(store.ok());
  auto repaired = (*store)->Repair();
  ASSERT_TRUE(repaired.ok()) << repaired.status();
  EXPECT_EQ(repaired->corrected_counts, 0u);
  EXPECT_EQ(repaired->freed_frames, 0u);
  EXPECT_EQ(Difference(world, *ReadWorld(**store)), "");
  EXPECT_EQ(Damages(**store), "");
}

}  // namespace
}  // namespace cow::test
