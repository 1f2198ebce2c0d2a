// Snapshot, clone, rollback and remove cost the same, whatever the size and however many snapshots
// there are: not by the clock, but by what they do to the disk.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "tests/store/volume.h"

namespace cow::test {
namespace {

struct Cost {
  uint64_t reads = 0;
  uint64_t writes = 0;
  uint64_t flushes = 0;
  uint64_t bytes_read = 0;
  uint64_t bytes_written = 0;
};

Cost Since(const Calls& calls, const Cost& before) {
  return {calls[Call::kRead] - before.reads, calls[Call::kWrite] - before.writes,
          calls[Call::kFlush] - before.flushes, calls.bytes_read - before.bytes_read,
          calls.bytes_written - before.bytes_written};
}

// What `operation` and a commit do to the disk.
Cost CostOf(Volume& volume, const std::function<void()>& operation) {
  volume.Settle();
  const Cost before = Since(volume.probe().calls, Cost());
  operation();
  volume.Commit();
  return Since(volume.probe().calls, before);
}

struct Costs {
  Cost snapshot, clone, rollback, remove;
};

// A file of `pages` pages, `step` apart, in a volume with `snapshots` of another.
Costs Measure(uint64_t pages, uint64_t step, int snapshots) {
  Volume volume;
  ObjectPointer other = volume.CreateFile(RandomBytes(100000, 1));
  for (int i = 0; i < snapshots; ++i) {
    volume.Snapshot(other);
    if (i % 500 == 0) volume.Write(other, 0, RandomBytes(100, i));
    if (i % 100 == 0) volume.Commit();
  }
  ObjectPointer file = volume.CreateFile();
  const Bytes bytes = RandomBytes(kPageSize, 2);
  for (uint64_t page = 0; page < pages; ++page) {
    volume.Write(file, page * step * kPageSize, bytes);
  }
  Costs costs;
  ObjectPointer snapshot;
  ObjectPointer clone;
  costs.snapshot = CostOf(volume, [&] { snapshot = volume.Snapshot(file); });
  costs.clone = CostOf(volume, [&] { clone = volume.Clone(snapshot); });
  volume.Write(file, 0, RandomBytes(kPageSize, 3));
  costs.rollback = CostOf(volume, [&] { volume.Replace(file, snapshot); });
  costs.remove = CostOf(volume, [&] {
    volume.Remove(snapshot);
    snapshot.reset();
  });
  return costs;
}

void ExpectSame(const Cost& base, const Cost& cost) {
  // A higher table or page table has a node more on each path, and counts lie further apart.
  constexpr uint64_t kFew = 16;
  EXPECT_LE(cost.reads, base.reads + kFew);
  EXPECT_LE(cost.writes, base.writes + kFew);
  EXPECT_EQ(cost.flushes, base.flushes);
  EXPECT_LE(cost.bytes_read, base.bytes_read + kFew * kPageSize);
  EXPECT_LE(cost.bytes_written, base.bytes_written + kFew * kPageSize);
}

TEST(CostTest, VersionsCostTheSameForEverySizeAndNumberOfSnapshots) {
  constexpr uint64_t kGiB = (uint64_t{1} << 30) / kPageSize;
  const Costs base = Measure(256, 1, 1);  // 1 MiB
  EXPECT_LE(base.snapshot.bytes_written, 40 * kPageSize);
  struct Case {
    std::string name;
    uint64_t pages, step;
    int snapshots;
  };
  for (const Case& c :
       {Case{"1 GiB, a page in each MiB", 1024, 256, 1},
        Case{"1 TiB, a page in each GiB", 1024, kGiB, 1}, Case{"64 MiB, dense", 16384, 1, 1},
        Case{"1 MiB, 10,000 snapshots", 256, 1, 10000},
        Case{"1 TiB, 10,000 snapshots", 1024, kGiB, 10000}}) {
    SCOPED_TRACE(c.name);
    const Costs costs = Measure(c.pages, c.step, c.snapshots);
    {
      SCOPED_TRACE("snapshot");
      ExpectSame(base.snapshot, costs.snapshot);
    }
    {
      SCOPED_TRACE("clone");
      ExpectSame(base.clone, costs.clone);
    }
    {
      SCOPED_TRACE("rollback");
      ExpectSame(base.rollback, costs.rollback);
    }
    SCOPED_TRACE("remove");
    ExpectSame(base.remove, costs.remove);
  }
}

TEST(CostTest, RemovingReturnsAtOnceAndFreesInBoundedSteps) {
  Volume volume({}, {.commit_seconds = 0, .commits_per_fold = 1, .fold_per_commit = 4096});
  ObjectPointer file = volume.CreateFile(RandomBytes(200 << 20, 1));
  volume.Settle();
  const Cost before = Since(volume.probe().calls, Cost());
  volume.Remove(file);
  file.reset();
  const Cost removal = Since(volume.probe().calls, before);
  EXPECT_LE(removal.reads, 4u);
  EXPECT_EQ(removal.flushes, 0u);
  // 51,200 frames: no commit does all of it.
  const uint64_t used = volume->space().used_frames;
  int commits = 0;
  for (; commits < 100; ++commits) {
    const Cost start = Since(volume.probe().calls, Cost());
    {
      auto transaction = volume->Begin(store::kFramesToChange);
      ASSERT_TRUE(transaction.ok());
      ASSERT_TRUE(volume->catalog().Create(*transaction).ok());
    }
    volume.Commit();
    const Cost commit = Since(volume.probe().calls, start);
    EXPECT_LE(commit.bytes_written, 300 * kPageSize);
    EXPECT_LE(commit.bytes_read, 300 * kPageSize);
    if (volume->space().used_frames + 51000 < used) break;
  }
  EXPECT_GT(commits, 1);
  EXPECT_LT(commits, 100);
  volume.ExpectClean();
}

TEST(CostTest, OpeningCostsTheSameForEverySizeAndNumberOfSnapshots) {
  uint64_t first = 0;
  for (const int snapshots : {1, 10000}) {
    for (const uint64_t pages : {256, 16384}) {
      Volume volume;
      ObjectPointer file = volume.CreateFile(RandomBytes(pages * kPageSize, 1));
      for (int i = 0; i < snapshots; ++i) volume.Snapshot(file);
      volume.Settle();
      file.reset();
      volume.Close();
      const uint64_t before = volume.probe().calls.bytes_read;
      volume.Reopen();
      const uint64_t bytes = volume.probe().calls.bytes_read - before;
      if (first == 0) first = bytes;
      EXPECT_LE(bytes, first + 4 * kPageSize);
    }
  }
}

TEST(CostTest, AWholePageIsWrittenWithoutReadingTheOldOne) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(100 * kPageSize, 1));
  volume.Snapshot(file);
  volume.Settle();
  file.reset();
  volume.Reopen();
  file = volume.Open(1);
  volume.Write(file, 0, RandomBytes(10, 2));  // the nodes are in memory
  const uint64_t before = volume.probe().calls.bytes_read;
  volume.Write(file, 10 * kPageSize, RandomBytes(50 * kPageSize, 3));
  EXPECT_EQ(volume.probe().calls.bytes_read, before);
}

TEST(CostTest, AFileWrittenInOrderIsInFewExtents) {
  Volume volume;
  ObjectPointer file = volume.CreateFile();
  for (int i = 0; i < 256; ++i) {
    volume.Write(file, i * 16 * kPageSize, RandomBytes(16 * kPageSize, i));
  }
  auto extents = file->Extents(PageNumber(0), PageNumber(4096), false);
  ASSERT_TRUE(extents.ok());
  EXPECT_LE(extents->size(), 40u);
}

}  // namespace
}  // namespace cow::test
