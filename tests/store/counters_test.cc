// What a store counts is what was done.
#include <gtest/gtest.h>

#include <array>
#include <thread>
#include <vector>

#include "cow/base/status.h"
#include "tests/store/volume.h"

namespace cow::test {
namespace {

TEST(CountersTest, PagesThatTheLastCommitHoldsAreCountedAsCopiedOnce) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(10 * kPageSize, 1));
  EXPECT_EQ(volume->counters().copied_pages, 0u);
  volume.Commit();
  volume.Write(file, kPageSize, RandomBytes(3 * kPageSize, 2));
  volume.Write(file, kPageSize, RandomBytes(3 * kPageSize, 3));
  volume.Write(file, 20 * kPageSize, RandomBytes(kPageSize, 4));
  EXPECT_EQ(volume->counters().copied_pages, 3u);
}

TEST(CountersTest, ReadsOfManyThreadsAreAllCounted) {
  constexpr int kThreads = 4;
  constexpr int kReads = 500;
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(10000, 1));
  const store::Counters before = volume->counters();
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&file] {
      Bytes buffer(6000);
      for (int j = 0; j < kReads; ++j) EXPECT_EQ(*file->Read(5000, buffer), 5000u);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const store::Counters after = volume->counters();
  EXPECT_EQ(after.reads - before.reads, uint64_t{kThreads} * kReads);
  EXPECT_EQ(after.read_bytes - before.read_bytes, uint64_t{kThreads} * kReads * 5000);
}

TEST(CountersTest, WritesAreCountedWithTheirBytes) {
  Volume volume;
  ObjectPointer file = volume.CreateFile();
  const store::Counters before = volume->counters();
  volume.Write(file, 100, RandomBytes(5000, 1));
  volume.Write(file, uint64_t{3} << 20, RandomBytes(2 << 20, 2));
  EXPECT_EQ(volume->counters().writes - before.writes, 2u);
  EXPECT_EQ(volume->counters().written_bytes - before.written_bytes, 5000u + (2 << 20));
}

TEST(CountersTest, SyncsThatFindNothingToWriteMakeNoCommit) {
  Volume volume;
  const store::Counters before = volume->counters();
  volume.CreateFile(RandomBytes(100, 1));
  for (int i = 0; i < 3; ++i) volume.Commit();
  const store::Counters after = volume->counters();
  EXPECT_EQ(after.syncs - before.syncs, 3u);
  EXPECT_EQ(after.commits - before.commits, 1u);
  EXPECT_GT(after.committed_frames, before.committed_frames);
}

TEST(CountersTest, FramesAllocatedAndNotFreedAreThoseInUse) {
  Volume volume;
  const auto expect_in_use = [&volume] {
    const store::Counters counters = volume->counters();
    EXPECT_EQ(counters.allocated_frames - counters.freed_frames, volume->space().used_frames);
  };
  ObjectPointer file = volume.CreateFile(RandomBytes(3 << 20, 1));
  ObjectPointer snapshot = volume.Snapshot(file);
  volume.Write(file, 0, RandomBytes(1 << 20, 2));
  volume.Commit();
  expect_in_use();
  volume.Remove(file);
  volume.Remove(snapshot);
  file.reset(), snapshot.reset();
  volume.Settle();
  expect_in_use();
  EXPECT_GT(volume->counters().freed_frames, uint64_t{4} << 8);
  EXPECT_GT(volume->counters().folded_items, 0u);
}

TEST(CountersTest, FramesThatRotAreCountedEachTimeTheyAreRead) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(8 * kPageSize, 1));
  const uint64_t number = file->number().value();
  const FrameNumber frame = (*file->Extents(PageNumber(0), PageNumber(1), false))[0].frame;
  file.reset();
  volume.Close();
  {
    const std::shared_ptr<Disk> disk = volume.disk();
    absl::MutexLock lock(&disk->mu);
    std::array<std::byte, 1> byte;
    disk->image.Read(OffsetOf(frame) + 7, byte);
    byte[0] ^= std::byte{0x10};
    disk->image.Write(OffsetOf(frame) + 7, byte);
  }
  volume.Reopen();
  file = volume.Open(number);
  Bytes buffer(kPageSize);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(ErrnoOf(file->Read(0, buffer).status()), EIO);
  EXPECT_EQ(volume->counters().checksum_failures, 2u);
  EXPECT_EQ(volume->counters().reads, 0u);
}

TEST(CountersTest, NodesAreFoundInMemoryOnceTheyWereRead) {
  Volume volume;
  const uint64_t number = volume.CreateFile(RandomBytes(600 * kPageSize, 1))->number().value();
  volume.Reopen();
  ASSERT_NE(volume.Open(number), nullptr);
  const store::Counters first = volume->counters();
  EXPECT_GT(first.node_misses, 0u);
  ASSERT_NE(volume.Open(number), nullptr);
  const store::Counters second = volume->counters();
  EXPECT_EQ(second.node_misses, first.node_misses);
  EXPECT_GT(second.node_hits, first.node_hits);
}

TEST(CountersTest, SnapshotsAndClonesAreCountedApart) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(100, 1));
  ObjectPointer snapshot = volume.Snapshot(file);
  volume.Snapshot(file);
  volume.Clone(snapshot);
  EXPECT_EQ(volume->counters().snapshots, 2u);
  EXPECT_EQ(volume->counters().clones, 1u);
}

TEST(CountersTest, AStoreThatIsOpenForReadingKnowsItsSpace) {
  Volume volume({.max_bytes = 64 << 20});
  volume.CreateFile(RandomBytes(3 << 20, 1));
  volume.Settle();
  const store::Space expected = volume->space();
  const auto reader = volume.OpenAnother(kReadOnly);
  ASSERT_TRUE(reader.ok()) << reader.status();
  const store::Space space = (*reader)->space();
  EXPECT_EQ(space.total_frames, expected.total_frames);
  // What the logs take is not known without reading them.
  EXPECT_LE(space.used_frames, expected.used_frames);
  EXPECT_GE(space.used_frames + 8, expected.used_frames);
}

}  // namespace
}  // namespace cow::test
