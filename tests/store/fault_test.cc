// A disk that fails: at each call of each kind in turn. The error reaches the caller, the store
// goes on or is read-only with the first cause kept, and what was acknowledged is there on a good
// disk.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <thread>

#include "absl/time/clock.h"
#include "cow/base/status.h"
#include "tests/store/volume.h"

namespace cow::test {
namespace {

using store::Store;

// What was acknowledged when something failed.
struct Story {
  World acknowledged;
  World last;  // with what was done but not acknowledged
  bool created = false;
  absl::Status error;  // the first
  absl::Status health;
};

// Does some of everything; stops at the first error.
absl::Status Tell(Store& store, Story& story) {
  auto learn = [&](bool committed) -> absl::Status {
    COW_ASSIGN_OR_RETURN(story.last, ReadWorld(store));
    if (committed) story.acknowledged = story.last;
    return absl::OkStatus();
  };
  // A commit that fails may have reached the disk.
  auto commit = [&](bool settle) -> absl::Status {
    COW_RETURN_IF_ERROR(learn(false));
    COW_RETURN_IF_ERROR(settle ? store.Settle() : store.Commit());
    return learn(true);
  };
  COW_RETURN_IF_ERROR(learn(true));
  std::shared_ptr<store::Object> file;
  for (int round = 0; round < 3; ++round) {
    {
      COW_ASSIGN_OR_RETURN(auto transaction, store.Begin(400));
      COW_ASSIGN_OR_RETURN(file, store.catalog().Create(transaction));
      COW_RETURN_IF_ERROR(file->Write(transaction, 777, RandomBytes(900000, round)));
    }
    COW_RETURN_IF_ERROR(commit(/*settle=*/false));
    std::shared_ptr<store::Object> snapshot;
    {
      COW_ASSIGN_OR_RETURN(auto frozen, store.BeginFrozen(48));
      COW_ASSIGN_OR_RETURN(snapshot, store.Share(frozen, *file, store.catalog(), true));
    }
    {
      COW_ASSIGN_OR_RETURN(auto transaction, store.Begin(300));
      COW_RETURN_IF_ERROR(file->Write(transaction, 100000, RandomBytes(300000, 10 + round)));
      COW_RETURN_IF_ERROR(file->Punch(transaction, 500, 50000));
    }
    COW_RETURN_IF_ERROR(commit(/*settle=*/false));
    if (round == 1) {
      COW_ASSIGN_OR_RETURN(auto transaction, store.Begin(48, true));
      COW_RETURN_IF_ERROR(store.catalog().Remove(transaction, file));
    }
    file.reset();
    snapshot.reset();
    COW_RETURN_IF_ERROR(commit(/*settle=*/true));
  }
  return absl::OkStatus();
}

// Runs the story with a fault; false when the fault was never reached.
bool RunWithFault(const Fault& fault, const std::string& context) {
  SCOPED_TRACE(context);
  auto disk = std::make_shared<Disk>();
  auto probe = std::make_shared<Probe>();
  Story story;
  bool told = false;  // what fails while the volume is closed loses nothing, and is told to nobody
  {
    probe->Arm(fault);
    auto store = Store::Create(
        std::make_unique<ProbedFile>(std::make_unique<MemoryFile>(disk), probe), {}, kQuiet);
    story.created = store.ok();
    story.error = store.status();
    if (store.ok()) {
      story.error = Tell(**store, story);
      story.health = (*store)->health();
      if (!story.health.ok()) {
        // Sticky: no later commit succeeds, and nothing can be changed.
        EXPECT_FALSE((*store)->Commit().ok());
        EXPECT_FALSE((*store)->Commit().ok());
        EXPECT_EQ(ErrnoOf((*store)->Begin(1).status()), EROFS);
        EXPECT_EQ((*store)->health(), story.health);
      } else if (!story.error.ok()) {
        // Healthy: what failed can be tried again.
        probe->Disarm();
        EXPECT_TRUE((*store)->Commit().ok()) << (*store)->Commit();
        if (auto world = ReadWorld(**store); world.ok()) story.acknowledged = *world;
        EXPECT_EQ(Damages(**store), "") << "the first error was " << story.error;
      }
    }
    told = probe->failures() > 0;
  }
  if (probe->failures() == 0) return false;
  // Punching is a favour to the host and may fail unseen, and so may growing by more than is
  // needed.
  if (told && fault.call != Call::kPunch && fault.error != ENOSPC) {
    EXPECT_FALSE(story.error.ok()) << "an error was swallowed";
  }
  if (!story.error.ok()) {
    EXPECT_EQ(ErrnoOf(story.error), fault.error) << story.error;
  }
  if (!story.created) return true;

  auto again = Store::Open(std::make_unique<MemoryFile>(disk), kQuiet);
  EXPECT_TRUE(again.ok()) << again.status();
  if (!again.ok()) return true;
  auto world = ReadWorld(**again);
  EXPECT_TRUE(world.ok()) << world.status();
  if (!world.ok()) return true;
  // A commit that failed may have reached the disk or not.
  EXPECT_TRUE(*world == story.acknowledged || *world == story.last)
      << Difference(story.acknowledged, *world) << "; " << Difference(story.last, *world)
      << "; after " << story.error;
  EXPECT_EQ(Damages(**again), "");
  return true;
}

void FailEach(Call call, int error, bool partial, uint64_t count, uint64_t step) {
  uint64_t reached = 0;
  for (uint64_t first = 0;; first += step) {
    const Fault fault = {
        .call = call, .first = first, .count = count, .error = error, .partial = partial};
    if (!RunWithFault(fault, "call " + std::to_string(first) + " fails")) break;
    ++reached;
    ASSERT_FALSE(::testing::Test::HasFailure());
  }
  EXPECT_GE(reached, 3u);
}

TEST(FaultTest, EachWriteFailsInTurn) { FailEach(Call::kWrite, EIO, false, 1, 1); }
TEST(FaultTest, EachWriteIsCutShortInTurn) { FailEach(Call::kWrite, EIO, true, 1, 1); }
TEST(FaultTest, TheDiskTakesNoMoreWritesFromEachOnInTurn) {
  FailEach(Call::kWrite, EIO, true, UINT64_MAX, 1);
}
TEST(FaultTest, TheHostIsFullAtEachWriteInTurn) { FailEach(Call::kWrite, ENOSPC, true, 1, 1); }
TEST(FaultTest, EachFlushFailsInTurn) { FailEach(Call::kFlush, EIO, false, 1, 1); }
TEST(FaultTest, EachAllocationFailsInTurn) { FailEach(Call::kAllocate, EIO, false, 1, 1); }
TEST(FaultTest, TheHostIsFullAtEachAllocationInTurn) {
  FailEach(Call::kAllocate, ENOSPC, false, 1, 1);
}
TEST(FaultTest, TheHostIsFullFromEachAllocationOnInTurn) {
  FailEach(Call::kAllocate, ENOSPC, false, UINT64_MAX, 1);
}

// Reads fail once or for ever, of a volume opened anew, so that nothing is in memory.
TEST(FaultTest, EachReadFailsInTurn) {
  Volume volume;
  Story story;
  ASSERT_TRUE(Tell(*volume, story).ok());
  const World world = story.last;
  volume.Close();
  for (const uint64_t count : {uint64_t{1}, UINT64_MAX}) {
    for (uint64_t first = 0;; ++first) {
      SCOPED_TRACE("read " + std::to_string(first) + " fails");
      auto disk = std::make_shared<Disk>(volume.disk()->Copy());
      auto probe = std::make_shared<Probe>();
      probe->Arm(
          {.call = Call::kRead, .first = first, .count = count, .error = EIO, .partial = true});
      auto store = Store::Open(
          std::make_unique<ProbedFile>(std::make_unique<MemoryFile>(disk), probe), kQuiet);
      absl::Status error = store.status();
      if (store.ok()) {
        absl::StatusOr<World> read = ReadWorld(**store);
        error = read.status();
        if (read.ok()) {
          EXPECT_EQ(Difference(world, *read), "");
        }
      }
      if (probe->failures() == 0) break;
      // A superblock copy that cannot be read is not missed where the other can: the first four reads
      // look for the newest, four more for what to repair. The next is of the orphans: what was
      // removed already then stays until the next open.
      EXPECT_TRUE(error.ok() || ErrnoOf(error) == EIO) << error;
      if (first >= 9) {
        EXPECT_FALSE(error.ok()) << "an error was swallowed";
      }
      probe->Disarm();
      if (store.ok()) {
        absl::StatusOr<World> read = ReadWorld(**store);
        ASSERT_TRUE(read.ok()) << "after a passing error: " << read.status();
        EXPECT_EQ(Difference(world, *read), "");
      }
      ASSERT_FALSE(::testing::Test::HasFailure());
    }
  }
}

// After a crash: whether the newest commit was completed is not guessed at.
TEST(FaultTest, EachReadFailsInTurnOfAVolumeThatWasNotClosed) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(10000, 1));
  volume.Commit();
  volume.Write(file, 5000, RandomBytes(90000, 2));
  volume.Commit();
  const World world = *ReadWorld(*volume);
  const Image image = volume.disk()->Copy();
  const auto fail = [&](const store::OpenOptions& options, uint64_t count) {
    for (uint64_t first = 0;; ++first) {
      SCOPED_TRACE("read " + std::to_string(first) + " fails");
      auto disk = std::make_shared<Disk>(image);
      auto probe = std::make_shared<Probe>();
      probe->Arm({.call = Call::kRead, .first = first, .count = count, .error = EIO});
      auto store = Store::Open(
          std::make_unique<ProbedFile>(std::make_unique<MemoryFile>(disk), probe), options);
      if (probe->failures() == 0) break;
      probe->Disarm();
      if (!store.ok()) {
        EXPECT_EQ(ErrnoOf(store.status()), EIO) << store.status();
        store = Store::Open(std::make_unique<MemoryFile>(disk), options);
        ASSERT_TRUE(store.ok()) << store.status();
      }
      const absl::StatusOr<World> read = ReadWorld(**store);
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_EQ(Difference(world, *read), "");
      ASSERT_FALSE(::testing::Test::HasFailure());
    }
  };
  // Two that follow each other may be both copies of a superblock.
  for (const uint64_t count : {1, 2}) {
    fail(kQuiet, count);
    fail(kReadOnly, count);
  }
}

// While changing: a node that cannot be read fails the operation, not the volume's consistency.
TEST(FaultTest, EachReadFailsInTurnWhileChanging) {
  Volume volume;
  Story story;
  ASSERT_TRUE(Tell(*volume, story).ok());
  volume.Close();
  for (uint64_t first = 0;; first += first < 20 ? 1 : 7) {
    SCOPED_TRACE("read " + std::to_string(first) + " fails");
    auto disk = std::make_shared<Disk>(volume.disk()->Copy());
    auto probe = std::make_shared<Probe>();
    auto store = Store::Open(
        std::make_unique<ProbedFile>(std::make_unique<MemoryFile>(disk), probe), kQuiet);
    ASSERT_TRUE(store.ok());
    probe->Arm({.call = Call::kRead, .first = first, .count = 1, .error = EIO, .partial = false});
    Story more;
    absl::Status error = Tell(**store, more);
    if (probe->failures() == 0) break;
    probe->Disarm();
    EXPECT_TRUE(error.ok() || ErrnoOf(error) == EIO) << error;
    if ((*store)->health().ok()) {
      EXPECT_TRUE((*store)->Settle().ok());
      EXPECT_EQ(Damages(**store), "");
    }
    store->reset();
    store = Store::Open(std::make_unique<MemoryFile>(disk), kQuiet);
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_EQ(Damages(**store), "");
    ASSERT_FALSE(::testing::Test::HasFailure());
  }
}

TEST(FaultTest, AFailedFlushIsNeverRetriedIntoASuccess) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(10000, 1));
  volume.Commit();
  volume.Write(file, 0, RandomBytes(10000, 2));
  volume.probe().Arm({.call = Call::kFlush, .error = EIO});
  EXPECT_EQ(ErrnoOf(volume->Commit()), EIO);
  volume.probe().Disarm();
  EXPECT_FALSE(volume->Commit().ok());
  EXPECT_EQ(ErrnoOf(volume->health()), EIO);
  EXPECT_EQ(ErrnoOf(volume->Begin(1).status()), EROFS);
  EXPECT_EQ(ContentOf(*file), RandomBytes(10000, 2));  // reading goes on
}

// A page is written half while a commit waits for its transaction to end: such a page is in no commit,
// as an open after a crash would take the whole of it for torn.
TEST(FaultTest, AWriteThatFailsWhileACommitWaitsIsInNoCommit) {
  Volume volume;
  ObjectPointer torn = volume.CreateFile(RandomBytes(kPageSize, 1));
  ObjectPointer kept = volume.CreateFile(RandomBytes(kPageSize, 2));
  volume.Commit();
  volume.Write(kept, 0, RandomBytes(kPageSize, 3));
  absl::Status committed;
  std::thread committer;
  {
    auto transaction = volume->Begin(store::FramesToWrite(kPageSize));
    ASSERT_TRUE(transaction.ok());
    ASSERT_TRUE(torn->Write(*transaction, 0, RandomBytes(kPageSize, 4)).ok());
    committer = std::thread([&] { committed = volume->Commit(); });
    absl::SleepFor(absl::Milliseconds(50));
    volume.probe().Arm({.call = Call::kWrite, .error = EIO, .partial = true});
    EXPECT_FALSE(torn->Write(*transaction, 0, RandomBytes(kPageSize, 5)).ok());
    volume.probe().Disarm();
  }
  committer.join();
  const auto again = Store::Open(
      std::make_unique<MemoryFile>(std::make_shared<Disk>(volume.disk()->Copy())), kQuiet);
  ASSERT_TRUE(again.ok()) << again.status();
  const Bytes found = ContentOf(**(*again)->catalog().Open(kept->number()));
  EXPECT_TRUE(found == RandomBytes(kPageSize, committed.ok() ? 3 : 2)) << committed;
  EXPECT_TRUE(committed.ok() || ErrnoOf(committed) == EIO) << committed;
}

// A disk whose flushes fail when it is told to: what was not flushed is gone then, from the page cache
// too.
class LosingFile : public MemoryFile {
 public:
  LosingFile(std::shared_ptr<Disk> disk, const bool& fails)
      : MemoryFile(disk), disk_(std::move(disk)), fails_(fails) {}

  absl::Status Flush() override {
    absl::MutexLock lock(&disk_->mu);
    if (!fails_) {
      durable_ = disk_->image;
      return absl::OkStatus();
    }
    disk_->image = durable_;
    return ErrnoStatus(EIO, "flush");
  }

 private:
  const std::shared_ptr<Disk> disk_;
  const bool& fails_;
  Image durable_;
};

TEST(FaultTest, WhatAFailedFlushLostIsNotServed) {
  bool fails = false;
  auto store =
      Store::Create(std::make_unique<LosingFile>(std::make_shared<Disk>(), fails), {}, kQuiet);
  ASSERT_TRUE(store.ok()) << store.status();
  ObjectPointer file;
  {
    auto transaction = (*store)->Begin(100);
    file = *(*store)->catalog().Create(*transaction);
    ASSERT_TRUE(file->Write(*transaction, 0, RandomBytes(100000, 1)).ok());
  }
  fails = true;
  EXPECT_EQ(ErrnoOf((*store)->Commit()), EIO);
  Bytes found(100000);
  const absl::StatusOr<size_t> read = file->Read(0, found);
  if (read.ok()) {
    EXPECT_TRUE(found == RandomBytes(100000, 1)) << "what was never written is served";
  } else {
    EXPECT_EQ(ErrnoOf(read.status()), EIO) << read.status();
  }
}

TEST(FaultTest, AFailedPunchLosesNothing) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(48 << 20, 1));
  volume.Settle();
  volume.Remove(file);
  file.reset();
  volume.probe().Arm({.call = Call::kPunch, .count = UINT64_MAX, .error = EIO});
  (void)volume->Settle();
  volume.probe().Disarm();
  volume.CreateFile(RandomBytes(1 << 20, 2));
  volume.Commit();
  volume.ExpectClean();
}

}  // namespace
}  // namespace cow::test
