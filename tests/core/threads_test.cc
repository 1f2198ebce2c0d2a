// Many threads on one volume.
#include <atomic>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/core/volumes.h"

namespace cow {
namespace {

class ConcurrentTest : public EachVolume {};
COW_EACH_VOLUME(ConcurrentTest);

constexpr size_t kPages = 64;
constexpr size_t kPage = 4096;

// Threads store rising numbers into the first word of their pages while snapshots are taken. Of
// each page a later snapshot never holds an older number than an earlier one, nor one from the
// future.
TEST_P(ConcurrentTest, StoresDuringSnapshotsAreNeitherLostNorMovedBack) {
  constexpr size_t kThreads = 3;
  constexpr uint64_t kSnapshots = 20;
  File file = volume_.CreateFile("/state", kPages * kPage).value();
  const Mapping live = file.Map(Access::kWrite).value();
  const auto word = [](const Mapping& mapping, size_t page) {
    return std::atomic_ref(*reinterpret_cast<uint64_t*>(mapping.bytes().data() + page * kPage));
  };
  std::atomic<bool> stop = false;
  std::vector<std::thread> writers;
  for (size_t thread = 0; thread < kThreads; ++thread) {
    writers.emplace_back([&, thread] {
      for (uint64_t number = 1; !stop; ++number) {
        for (size_t page = thread; page < kPages; page += kThreads) word(live, page).store(number);
      }
    });
  }
  std::vector<uint64_t> earlier(kPages);
  for (uint64_t i = 0; i < kSnapshots; ++i) {
    std::vector<uint64_t> before(kPages);
    for (size_t page = 0; page < kPages; ++page) before[page] = word(live, page).load();
    const Snapshot snapshot = file.TakeSnapshot(std::to_string(i)).value();
    const Mapping held = snapshot.Map(Access::kRead).value();
    for (size_t page = 0; page < kPages; ++page) {
      const uint64_t number = *reinterpret_cast<uint64_t*>(held.bytes().data() + page * kPage);
      EXPECT_GE(number, before[page]) << "stored before the snapshot began";
      EXPECT_LE(number, word(live, page).load());
    }
  }
  stop = true;
  for (std::thread& writer : writers) writer.join();
  const Snapshot last = file.TakeSnapshot("last").value();
  EXPECT_TRUE(Same(TextOf(last), TextOf(live))) << "quiet writers: one instant";
}

TEST_P(ConcurrentTest, FilesAreWrittenSnapshottedAndRemovedSideBySide) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 12;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int round = 0; round < kRounds; ++round) {
        const std::string path = absl::StrCat("/", thread, "-", round % 3);
        const std::string text(10'000, static_cast<char>('a' + round));
        File file = MakeFile(volume_, path, text);
        Snapshot snapshot = file.TakeSnapshot("s").value();
        ASSERT_EQ(file.Write(5000, AsBytes("changed")), absl::OkStatus());
        File clone = volume_.Clone(snapshot, path + "-clone").value();
        ASSERT_TRUE(Same(TextOf(clone), text));
        {
          const Mapping mapping = clone.Map(Access::kWrite).value();
          Store(mapping, 0, "mapped");
        }
        ASSERT_EQ(TextOf(clone).substr(0, 6), "mapped");
        if (round % 4 == 0) {
          ASSERT_EQ(volume_.Sync(), absl::OkStatus());
        }
        ASSERT_EQ(volume_.RollBack(snapshot).status(), absl::OkStatus());
        ASSERT_TRUE(Same(TextOf(file), text));
        ASSERT_EQ(volume_.Remove(path), absl::OkStatus());
        ASSERT_EQ(volume_.Remove(path + "-clone"), absl::OkStatus());
        ASSERT_EQ(snapshot.Destroy(), absl::OkStatus());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(volume_.List("/").value(), testing::IsEmpty());
  ExpectSound(volume_);
}

TEST_P(ConcurrentTest, OneOfManyGetsTheWriteMapping) {
  File file = volume_.CreateFile("/a", kPage).value();
  std::atomic<int> mapped = 0;
  std::atomic<int> total = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        absl::StatusOr<Mapping> mapping = file.Map(Access::kWrite);
        if (!mapping.ok()) {
          ASSERT_EQ(ErrnoIn(mapping), EBUSY);
          continue;
        }
        EXPECT_EQ(++mapped, 1);
        ++*reinterpret_cast<uint32_t*>(mapping->bytes().data());
        ++total;
        EXPECT_EQ(--mapped, 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Bytes count(4);
  ASSERT_EQ(file.Read(0, count).value(), 4);
  EXPECT_EQ(*reinterpret_cast<const int*>(count.data()), total) << "no store was lost on the way";
}

// The name of a new file is visible before it has its size.
TEST_P(ConcurrentTest, ANewFileGetsItsSizeWithoutHarmToWhoOpenedItFirst) {
  constexpr int kRounds = 200;
  const std::string text(16 * kPage, 'x');
  for (int round = 0; round < kRounds; ++round) {
    const std::string path = absl::StrCat("/", round);
    std::atomic<bool> ready = false;
    std::optional<File> other;
    std::optional<Mapping> live;
    std::thread quicker([&] {
      ready = true;
      absl::StatusOr<File> file = volume_.OpenFile(path);
      while (!file.ok()) file = volume_.OpenFile(path);
      other = std::move(*file);
      ASSERT_EQ(other->Write(0, AsBytes(text)), absl::OkStatus());
      live = other->Map(Access::kWrite).value();
    });
    while (!ready) continue;
    const absl::StatusOr<File> made = volume_.CreateFile(path, kPage);
    quicker.join();
    EXPECT_TRUE(made.ok() || ErrnoIn(made) == EBUSY) << made.status();
    ASSERT_EQ(volume_.Stat(path)->size, live->size()) << "the size of a mapped file stays";
    ASSERT_TRUE(Same(TextOf(*other), text)) << "what was written stays";
    live.reset();
    ASSERT_EQ(volume_.Remove(path), absl::OkStatus());
  }
}

TEST_P(ConcurrentTest, SyncsAndTreeSnapshotsSealWhatOthersUnmap) {
  Tree tree = volume_.CreateTree("/t").value();
  File file = volume_.CreateFile("/t/a", kPages * kPage).value();
  std::atomic<bool> stop = false;
  std::thread syncing([&] {
    while (!stop) {
      EXPECT_EQ(volume_.Sync(), absl::OkStatus());
      Snapshot snapshot = tree.TakeSnapshot("s").value();
      EXPECT_EQ(snapshot.Destroy(), absl::OkStatus());
    }
  });
  for (int round = 1; round <= 30; ++round) {
    {
      const Mapping live = file.Map(Access::kWrite).value();
      std::ranges::fill(live.bytes(), std::byte(round));
    }
    ASSERT_TRUE(Same(TextOf(file), std::string(kPages * kPage, static_cast<char>(round))));
  }
  stop = true;
  syncing.join();
  ExpectSound(volume_);
}

}  // namespace
}  // namespace cow
