// Growing old: what random overwrites, snapshots and destroys leave of free space and of files.
//
// The measure: in how many extents a file of 8 MiB comes to lie that is written in order, where one
// that is written to a new volume lies in one. Beside it, for information: how many extents what is
// free is in, and the share of it in extents of 1 MiB and more.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "cow/store/allocator.h"
#include "tests/store/forge.h"
#include "tests/store/volume.h"

namespace cow::test {
namespace {

constexpr uint64_t kPages = 8192;  // 32 MiB
constexpr size_t kSnapshots = 8;
constexpr uint64_t kOverwritesPerSnapshot = 1000;
constexpr uint64_t kOverwritesPerBackup = 20'000;
constexpr uint64_t kBackupBytes = 8 << 20;

size_t ExtentsOf(const ObjectPointer& file) {
  return file->Extents(PageNumber(0), PageNumber(PagesFor(file->size())), false)->size();
}

// A database that is overwritten at random, with snapshots that come and go, and now and then a
// backup of it that takes the place of the one before.
class Life {
 public:
  explicit Life(uint64_t max_bytes)
      : volume_({.max_bytes = max_bytes}),
        database_(volume_.CreateFile(RandomBytes(kPages * kPageSize, 1))),
        backup_(volume_.CreateFile(RandomBytes(kBackupBytes, 1))) {}

  void Live(uint64_t overwrites) {
    const Bytes page = RandomBytes(kPageSize, 2);
    for (uint64_t i = 1; i <= overwrites; ++i) {
      volume_.Write(database_, random_.Below(kPages) * kPageSize, page);
      if (i % 64 == 0) volume_.Commit();
      if (i % kOverwritesPerSnapshot == 0) TakeSnapshot();
      if (i % kOverwritesPerBackup == 0) BackUp();
    }
  }

  void DestroySnapshots() {
    for (const ObjectPointer& snapshot : snapshots_) volume_.Remove(snapshot);
    snapshots_.clear();
  }

  // Of each backup, in how many extents it came to lie.
  const std::vector<size_t>& backups() const { return backups_; }
  Volume& volume() { return volume_; }
  const ObjectPointer& database() const { return database_; }

  // What is free of the volume, which is closed for that.
  std::string FreeSpace() {
    DestroySnapshots();
    database_.reset();
    backup_.reset();
    volume_.Settle();
    volume_.Close();
    int slot = 0;
    const format::Superblock superblock = NewestSuperblock(volume_.disk()->Copy(), &slot);
    MemoryFile file(volume_.disk());
    store::Allocator allocator(file, 64 << 20);
    EXPECT_TRUE(allocator.Load(superblock, {}).ok());
    uint64_t frames = 0, extents = 0, in_long = 0, length = 0;
    for (uint64_t frame = 0; frame <= superblock.total_frames; ++frame) {
      if (frame < superblock.total_frames && !format::InZoneHeader(FrameNumber(frame)) &&
          allocator.Count(FrameNumber(frame)).value_or(1) == 0) {
        ++length;
        continue;
      }
      frames += length;
      extents += length > 0 ? 1 : 0;
      in_long += length >= store::kLongExtent ? length : 0;
      length = 0;
    }
    return std::to_string(frames) + " of " + std::to_string(superblock.total_frames) +
           " frames free, in " + std::to_string(extents) + " extents, " +
           std::to_string(100 * in_long / frames) + " % of it in long ones";
  }

 private:
  void TakeSnapshot() {
    snapshots_.push_back(volume_.Snapshot(database_));
    if (snapshots_.size() > kSnapshots) {
      const size_t victim = random_.Below(2) == 0 ? 0 : random_.Below(snapshots_.size());
      volume_.Remove(snapshots_[victim]);
      snapshots_.erase(snapshots_.begin() + static_cast<ptrdiff_t>(victim));
    }
    volume_.Settle();
  }

  void BackUp() {
    volume_.Remove(backup_);
    backup_.reset();
    volume_.Settle();
    backup_ = volume_.CreateFile(RandomBytes(kBackupBytes, 3));
    backups_.push_back(ExtentsOf(backup_));
  }

  Random random_{1};
  Volume volume_;
  ObjectPointer database_;
  ObjectPointer backup_;
  std::deque<ObjectPointer> snapshots_;
  std::vector<size_t> backups_;
};

// What is written in order still lies in extents of 512 KiB on average.
constexpr size_t kMostExtents = kBackupBytes >> 19;

TEST(AgingTest, AMillionOverwritesLeaveALimitedVolumeRoomForWhatIsWrittenInOrder) {
  Life life(uint64_t{116} << 20);
  life.Live(1'000'000);
  EXPECT_LE(std::ranges::max(life.backups()), kMostExtents);
  // The database itself is scattered, until it is brought together.
  life.DestroySnapshots();
  EXPECT_GT(ExtentsOf(life.database()), kPages / 2);
  // What the first pass frees, the second finds in longer extents.
  for (int pass = 0; pass < 2; ++pass) {
    for (PageNumber page(0); page.value() < kPages; page += store::kLongExtent) {
      ASSERT_TRUE(
          life.volume()->Defragment(*life.database(), page, page + store::kLongExtent, false).ok());
    }
  }
  EXPECT_LE(ExtentsOf(life.database()), kPages / 64);
  life.volume().ExpectClean();
  RecordProperty("free", life.FreeSpace());
}

TEST(AgingTest, AVolumeWithoutLimitDoesNotGrowForWhatIsFreeInPieces) {
  Life life(0);
  life.Live(200'000);
  EXPECT_LE(std::ranges::max(life.backups()), kMostExtents);
  const store::Space space = life.volume()->space();
  const uint64_t file_frames = life.volume()->file().Size().value() / kPageSize;
  EXPECT_LT(file_frames, 2 * space.used_frames);
  RecordProperty("free", life.FreeSpace());
}

}  // namespace
}  // namespace cow::test
