// Checks beside everything else. Those with threads also run under the thread sanitizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <thread>

#include "absl/synchronization/notification.h"
#include "cow/base/status.h"
#include "cow/format/geometry.h"
#include "tests/store/forge.h"
#include "tests/store/volume.h"

namespace cow::test {
namespace {

using store::Store;

std::string TextOf(const absl::StatusOr<store::CheckResult>& result) {
  if (!result.ok()) return result.status().ToString();
  std::string text;
  for (const store::Damage& damage : result->damages) text += damage.what + "\n";
  return text;
}

// What a volume is used for, step by step: each changes what a check that runs has not seen yet, and
// what it has.
class Usage {
 public:
  explicit Usage(Volume& volume, uint64_t seed)
      : volume_(volume), random_(seed), tree_(volume.CreateTree()), table_(volume.OpenTree(tree_)) {
    for (int i = 0; i < 3; ++i) {
      files_.push_back(volume_.CreateFile(RandomBytes(kPages * kPageSize, seed), table_.get()));
    }
  }

  void Step() {
    ObjectPointer& file = files_[random_.Below(files_.size())];
    switch (random_.Below(8)) {
      case 0:
      case 1:
        versions_.push_back(volume_.Snapshot(random_.Below(2) == 0 ? file : tree_));
        if (versions_.size() < 4) break;
        volume_.Remove(versions_.front());
        versions_.erase(versions_.begin());
        break;
      case 2:
        volume_.Commit();
        break;
      case 3:
        volume_.Remove(file, table_.get());
        file = volume_.CreateFile(RandomBytes(40 * kPageSize, random_.Next()), table_.get());
        break;
      default:
        volume_.Write(file, random_.Below(kPages - 10) * kPageSize,
                      RandomBytes((1 + random_.Below(9)) * kPageSize, random_.Next()));
    }
  }

 private:
  static constexpr uint64_t kPages = 270;

  Volume& volume_;
  Random random_;
  ObjectPointer tree_;
  TablePointer table_;
  std::vector<ObjectPointer> files_;
  std::vector<ObjectPointer> versions_;
};

TEST(CheckTest, BesideConcurrentUseFindsNothingWrong) {
  Volume volume({}, {.cache_bytes = 1 << 20, .commit_seconds = 1});
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> steps = 0;
  std::vector<std::thread> users;
  for (int me = 0; me < 3; ++me) {
    users.emplace_back([&, me] {
      Usage usage(volume, me + 1);
      while (!stop) {
        usage.Step();
        ++steps;
      }
    });
  }
  while (steps < 30) std::this_thread::yield();
  for (int i = 0; i < 8; ++i) {
    uint64_t told = 0;
    uint64_t seen = steps;
    EXPECT_EQ(TextOf(volume->Check([&](uint64_t done, uint64_t) {
                // Reads no more before something has happened.
                for (; done >= told + 100; told = done, seen = steps) {
                  while (steps == seen) std::this_thread::yield();
                }
                return true;
              })),
              "");
  }
  stop = true;
  for (std::thread& user : users) user.join();
  EXPECT_EQ(volume->health(), absl::OkStatus());
  volume.ExpectClean();
  volume.Reopen();
  volume.ExpectClean();
}

TEST(CheckTest, FindsWhatIsWrongWhateverIsDoneMeanwhile) {
  Volume made;
  made.CreateFile(RandomBytes(450 * kPageSize, 1));
  made.Close();
  Image image = made.disk()->Copy();
  // A frame that was freed long ago, as far as counts tell; a page that rotted; one counted twice.
  const std::vector<uint64_t> used = FramesWith(image, 1);
  const std::vector<uint64_t> unused = FramesWith(image, 0);
  ASSERT_GT(used.size(), 400u);
  SetCounts(image, {{unused[5], 1}, {used[100], 2}});
  std::byte byte = {};
  image.Read(OffsetOf(FrameNumber(used[200])) + 7, {&byte, 1});
  byte ^= std::byte{1};
  image.Write(OffsetOf(FrameNumber(used[200])) + 7, {&byte, 1});

  Volume volume(std::make_shared<Disk>(image));
  ObjectPointer file = volume.Open(1);
  uint64_t calls = 0;
  const std::string found = TextOf(volume->Check([&](uint64_t, uint64_t) {
    ++calls;
    volume.Write(file, calls * 8 % 440 * kPageSize, RandomBytes(8 * kPageSize, calls));
    volume.Commit();
    return true;
  }));
  const auto frame = [](uint64_t number) { return "frame " + std::to_string(number) + ": "; };
  EXPECT_NE(found.find(frame(unused[5]) + "the count is 1, and 0 references exist"),
            std::string::npos)
      << found;
  EXPECT_NE(found.find(frame(used[100]) + "the count is 2, and 1 references exist"),
            std::string::npos)
      << found;
  EXPECT_NE(found.find(frame(used[200]) + "checksum does not match"), std::string::npos) << found;
  EXPECT_EQ(std::ranges::count(found, '\n'), 4) << found;  // and how many are in use
}

// A disk on which one thread's reads of what is behind the first header wait.
class HeldFile : public MemoryFile {
 public:
  struct Hold {
    std::atomic<std::thread::id> thread;
    absl::Notification begun;
    absl::Notification released;
  };
  HeldFile(std::shared_ptr<Disk> disk, Hold& hold) : MemoryFile(std::move(disk)), hold_(hold) {}

  absl::Status Read(uint64_t offset, std::span<std::byte> buffer) const override {
    if (hold_.thread.load() == std::this_thread::get_id() &&
        offset >= format::kZoneHeader * kPageSize) {
      if (!hold_.begun.HasBeenNotified()) hold_.begun.Notify();
      hold_.released.WaitForNotification();
    }
    return MemoryFile::Read(offset, buffer);
  }

 private:
  Hold& hold_;
};

// "PART OBJECT[/MEMBER][ page PAGE]" of each damage whose text begins with `what`, sorted.
std::vector<std::string> PlacesOf(const store::CheckResult& result, const std::string& what) {
  std::vector<std::string> places;
  for (const store::Damage& damage : result.damages) {
    if (!damage.what.starts_with(what)) continue;
    const store::Place& place = damage.place;
    std::string text = place.part == store::Place::Part::kTrees ? "tree " : "version ";
    if (place.object.has_value()) text += std::to_string(place.object->value());
    if (place.member.has_value()) text += "/" + std::to_string(place.member->value());
    if (place.page.has_value()) text += " page " + std::to_string(place.page->value());
    places.push_back(std::move(text));
  }
  std::ranges::sort(places);
  return places;
}

TEST(CheckTest, NamesEveryVersionThatHasWhatIsDamaged) {
  constexpr uint64_t kPages = 300;
  Volume volume;
  ObjectPointer tree = volume.CreateTree();
  TablePointer table = volume.OpenTree(tree);
  ObjectPointer file = volume.CreateFile(RandomBytes(kPages * kPageSize, 1), table.get());
  ObjectPointer sound = volume.CreateFile(RandomBytes(kPages * kPageSize, 2), table.get());
  volume.Commit();
  const uint64_t number = file->number().value();
  ObjectPointer snapshot = volume.Snapshot(file);
  ObjectPointer whole = volume.Snapshot(tree);
  const FrameNumber page = file->Extents(PageNumber(7), PageNumber(8), false).value()[0].frame;
  // The head and a clone share it, and have changed around it.
  ObjectPointer clone = volume.Clone(snapshot, table.get());
  volume.Write(clone, 9 * kPageSize, RandomBytes(kPageSize, 3));
  volume.Write(file, 8 * kPageSize, RandomBytes(kPageSize, 4));
  const uint64_t cloned = clone->number().value();
  const uint64_t version = snapshot->number().value();
  const uint64_t trees = whole->number().value();
  const uint64_t root = tree->number().value();
  volume.Settle();
  {
    absl::MutexLock lock(&volume.disk()->mu);
    volume.disk()->image.Write(OffsetOf(page), RandomBytes(8, 5));
  }
  const store::CheckResult result = volume->Check().value();
  const auto number_of = [](uint64_t a, uint64_t b) {
    return std::to_string(a) + "/" + std::to_string(b);
  };
  std::vector<std::string> expected = {"tree " + number_of(root, number) + " page 7",
                                       "tree " + number_of(root, cloned) + " page 7",
                                       "version " + std::to_string(version) + " page 7",
                                       "version " + number_of(trees, number) + " page 7"};
  std::ranges::sort(expected);
  EXPECT_EQ(PlacesOf(result, "frame " + std::to_string(page.value())), expected)
      << TextOf(volume->Check());
  EXPECT_EQ(result.damages.size(), expected.size());
}

TEST(CheckTest, NobodyWaitsForAThreadThatChecks) {
  HeldFile::Hold hold;
  const auto disk = std::make_shared<Disk>();
  auto store = *Store::Create(std::make_unique<HeldFile>(disk, hold), {}, kQuiet);
  ObjectPointer file;
  {
    auto transaction = store->Begin(store::FramesToWrite(100 * kPageSize));
    file = *store->catalog().Create(*transaction);
    ASSERT_TRUE(file->Write(*transaction, 0, RandomBytes(100 * kPageSize, 1)).ok());
  }
  std::thread checking([&] {
    hold.thread = std::this_thread::get_id();
    EXPECT_EQ(TextOf(store->Check()), "");
  });
  hold.begun.WaitForNotification();
  const Bytes content = RandomBytes(100 * kPageSize, 2);
  {
    auto transaction = store->Begin(store::FramesToWrite(content.size()));
    ASSERT_TRUE(transaction.ok());
    ASSERT_TRUE(file->Write(*transaction, 0, content).ok());
  }
  EXPECT_EQ(store->Commit(), absl::OkStatus());
  {
    auto frozen = store->BeginFrozen(store::kFramesToChange);
    ASSERT_TRUE(frozen.ok());
    EXPECT_TRUE(store->Share(*frozen, *file, store->catalog(), /*version=*/true).ok());
  }
  EXPECT_EQ(store->Settle(), absl::OkStatus());
  EXPECT_EQ(ContentOf(*file), content);
  hold.released.Notify();
  checking.join();
}

TEST(CheckTest, HoldsWhatCouldBeReachedAndNothingElse) {
  Volume volume({}, {.commit_seconds = 0, .fold_per_commit = 1});
  constexpr uint64_t kPages = 200;
  ObjectPointer file = volume.CreateFile(RandomBytes(kPages * kPageSize, 1));
  ObjectPointer removed = volume.CreateFile(RandomBytes(300 * kPageSize, 1));
  volume.Settle();
  volume.Remove(removed);
  removed.reset();
  // Closed by the first, dropped by the second.
  for (int i = 0; i < 2; ++i) volume.Commit();
  auto pinned = volume->PinForCheck();
  ASSERT_TRUE(pinned.ok());
  uint64_t held = 0;
  for (int round = 0; round < 5; ++round) {
    volume.Write(file, 0, RandomBytes(kPages * kPageSize, 2 + round));
    volume.Settle();
    held = volume->space().deferred_frames;
    EXPECT_GE(held, kPages);
    // Others may stand behind those that are held, until they are as many.
    EXPECT_LT(held, 2 * kPages + 10);
  }
  EXPECT_EQ(TextOf((*pinned)->Check()), "");
  pinned->reset();
  volume.Settle();
  EXPECT_EQ(volume->space().deferred_frames, 0u);
  volume.ExpectClean();
}

TEST(CheckTest, ItsTablesShowWhatWasThere) {
  Volume volume;
  const Bytes content = RandomBytes(50 * kPageSize, 1);
  ObjectPointer file = volume.CreateFile(content);
  const uint64_t number = file->number().value();
  auto pinned = volume->PinForCheck();
  ASSERT_TRUE(pinned.ok());
  volume.Write(file, 0, RandomBytes(content.size(), 2));
  volume.Remove(file);
  volume.CreateFile(content);
  file.reset();
  volume.Settle();
  auto then = (*pinned)->catalog().Open(ObjectNumber(number));
  ASSERT_TRUE(then.ok()) << then.status();
  EXPECT_TRUE((*then)->read_only());
  EXPECT_EQ(ContentOf(**then), content);
  EXPECT_EQ(*(*pinned)->catalog().NextObject(ObjectNumber(number + 1)), std::nullopt);
}

TEST(CheckTest, EndsWhenItIsToldTo) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(300 * kPageSize, 1));
  uint64_t calls = 0;
  const auto ended = volume->Check([&](uint64_t, uint64_t) { return ++calls < 3; });
  EXPECT_EQ(ErrnoOf(ended.status()), ECANCELED);
  EXPECT_EQ(calls, 3u);
  volume.ExpectClean();
  volume.Write(file, 0, RandomBytes(300 * kPageSize, 2));
  volume.Settle();
  EXPECT_EQ(volume->space().deferred_frames, 0u);
}

TEST(CheckTest, ChecksAndRepairsThatAreBegunConcurrentlyTakeTurns) {
  Volume volume;
  volume.CreateFile(RandomBytes(300 * kPageSize, 1));
  std::vector<std::thread> threads;
  for (int me = 0; me < 3; ++me) {
    threads.emplace_back([&, me] {
      for (int i = 0; i < 5; ++i) {
        if (me == 0) {
          EXPECT_TRUE(volume->Repair().ok());
        } else {
          EXPECT_EQ(TextOf(volume->Check()), "");
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace cow::test
