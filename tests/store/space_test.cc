// Space: full volumes, the reserve, holes, what is given back.
#include <gtest/gtest.h>

#include "cow/base/status.h"
#include "tests/store/volume.h"

namespace cow::test {
namespace {

// Writes until the volume is full; returns how much was written.
uint64_t Fill(Volume& volume, const ObjectPointer& file) {
  const Bytes bytes = RandomBytes(16 * kPageSize, 1);
  for (uint64_t offset = file->size();; offset += bytes.size()) {
    auto transaction = volume->Begin(store::FramesToWrite(bytes.size()));
    if (!transaction.ok()) {
      EXPECT_EQ(ErrnoOf(transaction.status()), ENOSPC) << transaction.status();
      return offset;
    }
    absl::Status written = file->Write(*transaction, offset, bytes);
    EXPECT_TRUE(written.ok()) << written;
    if (!written.ok()) return offset;
  }
}

TEST(SpaceTest, AFullVolumeSaysSoAndCanBeEmptiedAndFilledAgain) {
  Volume volume({.max_bytes = 8 << 20});
  uint64_t first = 0;
  for (int round = 0; round < 5; ++round) {
    ObjectPointer file = volume.CreateFile();
    ASSERT_NE(file, nullptr);
    ObjectPointer snapshot = volume.Snapshot(file);
    ASSERT_NE(snapshot, nullptr);
    const uint64_t written = Fill(volume, file);
    if (round == 0) first = written;
    EXPECT_GT(written, uint64_t{4} << 20);
    EXPECT_GE(written + 64 * kPageSize, first) << "space was lost";
    EXPECT_TRUE(volume->health().ok());
    volume.Commit();
    volume.ExpectClean();
    volume.Remove(snapshot);
    volume.Remove(file);
    EXPECT_TRUE(volume->health().ok());
  }
}

TEST(SpaceTest, AFullVolumeCanTruncateAndRollBack) {
  Volume volume({.max_bytes = 8 << 20});
  ObjectPointer file = volume.CreateFile(RandomBytes(500000, 1));
  ObjectPointer snapshot = volume.Snapshot(file);
  Fill(volume, file);
  volume.Truncate(file, 600000);
  Fill(volume, file);
  volume.Replace(file, snapshot);
  EXPECT_EQ(ContentOf(*file), RandomBytes(500000, 1));
  EXPECT_GT(Fill(volume, file), uint64_t{3} << 20);
  volume.Commit();
  volume.ExpectClean();
}

TEST(SpaceTest, TheVolumeFileStaysWithinItsLimit) {
  Volume volume({.max_bytes = 6 << 20});
  ObjectPointer file = volume.CreateFile();
  Fill(volume, file);
  volume.Commit();
  EXPECT_LE(volume.disk()->Copy().size(), uint64_t{6} << 20);
}

TEST(SpaceTest, OverwritingAFullVolumeInPlaceOfASnapshotGivesEnospcNotDamage) {
  Volume volume({.max_bytes = 8 << 20});
  const Bytes bytes = RandomBytes(3 << 20, 1);
  ObjectPointer file = volume.CreateFile(bytes);
  ObjectPointer snapshot = volume.Snapshot(file);
  // Every page written anew needs a frame; there are not enough.
  bool refused = false;
  for (uint64_t offset = 0; offset < bytes.size(); offset += 8 * kPageSize) {
    auto transaction = volume->Begin(store::FramesToWrite(8 * kPageSize));
    if (!transaction.ok()) {
      EXPECT_EQ(ErrnoOf(transaction.status()), ENOSPC);
      refused = true;
      break;
    }
    ASSERT_TRUE(file->Write(*transaction, offset, RandomBytes(8 * kPageSize, offset)).ok());
  }
  EXPECT_TRUE(refused);
  EXPECT_EQ(ContentOf(*snapshot), bytes);
  volume.Commit();
  volume.ExpectClean();
}

TEST(SpaceTest, HolesTakeNoSpace) {
  Volume volume;
  ObjectPointer file = volume.CreateFile();
  volume.Truncate(file, uint64_t{1} << 40);
  volume.Write(file, uint64_t{1} << 39, RandomBytes(10, 1));
  volume.Settle();
  EXPECT_EQ(file->allocated_pages(), 1u);
  EXPECT_LT(volume->space().used_frames, 20u);
  Bytes zeroes(100000);
  Bytes got(100000, std::byte{1});
  EXPECT_EQ(*file->Read(uint64_t{1} << 38, got), got.size());
  EXPECT_EQ(got, zeroes);
}

TEST(SpaceTest, PunchedHolesGiveTheirFramesBack) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(200 * kPageSize, 1));
  volume.Settle();
  const uint64_t used = volume->space().used_frames;
  volume.Punch(file, 50 * kPageSize + 1, 100 * kPageSize);
  volume.Settle();
  EXPECT_LE(volume->space().used_frames, used - 99 + 3);
  EXPECT_EQ(file->allocated_pages(), 101u);
  EXPECT_EQ(file->size(), 200 * kPageSize);
  volume.ExpectClean();
}

TEST(SpaceTest, FreeSpaceGoesBackToTheHost) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(48 << 20, 1));
  volume.Settle();
  const uint64_t before = volume.disk()->Copy().frames().size();
  volume.Remove(file);
  file.reset();
  volume.Settle();
  const uint64_t after = volume.disk()->Copy().frames().size();
  // Some stay warm.
  EXPECT_LT(after, before / 2);
  volume.CreateFile(RandomBytes(48 << 20, 2));
  volume.Settle();
  volume.ExpectClean();
}

TEST(SpaceTest, FramesOfTablesComeBackWhenTheirObjectsAreRemoved) {
  Volume volume;
  volume.Settle();
  const uint64_t used = volume->space().used_frames;
  for (int i = 0; i < 100; ++i) {
    std::vector<ObjectPointer> files;
    for (int j = 0; j < 200; ++j) files.push_back(volume.CreateFile());
    volume.Commit();
    for (const ObjectPointer& file : files) volume.Remove(file);
  }
  volume.Settle();
  EXPECT_LE(volume->space().used_frames, used + 24);
  volume.ExpectClean();
}

TEST(SpaceTest, SpaceThatIsUsedAddsUp) {
  Volume volume({.max_bytes = 64 << 20});
  const store::Space empty = volume->space();
  EXPECT_EQ(empty.total_frames, (64u << 20) / kPageSize);
  ObjectPointer file = volume.CreateFile(RandomBytes(8 << 20, 1));
  volume.Settle();
  const store::Space space = volume->space();
  EXPECT_GE(space.used_frames, empty.used_frames + 2048);
  EXPECT_LE(space.used_frames, empty.used_frames + 2048 + 32);
  EXPECT_LE(space.available_frames, empty.available_frames - 2048);
  EXPECT_GE(space.available_frames, empty.available_frames - 2048 - 64);
}

TEST(SpaceTest, ATooSmallLimitIsRefused) {
  auto store = store::Store::Create(std::make_unique<MemoryFile>(std::make_shared<Disk>()),
                                    {.max_bytes = 100000}, kQuiet);
  EXPECT_EQ(ErrnoOf(store.status()), EINVAL);
}

}  // namespace
}  // namespace cow::test
