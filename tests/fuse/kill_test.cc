// kill -9 under load: what was synced is there, what was snapshotted is whole.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/fuse/mount.h"
#include "tests/support/seed.h"

namespace cow::test {
namespace {

constexpr int kRounds = 20;
constexpr int kWriters = 3;
constexpr int kSlots = 64;
constexpr size_t kSlotSize = 8192;

// A slot holds its number and the same derived byte all over: so a torn or stale one shows.
std::string Slot(uint64_t sequence) {
  std::string slot(kSlotSize, static_cast<char>('a' + sequence % 26));
  std::memcpy(slot.data(), &sequence, sizeof(sequence));
  return slot;
}

// Sequence number i goes to slot i % kSlots, one after the other. What is missing of a content that
// must hold all up to `at_least`, and what is in it that was never written so; "" for nothing.
std::string Verify(const std::string& name, const std::string& content, uint64_t at_least) {
  std::string wrong;
  for (uint64_t i = at_least >= kSlots ? at_least - kSlots + 1 : 1; i <= at_least; ++i) {
    const uint64_t slot = i % kSlots;
    if (content.size() < (slot + 1) * kSlotSize) {
      return absl::StrCat(name, ": ends at ", content.size(), ", before slot ", slot, "\n");
    }
    const std::string bytes = content.substr(slot * kSlotSize, kSlotSize);
    uint64_t found = 0;
    std::memcpy(&found, bytes.data(), sizeof(found));
    if (found < i || found % kSlots != slot || bytes != Slot(found)) {
      absl::StrAppend(&wrong, name, ": slot ", slot, " has ", found, ", wanted ", i, "\n");
    }
  }
  return wrong;
}

struct Taken {
  std::string path;
  uint64_t at_least;
};

TEST(KillTest, NothingSyncedAndNoSnapshotIsLost) {
  REQUIRE_FUSE();
  std::mt19937_64 random(Seed(20240611));
  Mount mount;
  ASSERT_TRUE(mount.Start());
  std::array<std::atomic<uint64_t>, kWriters> next;
  std::array<std::atomic<uint64_t>, kWriters> synced;
  for (int w = 0; w < kWriters; ++w) {
    next[w] = 1;
    synced[w] = 0;
  }
  std::vector<Taken> snapshots;
  for (int round = 0; round < kRounds; ++round) {
    std::atomic<bool> dead = false;
    std::vector<std::thread> threads;
    for (int w = 0; w < kWriters; ++w) {
      threads.emplace_back([&, w] {
        const Descriptor file(mount / absl::StrCat("f", w), O_RDWR | O_CREAT);
        while (file >= 0 && !dead) {
          const uint64_t i = next[w];
          const std::string slot = Slot(i);
          if (pwrite(file, slot.data(), slot.size(), static_cast<off_t>(i % kSlots * kSlotSize)) !=
              static_cast<ssize_t>(slot.size())) {
            return;
          }
          next[w] = i + 1;
          if (i % 3 == 0) {
            if (fsync(file) != 0) return;
            synced[w] = i;
          }
        }
      });
    }
    std::vector<Taken> taken;
    threads.emplace_back([&] {
      for (int n = 0; !dead; ++n) {
        const int w = n % (kWriters + 1);
        const std::string name = absl::StrCat("r", round, "-", n);
        if (w == kWriters) {
          const uint64_t floor = next[0] - 1;
          if (!mount.TakeSnapshot("", name).ok()) return;
          taken.push_back({absl::StrCat(".snapshots/", name, "/f0"), floor});
        } else {
          const uint64_t floor = next[w] - 1;
          if (floor == 0) continue;
          if (!mount.TakeSnapshot(absl::StrCat("f", w), name).ok()) return;
          taken.push_back({absl::StrCat("f", w, "@", name), floor});
        }
      }
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(100 + random() % 400));
    EXPECT_EQ(mount.End(SIGKILL), 128 + SIGKILL);
    dead = true;
    for (std::thread& thread : threads) thread.join();
    mount.Clear();
    ASSERT_TRUE(mount.Start()) << "round " << round;
    std::string wrong;
    for (int w = 0; w < kWriters; ++w) {
      const std::string name = absl::StrCat("f", w);
      if (synced[w] > 0) absl::StrAppend(&wrong, Verify(name, Get(mount / name), synced[w]));
      // What was not synced may be there or not: it is written again.
      next[w] = synced[w] + 1;
    }
    // All of this round's, and a sample of the older ones.
    for (size_t i = 0; i < snapshots.size(); i += 1 + random() % 20) {
      absl::StrAppend(
          &wrong, Verify(snapshots[i].path, Get(mount / snapshots[i].path), snapshots[i].at_least));
    }
    for (const Taken& snapshot : taken) {
      absl::StrAppend(&wrong, Verify(snapshot.path, Get(mount / snapshot.path), snapshot.at_least));
    }
    snapshots.insert(snapshots.end(), taken.begin(), taken.end());
    ASSERT_EQ(wrong, "") << "round " << round;
    ASSERT_EQ(mount.Check(), "") << "round " << round;
  }
  RecordProperty("snapshots", static_cast<int>(snapshots.size()));
  printf("%d rounds, %zu snapshots, %llu writes\n", kRounds, snapshots.size(),
         static_cast<unsigned long long>(next[0] + next[1] + next[2]));
}

}  // namespace
}  // namespace cow::test
