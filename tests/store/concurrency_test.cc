// Many threads on one store. Run under the thread sanitizer, too.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "absl/time/clock.h"
#include "cow/base/status.h"
#include "cow/os/address_range.h"
#include "cow/os/features.h"
#include "cow/os/userfaultfd.h"
#include "tests/store/volume.h"
#include "tests/support/temporary_directory.h"

namespace cow::test {
namespace {

using store::Store;

// Runs body(0) ... body(count - 1), each in a thread.
void InThreads(int count, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(body, i);
  for (std::thread& thread : threads) thread.join();
}

// A page's worth of one value, over and over.
Bytes Stamp(uint8_t value, size_t pages) {
  return Bytes(pages * kPageSize, static_cast<std::byte>(value));
}

// What all bytes of a page are; -1 where they differ.
int ValueOf(std::span<const std::byte> page) {
  const bool same =
      std::all_of(page.begin(), page.end(), [&](std::byte b) { return b == page[0]; });
  return same ? static_cast<int>(page[0]) : -1;
}

TEST(ConcurrencyTest, ConcurrentWritersDoNotDisturbEachOtherOrSnapshots) {
  Volume volume;
  constexpr int kWriters = 4;
  constexpr int kRounds = 40;
  constexpr size_t kPages = 40;
  std::vector<ObjectPointer> files;
  for (int i = 0; i < kWriters; ++i) files.push_back(volume.CreateFile(Stamp(0, kPages)));
  InThreads(kWriters, [&](int me) {
    for (int round = 1; round <= kRounds; ++round) {
      volume.Write(files[me], 0, Stamp(round, kPages));
      ObjectPointer snapshot = volume.Snapshot(files[me]);
      volume.Write(files[me], 0, Stamp(200, kPages / 2));
      EXPECT_EQ(ContentOf(*snapshot), Stamp(round, kPages));
      if (round % 4 == 0) volume.Commit();
      if (round % 3 == 0) volume.Remove(snapshot);
      EXPECT_EQ(ContentOf(*snapshot), Stamp(round, kPages));
    }
  });
  files.clear();
  volume.Settle();
  volume.ExpectClean();
  volume.Reopen();
  int versions = 0;
  for (ObjectNumber at(kWriters + 1);;) {
    auto next = volume->catalog().NextObject(at);
    ASSERT_TRUE(next.ok());
    if (!next->has_value()) break;
    EXPECT_GT(ValueOf(ContentOf(*volume.Open((*next)->value()))), 0);
    ++versions;
    at = **next + 1;
  }
  EXPECT_EQ(versions, kWriters * (kRounds - kRounds / 3));
}

TEST(ConcurrencyTest, ConcurrentReadersOfAHeadThatIsRolledBackSeeOneVersionOrTheOther) {
  // Small, so that frames are soon used again: a reader that is late would see it.
  Volume volume({.max_bytes = 6 << 20});
  constexpr size_t kPages = 64;
  ObjectPointer head = volume.CreateFile(Stamp(1, kPages));
  ObjectPointer first = volume.Snapshot(head);
  std::atomic<bool> stop = false;
  InThreads(5, [&](int me) {
    if (me == 0) {
      for (int round = 0; round < 150; ++round) {
        volume.Write(head, 0, Stamp(2, kPages));
        volume.Replace(head, first);
        volume.Commit();
      }
      stop = true;
    } else if (me == 1) {
      // Takes what is freed, and fills it with something else.
      while (!stop) {
        ObjectPointer file = volume.CreateFile(Stamp(3, kPages));
        volume.Commit();
        volume.Remove(file);
      }
    } else {
      Random random(me);
      while (!stop) {
        Bytes page(kPageSize);
        const uint64_t number = random.Below(kPages);
        auto got = head->Read(number * kPageSize, page);
        ASSERT_TRUE(got.ok()) << got.status();
        // In place, a write and a read of the same page may mix.
        for (std::byte b : page) ASSERT_TRUE(b == std::byte{1} || b == std::byte{2});
        ASSERT_TRUE(first->Read(number * kPageSize, page).ok());
        ASSERT_EQ(ValueOf(page), 1);
      }
    }
  });
  volume.ExpectClean();
}

TEST(ConcurrencyTest, ConcurrentChangesOfATreeAndItsSnapshotsAgree) {
  Volume volume;
  ObjectPointer tree = volume.CreateTree();
  TablePointer files = volume.OpenTree(tree);
  InThreads(4, [&](int me) {
    std::vector<ObjectPointer> mine;
    Random random(me);
    for (int round = 0; round < 60; ++round) {
      if (me == 3) {
        // Each snapshot holds files that are whole: written in the transaction that made them.
        ObjectPointer snapshot = volume.Snapshot(tree);
        TablePointer then = volume.OpenTree(snapshot);
        for (ObjectNumber at(0);;) {
          auto next = then->NextObject(at);
          ASSERT_TRUE(next.ok()) << next.status();
          if (!next->has_value()) break;
          auto file = then->Open(**next);
          ASSERT_TRUE(file.ok()) << file.status();
          ASSERT_EQ((*file)->size(), 2 * kPageSize);
          ASSERT_GE(ValueOf(ContentOf(**file)), 1);
          at = **next + 1;
        }
        if (round % 2 == 0) volume.Remove(snapshot);
        continue;
      }
      mine.push_back(volume.CreateFile(Stamp(me + 1, 2), files.get()));
      if (random.OneIn(3)) {
        volume.Remove(mine.front(), files.get());
        mine.erase(mine.begin());
      }
      if (random.OneIn(5)) volume.Commit();
    }
  });
  volume.Settle();
  volume.ExpectClean();
}

TEST(ConcurrencyTest, ConcurrentCommitsAreDurableWhenTheyReturn) {
  Volume volume;
  std::vector<ObjectPointer> files;
  for (int i = 0; i < 4; ++i) files.push_back(volume.CreateFile(Stamp(0, 3)));
  volume.Commit();
  InThreads(4, [&](int me) {
    for (int round = 1; round <= 15; ++round) {
      volume.Write(files[me], 0, Stamp(round, 3));
      volume.Commit();
      auto copy = Store::Open(
          std::make_unique<MemoryFile>(std::make_shared<Disk>(volume.disk()->Copy())), kQuiet);
      ASSERT_TRUE(copy.ok()) << copy.status();
      EXPECT_EQ(ContentOf(**(*copy)->catalog().Open(ObjectNumber(me + 1))), Stamp(round, 3));
    }
  });
}

TEST(ConcurrencyTest, ConcurrentUseWithTheBackgroundThreadAndAFullVolume) {
  Volume volume({.max_bytes = 8 << 20}, {.cache_bytes = 1 << 20, .commit_seconds = 1});
  std::atomic<int> refused = 0;
  InThreads(4, [&](int me) {
    Random random(me);
    std::vector<ObjectPointer> mine;
    for (int round = 0; round < 120; ++round) {
      auto transaction =
          volume->Begin(store::FramesToWrite(60 * kPageSize) + store::kFramesToChange);
      if (!transaction.ok()) {
        ASSERT_EQ(ErrnoOf(transaction.status()), ENOSPC) << transaction.status();
        ++refused;
        for (const ObjectPointer& file : mine) volume.Remove(file);
        mine.clear();
        continue;
      }
      auto file = volume->catalog().Create(*transaction);
      ASSERT_TRUE(file.ok()) << file.status();
      ASSERT_TRUE((*file)->Write(*transaction, 0, Stamp(me + 1, 60)).ok());
      mine.push_back(*file);
      const ObjectPointer& any = mine[random.Below(mine.size())];
      ASSERT_EQ(ValueOf(ContentOf(*any)), me + 1);
    }
  });
  EXPECT_GT(refused.load(), 0);
  EXPECT_TRUE(volume->health().ok()) << volume->health();
  volume.ExpectClean();
}

// A disk on which a flush takes as long as on a real one, so that callers come together.
class SlowFile : public MemoryFile {
 public:
  using MemoryFile::MemoryFile;
  absl::Status Flush() override {
    ++flushes;
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    return absl::OkStatus();
  }
  static inline std::atomic<uint64_t> flushes = 0;
};

TEST(ConcurrencyTest, ACheckBesideConcurrentCommitsFindsNoDamage) {
  auto store = *Store::Create(std::make_unique<SlowFile>(std::make_shared<Disk>()), {}, kQuiet);
  std::atomic<bool> stop = false;
  std::vector<std::thread> writers;
  for (int me = 0; me < 3; ++me) {
    writers.emplace_back([&, me] {
      ObjectPointer file;
      {
        auto transaction = store->Begin(store::kFramesToChange);
        file = *store->catalog().Create(*transaction);
      }
      for (uint64_t i = 0; !stop; ++i) {
        {
          auto transaction = store->Begin(store::FramesToWrite(5000));
          ASSERT_TRUE(transaction.ok()) << transaction.status();
          const uint64_t page = i * 7919 % 1000;
          ASSERT_TRUE(file->Write(*transaction, page * kPageSize, Stamp(me, 2)).ok());
        }
        ASSERT_TRUE(store->Commit().ok());
      }
    });
  }
  for (int i = 0; i < 50; ++i) EXPECT_EQ(Damages(*store), "");
  stop = true;
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(Damages(*store), "");
}

TEST(GroupCommitTest, CallersThatArriveTogetherShareAFlush) {
  auto store = *Store::Create(std::make_unique<SlowFile>(std::make_shared<Disk>()), {}, kQuiet);
  constexpr int kThreads = 8;
  constexpr int kRounds = 10;
  std::vector<ObjectPointer> files;
  for (int i = 0; i < kThreads; ++i) {
    auto transaction = store->Begin(store::kFramesToChange);
    files.push_back(*store->catalog().Create(*transaction));
  }
  SlowFile::flushes = 0;
  InThreads(kThreads, [&](int me) {
    for (int round = 0; round < kRounds; ++round) {
      {
        auto transaction = store->Begin(store::FramesToWrite(kPageSize));
        ASSERT_TRUE(files[me]->Write(*transaction, 0, Stamp(round, 1)).ok());
      }
      ASSERT_TRUE(store->Commit().ok());
    }
  });
  // Alone, each would flush twice.
  EXPECT_LT(SlowFile::flushes.load(), 2u * kThreads * kRounds * 3 / 4);
}

// A commit that took long and served many says little of the next one.
TEST(GroupCommitTest, WhoIsAloneAfterASlowCommitDoesNotWaitLong) {
  struct StallingFile : MemoryFile {
    StallingFile(std::shared_ptr<Disk> disk, const std::atomic<int>& milliseconds)
        : MemoryFile(std::move(disk)), milliseconds(milliseconds) {}
    absl::Status Flush() override {
      absl::SleepFor(absl::Milliseconds(milliseconds.load()));
      return absl::OkStatus();
    }
    const std::atomic<int>& milliseconds;
  };
  std::atomic<int> stall = 0;
  auto store =
      *Store::Create(std::make_unique<StallingFile>(std::make_shared<Disk>(), stall), {}, kQuiet);
  const auto change = [&] {
    {
      auto transaction = store->Begin(store::kFramesToChange);
      ASSERT_TRUE(store->catalog().Create(*transaction).ok());
    }
    ASSERT_TRUE(store->Commit().ok());
  };
  stall = 1000;
  InThreads(4, [&](int) { change(); });
  stall = 0;
  const auto start = std::chrono::steady_clock::now();
  change();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(250));
}

// Who reads into a mapping may wait for a page of it that is found so.
TEST(ConcurrencyTest, FramesAreFoundHoweverManyReadersWaitForTheirMemory) {
  if (!os::UsableFeatures().uffd_missing) GTEST_SKIP() << "no userfaultfd for system calls";
  constexpr int kReaders = 128;  // more wait for one another
  const TemporaryDirectory directory;
  Volume volume(directory / "volume", {});
  const Bytes content = RandomBytes(3 * kPageSize, 1);
  const ObjectPointer file = volume.CreateFile(content);
  auto memory =
      os::AddressRange::Reserve(kReaders * kPageSize, kPageSize, os::Protection::kReadWrite)
          .value();
  const std::span<std::byte> bytes(memory.data(), memory.size());
  const os::Userfaultfd uffd = os::Userfaultfd::OpenForMissing().value();
  ASSERT_TRUE(uffd.RegisterMissing(bytes, /*protection=*/false).ok());
  std::thread readers([&] {
    InThreads(kReaders, [&](int i) {
      EXPECT_EQ(file->Read(0, bytes.subspan(i * kPageSize, kPageSize)).value_or(0), kPageSize);
    });
  });
  for (int waiting = 0; waiting < kReaders;) {
    if (uffd.ReadFault() != nullptr) ++waiting;
  }
  const auto extents = file->Extents(PageNumber(0), PageNumber(3), /*verify=*/true);
  ASSERT_TRUE(extents.ok());
  EXPECT_FALSE(extents->empty());
  ASSERT_TRUE(uffd.Zero(bytes).ok());
  uffd.Wake(bytes);
  readers.join();
  for (int i = 0; i < kReaders; ++i) {
    const auto page = bytes.subspan(i * kPageSize, kPageSize);
    EXPECT_TRUE(std::equal(page.begin(), page.end(), content.begin()));
  }
}

}  // namespace
}  // namespace cow::test
