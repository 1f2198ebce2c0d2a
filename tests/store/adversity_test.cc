// One thing goes wrong at a bad moment: what was promised before still holds.
#include <gtest/gtest.h>

#include <functional>
#include <utility>
#include <vector>

#include "cow/base/status.h"
#include "cow/format/geometry.h"
#include "tests/store/volume.h"

namespace cow::test {
namespace {

using store::Store;

constexpr store::OpenOptions kForgetful = {.cache_bytes = 1, .commit_seconds = 0};

// Reads a far-flung file, so that nodes of all else leave a small cache.
void EvictNodes(Store& store, uint64_t number) {
  auto file = store.catalog().Open(ObjectNumber(number));
  ASSERT_TRUE(file.ok()) << file.status();
  Bytes byte(1);
  for (int round = 0; round < 3; ++round) {
    for (uint64_t i = 0; i < 1200; ++i) ASSERT_TRUE((*file)->Read(i << 20, byte).ok());
  }
}

TEST(AdversityTest, AReadErrorWhileATableIsChangedLosesNoTable) {
  Volume origin;
  {
    ObjectPointer tree = origin.CreateTree();
    TablePointer files = origin.OpenTree(tree);
    for (int i = 0; i < 60; ++i) origin.CreateFile(RandomBytes(5000, i), files.get());
    origin.Commit();
    origin.Snapshot(tree);
    ObjectPointer wide = origin.CreateFile();
    for (int i = 0; i < 1200; ++i) origin.Write(wide, uint64_t(i) << 20, RandomBytes(10, i));
    origin.Commit();
  }
  origin.Settle();
  origin.Close();
  uint64_t failed = 0;
  for (uint64_t first = 0; first < 8; ++first) {
    SCOPED_TRACE("read " + std::to_string(first) + " fails");
    auto disk = std::make_shared<Disk>(origin.disk()->Copy());
    auto probe = std::make_shared<Probe>();
    {
      auto store = Store::Open(
          std::make_unique<ProbedFile>(std::make_unique<MemoryFile>(disk), probe), kForgetful);
      ASSERT_TRUE(store.ok());
      auto tree = (*store)->trees().Open(ObjectNumber(1));
      ASSERT_TRUE(tree.ok());
      auto files = (*store)->OpenTree(*tree);
      ASSERT_TRUE(files.ok());
      for (const bool in_tree : {true, false}) {
        EvictNodes(**store, 2);
        auto transaction = (*store)->Begin(100);
        ASSERT_TRUE(transaction.ok());
        probe->Arm({.call = Call::kRead, .first = first, .count = 1, .error = EIO});
        auto made = (in_tree ? **files : (*store)->catalog()).Create(*transaction, "new");
        failed += probe->failures();
        probe->Disarm();
      }
      EXPECT_TRUE((*store)->Commit().ok());
    }
    // The snapshot goes; what only it held is used again.
    auto store = Store::Open(std::make_unique<MemoryFile>(disk), kQuiet);
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_EQ(Damages(**store), "");
    {
      auto snapshot = (*store)->catalog().Open(ObjectNumber(1));
      ASSERT_TRUE(snapshot.ok()) << snapshot.status();
      auto transaction = (*store)->Begin(100, true);
      ASSERT_TRUE((*store)->catalog().Remove(*transaction, *snapshot).ok());
    }
    ASSERT_TRUE((*store)->Settle().ok());
    EXPECT_EQ(Damages(**store), "");
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GE(failed, 4u);
}

TEST(AdversityTest, CountsSurviveGrowthIntoAnotherZoneInWhichNothingIsCounted) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(1 << 20, 1));
  volume.Commit();
  {
    auto reader = volume.OpenAnother(kReadOnly);
    ASSERT_TRUE(reader.ok());
    volume.Write(file, 0, RandomBytes(1 << 20, 2));
    volume.Settle();
    // Grows the volume beyond its first GiB, and writes nothing.
    ASSERT_TRUE(volume->Begin(store::FramesToWrite(uint64_t{1100} << 20)).ok());
    volume.Settle();
  }
  file.reset();
  volume.Reopen();
  volume.ExpectClean();
  EXPECT_EQ(ContentOf(*volume.Open(1)), RandomBytes(1 << 20, 2));
}

// A disk behind a page cache: the programs see what was written, a power cut leaves what was
// flushed.
struct CachedDisk {
  std::shared_ptr<Disk> seen = std::make_shared<Disk>();
  Image platter;
  std::vector<std::pair<uint64_t, Bytes>> unflushed;
  int flushes = 0;
  int killed_at_flush = -1;  // the process ends as it calls this one
  bool killed = false;
};

class CachedFile : public MemoryFile {
 public:
  explicit CachedFile(CachedDisk& disk) : MemoryFile(disk.seen), disk_(disk) {}

  absl::Status Write(uint64_t offset, std::span<const std::byte> bytes) override {
    if (disk_.killed) return ErrnoStatus(EIO, "killed");
    disk_.unflushed.push_back({offset, {bytes.begin(), bytes.end()}});
    return MemoryFile::Write(offset, bytes);
  }
  absl::Status WriteVector(uint64_t offset, std::span<const iovec> parts) override {
    for (const iovec& part : parts) {
      COW_RETURN_IF_ERROR(Write(offset, {static_cast<std::byte*>(part.iov_base), part.iov_len}));
      offset += part.iov_len;
    }
    return absl::OkStatus();
  }
  absl::Status Flush() override {
    if (disk_.killed || disk_.flushes == disk_.killed_at_flush) {
      disk_.killed = true;
      return ErrnoStatus(EIO, "killed");
    }
    ++disk_.flushes;
    disk_.platter.Resize(std::max(disk_.platter.size(), disk_.seen->Copy().size()));
    for (const auto& [offset, bytes] : disk_.unflushed) disk_.platter.Write(offset, bytes);
    disk_.unflushed.clear();
    return absl::OkStatus();
  }

 private:
  CachedDisk& disk_;
};

// The writer is killed when its superblock is written and not flushed, in a commit with one flush
// and in one with two.
void KillThenCutThePower(uint64_t one_flush_frames) {
  const store::OpenOptions options = {.commit_seconds = 0, .one_flush_frames = one_flush_frames};
  CachedDisk disk;
  const Bytes acknowledged = RandomBytes(3 << 20, 7);
  {
    auto store =
        Store::Create(std::make_unique<CachedFile>(disk), {.max_bytes = 16 << 20}, options);
    ASSERT_TRUE(store.ok()) << store.status();
    ObjectPointer file;
    {
      auto transaction = (*store)->Begin(store::FramesToWrite(3 << 20) + store::kFramesToChange);
      file = *(*store)->catalog().Create(*transaction);
      ASSERT_TRUE(file->Write(*transaction, 0, acknowledged).ok());
    }
    ASSERT_TRUE((*store)->Commit().ok());
    {
      auto transaction = (*store)->Begin(store::FramesToWrite(3 << 20));
      ASSERT_TRUE(file->Write(*transaction, 0, RandomBytes(3 << 20, 9)).ok());
    }
    disk.killed_at_flush = disk.flushes + (one_flush_frames == 0 ? 1 : 0);
    EXPECT_FALSE((*store)->Commit().ok());
  }
  disk.killed = false;
  disk.killed_at_flush = -1;
  {
    auto store = Store::Open(std::make_unique<CachedFile>(disk), kQuiet);
    ASSERT_TRUE(store.ok()) << store.status();
    auto transaction = (*store)->Begin(store::FramesToWrite(8 << 20) + store::kFramesToChange);
    ASSERT_TRUE(transaction.ok()) << transaction.status();
    auto other = (*store)->catalog().Create(*transaction);
    ASSERT_TRUE(other.ok());
    ASSERT_TRUE((*other)->Write(*transaction, 0, RandomBytes(8 << 20, 10)).ok());
    { const auto ended = *std::move(transaction); }
    disk.killed_at_flush = disk.flushes;  // the power fails here
    EXPECT_FALSE((*store)->Commit().ok());
  }
  // Of what was not flushed, the superblocks are lost and all else reached the platter.
  Image left = disk.platter;
  left.Resize(std::max(left.size(), disk.seen->Copy().size()));
  for (const auto& [offset, bytes] : disk.unflushed) {
    const uint64_t frame = offset / kPageSize;
    if (frame > 1 && frame != 530 && frame != 531) left.Write(offset, bytes);
  }
  auto store = Store::Open(std::make_unique<MemoryFile>(std::make_shared<Disk>(left)), kQuiet);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ(Damages(**store), "");
  const Bytes found = ContentOf(**(*store)->catalog().Open(ObjectNumber(1)));
  EXPECT_TRUE(found == acknowledged || found == RandomBytes(3 << 20, 9));
}

TEST(AdversityTest, AKilledWriterThenAPowerCutLoseNothingAcknowledged) {
  KillThenCutThePower(/*one_flush_frames=*/1024);
  KillThenCutThePower(/*one_flush_frames=*/0);
}

TEST(AdversityTest, AVolumeIsCheckedWhoseFreedFramesWaitToBeCounted) {
  Volume volume({.max_bytes = 1 << 30});
  ObjectPointer file = volume.CreateFile(RandomBytes(40 << 20, 1));
  volume.Commit();
  volume.Write(file, 0, RandomBytes(40 << 20, 2));
  file.reset();
  volume.Close();
  {
    auto reader = volume.OpenAnother(kReadOnly);
    ASSERT_TRUE(reader.ok());
    EXPECT_EQ(Damages(**reader), "");
  }
  volume.Reopen();
  volume.Remove(volume.Open(1));
  volume.Commit();
  volume.ExpectClean();
}

// Of a disk one frame of which cannot be read.
class BadSector : public MemoryFile {
 public:
  BadSector(std::shared_ptr<Disk> disk, FrameNumber frame)
      : MemoryFile(std::move(disk)), begin_(OffsetOf(frame)) {}
  absl::Status Read(uint64_t offset, std::span<std::byte> buffer) const override {
    if (offset < begin_ + kPageSize && begin_ < offset + buffer.size()) {
      return ErrnoStatus(EIO, "bad sector");
    }
    return MemoryFile::Read(offset, buffer);
  }

 private:
  const uint64_t begin_;
};

TEST(AdversityTest, ASuperblockCopyThatCannotBeReadIsNotMissed) {
  Volume volume;
  volume.CreateFile(RandomBytes(5000, 1));
  volume.Close();
  for (const int slot : {0, 1}) {
    for (const int copy : {0, 1}) {
      for (const auto& options : {kReadOnly, kQuiet}) {
        auto store = Store::Open(
            std::make_unique<BadSector>(volume.disk(), format::SuperblockFrame(slot, copy)),
            options);
        ASSERT_TRUE(store.ok()) << store.status();
        EXPECT_EQ(ContentOf(**(*store)->catalog().Open(ObjectNumber(1))), RandomBytes(5000, 1));
      }
    }
  }
}

TEST(AdversityTest, AWriteOfASuperblockCopyThatWasLostIsReported) {
  Volume volume;
  for (int i = 0; i < 2; ++i) {
    volume.CreateFile(RandomBytes(5000, i));
    volume.Commit();
  }
  const Image older = volume.disk()->Copy();
  for (int i = 0; i < 2; ++i) {
    volume.CreateFile(RandomBytes(5000, i));
    volume.Commit();
  }
  volume.ExpectClean();
  for (const int slot : {0, 1}) {
    std::array<std::byte, kPageSize> bytes;
    const uint64_t at = OffsetOf(format::SuperblockFrame(slot, 1));
    older.Read(at, bytes);
    absl::MutexLock lock(&volume.disk()->mu);
    volume.disk()->image.Write(at, bytes);
  }
  EXPECT_NE(Damages(*volume), "");
}

TEST(AdversityTest, AFileThatWasNeverCommittedCanBeCutOffOnANearlyFullVolume) {
  Volume volume({.max_bytes = uint64_t{1} << 30});
  ObjectPointer file = volume.CreateFile();
  const Bytes bytes = RandomBytes(1 << 20, 3);
  for (uint64_t offset = 0; volume->space().available_frames > 400; offset += bytes.size()) {
    auto transaction = volume->Begin(store::FramesToWrite(bytes.size()));
    if (!transaction.ok()) break;
    ASSERT_TRUE(file->Write(*transaction, offset, bytes).ok());
  }
  volume.Truncate(file, 0);
  EXPECT_TRUE(volume->Commit().ok());
  EXPECT_TRUE(volume->health().ok()) << volume->health();
}

TEST(AdversityTest, ADamagedFileCanBeRemoved) {
  Volume volume;
  volume.CreateFile(RandomBytes(4 << 20, 1));
  volume.CreateFile(RandomBytes(4 << 20, 2));
  volume.Close();
  const Image good = volume.disk()->Copy();
  int damaged = 0;
  for (const auto& [number, content] : good.frames()) {
    if (number < format::kZoneHeader) continue;
    Image bad = good;
    std::byte byte;
    bad.Read(number * kPageSize + 100, {&byte, 1});
    byte ^= std::byte{1};
    bad.Write(number * kPageSize + 100, {&byte, 1});
    auto disk = std::make_shared<Disk>(bad);
    auto store = Store::Open(std::make_unique<MemoryFile>(disk), kQuiet);
    if (!store.ok()) continue;
    auto file = (*store)->catalog().Open(ObjectNumber(1));
    if (!file.ok()) continue;
    // A node of the file: more than one page is lost.
    Bytes page(kPageSize);
    if ((*file)->Read(0, page).ok() || (*file)->Read(255 * kPageSize, page).ok()) continue;
    ++damaged;
    {
      auto transaction = (*store)->Begin(store::kFramesToChange, true);
      ASSERT_TRUE((*store)->catalog().Remove(*transaction, *file).ok());
    }
    file = absl::UnknownError("closed");
    EXPECT_TRUE((*store)->Settle().ok()) << (*store)->health();
    store->reset();
    store = Store::Open(std::make_unique<MemoryFile>(disk), kQuiet);
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_TRUE((*store)->Settle().ok());
    EXPECT_EQ(ContentOf(**(*store)->catalog().Open(ObjectNumber(2))), RandomBytes(4 << 20, 2));
    // Its pages stay counted, and a check says which.
    EXPECT_NE(Damages(**store), "");
  }
  EXPECT_GT(damaged, 0);
}

TEST(AdversityTest, FramesThatNobodyPinnedComeBackWhileAReaderHoldsOthers) {
  Volume volume({.max_bytes = 32 << 20});
  ObjectPointer file = volume.CreateFile(RandomBytes(2800 * kPageSize, 1));
  volume.Settle();
  auto reader = volume.OpenAnother(kReadOnly);
  ASSERT_TRUE(reader.ok());
  volume.Write(file, 0, RandomBytes(2800 * kPageSize, 2));
  volume.Settle();
  const Bytes bytes = RandomBytes(1000 * kPageSize, 3);
  for (int round = 0; round < 12; ++round) {
    auto transaction = volume->Begin(store::FramesToWrite(bytes.size()));
    ASSERT_TRUE(transaction.ok()) << "round " << round << ": " << transaction.status();
    ASSERT_TRUE(file->Write(*transaction, 0, bytes).ok());
    { const auto ended = *std::move(transaction); }
    volume.Commit();
  }
  EXPECT_EQ(ContentOf(**(*reader)->catalog().Open(ObjectNumber(1))),
            RandomBytes(2800 * kPageSize, 1));
}

}  // namespace
}  // namespace cow::test
