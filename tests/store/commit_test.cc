// Commits, opening, and who may open what.
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>

#include "cow/base/status.h"
#include "cow/format/geometry.h"
#include "cow/format/superblock.h"
#include "tests/store/volume.h"
#include "tests/support/temporary_directory.h"

namespace cow::test {
namespace {

using store::Store;

// What another machine would find, were the power cut now and nothing lost.
std::unique_ptr<Store> OpenCopy(Volume& volume) {
  auto store = Store::Open(
      std::make_unique<MemoryFile>(std::make_shared<Disk>(volume.disk()->Copy())), kQuiet);
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

TEST(CommitTest, WhatIsNotCommittedIsLostAndWhatIsCommittedIsThere) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(10000, 1));
  volume.Commit();
  volume.Write(file, 0, RandomBytes(10000, 2));
  EXPECT_EQ(ContentOf(**OpenCopy(volume)->catalog().Open(file->number())), RandomBytes(10000, 1));
  volume.Commit();
  EXPECT_EQ(ContentOf(**OpenCopy(volume)->catalog().Open(file->number())), RandomBytes(10000, 2));
}

TEST(CommitTest, ClosingCommits) {
  Volume volume;
  volume.CreateFile(RandomBytes(10000, 1));
  volume.Reopen();
  EXPECT_EQ(ContentOf(*volume.Open(1)), RandomBytes(10000, 1));
}

TEST(CommitTest, NothingToCommitTouchesNothing) {
  Volume volume;
  volume.CreateFile(RandomBytes(10000, 1));
  volume.Settle();
  const uint64_t writes = volume.probe().calls[Call::kWrite];
  const uint64_t flushes = volume.probe().calls[Call::kFlush];
  for (int i = 0; i < 5; ++i) volume.Commit();
  EXPECT_EQ(volume.probe().calls[Call::kWrite], writes);
  EXPECT_EQ(volume.probe().calls[Call::kFlush], flushes);
}

TEST(CommitTest, ACommitOfFewFramesIsOneFlushAndOfManyTwo) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(10000, 1));
  volume.Settle();
  volume.Write(file, 0, RandomBytes(100, 2));
  uint64_t flushes = volume.probe().calls[Call::kFlush];
  volume.Commit();
  EXPECT_EQ(volume.probe().calls[Call::kFlush], flushes + 1);
  volume.Write(file, 0, RandomBytes(1025 * kPageSize, 3));
  flushes = volume.probe().calls[Call::kFlush];
  volume.Commit();
  EXPECT_EQ(volume.probe().calls[Call::kFlush], flushes + 2);
}

// The page, two nodes of its file, two of the table, one frame of the count log; and two copies of
// the superblock.
TEST(CommitTest, ASmallCommitWritesNoCounts) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(600 * kPageSize, 1));
  volume.Settle();
  for (int i = 0; i < 100; ++i) {
    const uint64_t before = volume.probe().calls.bytes_written;
    volume.Write(file, i * 37 % 600 * kPageSize, RandomBytes(kPageSize, i));
    volume.Commit();
    EXPECT_LE(volume.probe().calls.bytes_written - before, 8 * kPageSize);
  }
  volume.ExpectClean();
  file.reset();
  volume.Reopen();
  volume.ExpectClean();
}

TEST(CommitTest, ATransactionIsNotCommittedBeforeItEnds) {
  Volume volume;
  volume.Commit();
  ObjectPointer file;
  {
    auto transaction = volume->Begin(200);
    file = *volume->catalog().Create(*transaction);
    ASSERT_TRUE(file->Write(*transaction, 0, RandomBytes(5000, 1)).ok());
    EXPECT_FALSE(OpenCopy(volume)->catalog().Open(file->number()).ok());
  }
  volume.Commit();
  EXPECT_TRUE(OpenCopy(volume)->catalog().Open(file->number()).ok());
}

TEST(CommitTest, ASecondWriterIsRefusedAndToldWhoHoldsTheVolume) {
  Volume volume;
  auto second = volume.OpenAnother(kQuiet);
  ASSERT_FALSE(second.ok());
  EXPECT_TRUE(absl::IsUnavailable(second.status()));
  EXPECT_EQ(ErrnoOf(second.status()), EBUSY);
  EXPECT_NE(std::string(second.status().message()).find(std::to_string(getpid())),
            std::string::npos)
      << second.status();
  volume.Close();
  EXPECT_TRUE(volume.OpenAnother(kQuiet).ok());
}

TEST(CommitTest, WhatIsNoVolumeIsRefused) {
  auto disk = std::make_shared<Disk>(Image());
  EXPECT_EQ(ErrnoOf(Store::Open(std::make_unique<MemoryFile>(disk), kQuiet).status()), EINVAL);
  Image noise;
  noise.Write(0, RandomBytes(1 << 20, 1));
  auto noisy = std::make_shared<Disk>(noise);
  EXPECT_EQ(ErrnoOf(Store::Open(std::make_unique<MemoryFile>(noisy), kQuiet).status()), EINVAL);
  EXPECT_TRUE(noisy->Copy() == noise) << "it was written to";
  EXPECT_EQ(ErrnoOf(Store::Create(std::make_unique<MemoryFile>(noisy), {}, kQuiet).status()),
            EEXIST);
}

TEST(CommitTest, ATruncatedVolumeIsRefused) {
  Volume volume;
  volume.CreateFile(RandomBytes(1 << 20, 1));
  volume.Close();
  Image image = volume.disk()->Copy();
  image.Resize(image.size() / 2);
  auto disk = std::make_shared<Disk>(image);
  EXPECT_TRUE(absl::IsDataLoss(Store::Open(std::make_unique<MemoryFile>(disk), kQuiet).status()));
}

// What is cut off is not what the newest commit lacks.
TEST(CommitTest, SalvageOfATruncatedVolumeFindsWhatWasCommittedLast) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(10000, 1));
  volume.Commit();
  volume.Write(file, 0, RandomBytes(10000, 2));
  volume.Commit();
  Image image = volume.disk()->Copy();
  image.Resize(image.size() - kPageSize);
  store::OpenOptions options = kReadOnly;
  options.truncated = true;
  const auto salvage =
      Store::Open(std::make_unique<MemoryFile>(std::make_shared<Disk>(image)), options);
  ASSERT_TRUE(salvage.ok()) << salvage.status();
  EXPECT_TRUE(ContentOf(**(*salvage)->catalog().Open(file->number())) == RandomBytes(10000, 2));
}

// Puts `change` into every superblock of a closed volume.
void ChangeSuperblocks(Volume& volume, const std::function<void(format::Superblock&)>& change) {
  MemoryFile file(volume.disk());
  for (int slot : {0, 1}) {
    for (int copy : {0, 1}) {
      const FrameNumber frame = format::SuperblockFrame(slot, copy);
      Bytes bytes(kPageSize);
      ASSERT_TRUE(file.Read(OffsetOf(frame), bytes).ok());
      auto superblock = format::DecodeSuperblock(bytes, frame);
      if (!superblock.ok()) continue;
      change(*superblock);
      ASSERT_TRUE(file.Write(OffsetOf(frame), format::EncodeSuperblock(*superblock, frame)).ok());
    }
  }
}

TEST(CommitTest, UnknownIncompatibleFeaturesAreRefused) {
  Volume volume;
  volume.Close();
  ChangeSuperblocks(volume, [](format::Superblock& s) { s.incompatible |= uint64_t{1} << 40; });
  EXPECT_TRUE(absl::IsUnimplemented(volume.OpenAnother(kQuiet).status()));
  EXPECT_TRUE(absl::IsUnimplemented(volume.OpenAnother(kReadOnly).status()));
}

TEST(CommitTest, UnknownReadOnlyCompatibleFeaturesAllowReading) {
  Volume volume;
  volume.CreateFile(RandomBytes(100, 1));
  volume.Close();
  ChangeSuperblocks(volume, [](format::Superblock& s) { s.read_only_compatible |= 8; });
  // Nothing is written to it, not even where a copy of the superblock has rotted.
  Image image = volume.disk()->Copy();
  image.Punch(OffsetOf(format::SuperblockFrame(0, 1)), kPageSize);
  const auto rotten = std::make_shared<Disk>(image);
  EXPECT_EQ(ErrnoOf(Store::Open(std::make_unique<MemoryFile>(rotten), kQuiet).status()), EROFS);
  EXPECT_TRUE(rotten->Copy() == image) << "it was written to";
  auto reader = volume.OpenAnother(kReadOnly);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(ContentOf(**(*reader)->catalog().Open(ObjectNumber(1))), RandomBytes(100, 1));
}

TEST(CommitTest, UnknownCompatibleFeaturesAreKept) {
  Volume volume;
  volume.Close();
  ChangeSuperblocks(volume, [](format::Superblock& s) { s.compatible |= 16; });
  volume.Reopen();
  volume.CreateFile(RandomBytes(100, 1));
  volume.Close();
  int found = 0;
  ChangeSuperblocks(volume, [&](format::Superblock& s) { found += s.compatible == 16; });
  EXPECT_GE(found, 2);
}

TEST(CommitTest, AReaderCannotWrite) {
  Volume volume;
  volume.CreateFile(RandomBytes(100, 1));
  volume.Commit();
  const Image before = volume.disk()->Copy();
  auto reader = volume.OpenAnother(kReadOnly);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_TRUE((*reader)->read_only());
  EXPECT_EQ(ErrnoOf((*reader)->Begin(1).status()), EROFS);
  EXPECT_EQ(ErrnoOf((*reader)->BeginFrozen(1).status()), EROFS);
  reader->reset();
  EXPECT_TRUE(volume.disk()->Copy() == before);
}

// The writer does all it can to have the reader's frames reused.
TEST(PinTest, AReaderKeepsItsVersionWhileAWriterRemovesAndReusesEverything) {
  for (const bool tree : {false, true}) {
    Volume volume({.max_bytes = 8 << 20});
    ObjectPointer holder = tree ? volume.CreateTree() : nullptr;
    TablePointer files = tree ? volume.OpenTree(holder) : nullptr;
    for (int i = 0; i < 5; ++i) volume.CreateFile(RandomBytes(100000, i), files.get());
    volume.Commit();
    auto reader = volume.OpenAnother(kReadOnly);
    ASSERT_TRUE(reader.ok()) << reader.status();
    const World before = *ReadWorld(**reader);

    store::Table& table = tree ? *files : volume->catalog();
    for (int i = 0; i < 5; ++i) {
      volume.Remove(*table.Open(ObjectNumber(i + 1)), &table);
      volume.Settle();
    }
    for (int round = 0; round < 10; ++round) {
      // As much as there is space for, again and again.
      ObjectPointer file = volume.CreateFile({}, files.get());
      for (uint64_t offset = 0;; offset += 50000) {
        auto transaction = volume->Begin(store::FramesToWrite(50000));
        if (!transaction.ok()) break;
        ASSERT_TRUE(file->Write(*transaction, offset, RandomBytes(50000, round)).ok());
      }
      EXPECT_EQ(Difference(before, *ReadWorld(**reader)), "") << "round " << round;
      volume.Remove(file, files.get());
      file.reset();
      volume.Commit();
    }
    volume.ExpectClean();
    EXPECT_GT(volume->space().deferred_frames, 100u);
    reader->reset();
    volume.Settle();
    EXPECT_EQ(volume->space().deferred_frames, 0u);
    EXPECT_LT(volume->space().used_frames, 40u);
  }
}

TEST(PinTest, SeveralReadersEachKeepTheirOwnVersion) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(200000, 0));
  std::vector<std::unique_ptr<Store>> readers;
  for (int i = 1; i <= 6; ++i) {
    volume.Commit();
    readers.push_back(*volume.OpenAnother(kReadOnly));
    volume.Write(file, 0, RandomBytes(200000, i));
    volume.Settle();
  }
  readers.erase(readers.begin() + 2);
  volume.Settle();
  for (int i = 0; i < 4; ++i) {
    volume.Write(file, 0, RandomBytes(200000, 50 + i));
    volume.Settle();
  }
  for (size_t i = 0; i < readers.size(); ++i) {
    EXPECT_EQ(ContentOf(**readers[i]->catalog().Open(ObjectNumber(1))),
              RandomBytes(200000, i < 2 ? i : i + 1));
  }
  readers.clear();
  volume.Settle();
  EXPECT_LT(volume->space().used_frames, 70u);
  volume.ExpectClean();
}

TEST(PinTest, PinsAndTheWriterLockHoldBetweenDescriptionsOfAHostFile) {
  TemporaryDirectory directory;
  const std::string path = directory / "volume";
  auto open = [&](os::OpenMode mode, const store::OpenOptions& options) {
    auto file = os::OpenFile(path, mode);
    EXPECT_TRUE(file.ok()) << file.status();
    return mode == os::OpenMode::kCreate
               ? Store::Create(*std::move(file), {.max_bytes = 8 << 20}, options)
               : Store::Open(*std::move(file), options);
  };
  auto writer = open(os::OpenMode::kCreate, kQuiet);
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_EQ(ErrnoOf(open(os::OpenMode::kWrite, kQuiet).status()), EBUSY);
  auto write = [&](ObjectPointer file, uint64_t seed) {
    auto transaction = (*writer)->Begin(store::kFramesToChange + store::FramesToWrite(500000));
    ASSERT_TRUE(transaction.ok()) << transaction.status();
    if (file == nullptr) file = *(*writer)->catalog().Create(*transaction);
    ASSERT_TRUE(file->Write(*transaction, 0, RandomBytes(500000, seed)).ok());
  };
  write(nullptr, 1);
  ASSERT_TRUE((*writer)->Commit().ok());
  auto reader = open(os::OpenMode::kRead, kReadOnly);
  ASSERT_TRUE(reader.ok()) << reader.status();
  ObjectPointer then = *(*reader)->catalog().Open(ObjectNumber(1));
  for (int i = 0; i < 20; ++i) {
    write(*(*writer)->catalog().Open(ObjectNumber(1)), 2 + i);
    ASSERT_TRUE((*writer)->Settle().ok());
  }
  EXPECT_EQ(ContentOf(*then), RandomBytes(500000, 1));
  EXPECT_GT((*writer)->space().deferred_frames, 0u);
  then.reset();
  reader->reset();
  ASSERT_TRUE((*writer)->Settle().ok());
  EXPECT_EQ((*writer)->space().deferred_frames, 0u);
  EXPECT_EQ(Damages(**writer), "");
}

}  // namespace
}  // namespace cow::test
