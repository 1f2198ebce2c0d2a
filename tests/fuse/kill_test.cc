// kill -9 under load: what was synced is there, what was snapshotted is whole. Other processes read
// snapshots all the while by the library, beside the writer and past its death; they are killed
// too. COW_KILL_ROUNDS=N makes it longer; tools/soak.sh --kills does that.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cow/volume.h"
#include "gmock/gmock.h"
#include "tests/fuse/mount.h"
#include "tests/support/seed.h"

namespace cow::test {
namespace {

constexpr int kRounds = 20;  // where COW_KILL_ROUNDS does not say
constexpr int kReaders = 2;
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

// What a reader finds wrong in one snapshot of the volume, "" for nothing. The name of a snapshot
// ends with what it must hold at least.
std::string ReadOne(const std::string& path, std::mt19937_64& random,
                    std::atomic<uint64_t>& reads) {
  const absl::StatusOr<Volume> volume = Volume::Open(path, {.read_only = true});
  // Commits came too fast to pin one; or there is no volume yet.
  if (absl::IsUnavailable(volume.status()) || absl::IsNotFound(volume.status())) return "";
  if (!volume.ok()) return volume.status().ToString();
  const std::string file = absl::StrCat("/f", random() % kWriters);
  if (!volume->Stat(file).ok()) return "";
  const auto entries = volume->ListSnapshots(file);
  if (!entries.ok()) return entries.status().ToString();
  if (entries->empty()) return "";
  const std::string& name = (*entries)[random() % entries->size()].snapshot;
  const absl::StatusOr<Snapshot> snapshot = volume->OpenSnapshot(file, name);
  if (!snapshot.ok()) return snapshot.status().ToString();
  const absl::StatusOr<Mapping> map = snapshot->Map(Access::kRead);
  if (!map.ok()) return map.status().ToString();
  uint64_t at_least = 0;
  const std::vector<std::string> parts = absl::StrSplit(name, '-');
  if (!absl::SimpleAtoi(parts.back(), &at_least)) return "a snapshot named " + name;
  const std::string first(reinterpret_cast<const char*>(map->bytes().data()), map->size());
  std::string wrong = Verify(absl::StrCat(file, "@", name), first, at_least);
  // The writer goes on, dies, and is started again meanwhile.
  for (uint64_t i = random() % 40; i > 0 && wrong.empty(); --i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::string again(first.size(), 0);
    const auto got = snapshot->Read(0, std::as_writable_bytes(std::span(again)));
    if (!got.ok()) return got.status().ToString();
    if (again != first) return absl::StrCat(file, "@", name, ": reads differ\n");
    if (std::memcmp(map->bytes().data(), first.data(), first.size()) != 0) {
      return absl::StrCat(file, "@", name, ": its map changed\n");
    }
  }
  ++reads;
  return wrong;
}

// A process that reads snapshots until it is killed, or ends with status 1 where one is wrong.
class Reader {
 public:
  Reader() = default;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { Kill(); }

  // Only while the test has one thread, so that the child has all of its memory whole.
  void Start(const std::string& volume, uint64_t seed, std::atomic<uint64_t>& reads) {
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(0);
    std::mt19937_64 random(seed);
    std::string wrong;
    while (wrong.empty()) wrong = ReadOne(volume, random, reads);
    fprintf(stderr, "reader: %s\n", wrong.c_str());
    _exit(1);
  }
  bool running() const { return pid_ > 0; }
  // False where it had ended by itself: it found something wrong.
  bool Kill() {
    if (pid_ <= 0) return true;
    kill(pid_, SIGKILL);
    int status = 0;
    const bool waited = waitpid(std::exchange(pid_, -1), &status, 0) > 0;
    return waited && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  }

 private:
  pid_t pid_ = -1;
};

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
  // Counted by the readers, so in memory that they share.
  void* const shared =
      mmap(nullptr, kSlotSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(shared, MAP_FAILED);
  auto* const reads = new (shared) std::atomic<uint64_t>(0);
  std::array<Reader, kReaders> readers;
  const char* wanted = std::getenv("COW_KILL_ROUNDS");
  const int rounds = wanted == nullptr ? kRounds : std::atoi(wanted);
  for (int round = 0; round < rounds; ++round) {
    for (Reader& reader : readers) {
      if (!reader.running()) reader.Start(mount.volume(), random(), *reads);
    }
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
        const uint64_t floor = next[w % kWriters] - 1;
        const std::string name = absl::StrCat("r", round, "-", n, "-", floor);
        if (w == kWriters) {
          if (!mount.TakeSnapshot("", name).ok()) return;
          taken.push_back({absl::StrCat(".snapshots/", name, "/f0"), floor});
        } else {
          if (floor == 0) continue;
          if (!mount.TakeSnapshot(absl::StrCat("f", w), name).ok()) return;
          taken.push_back({absl::StrCat("f", w, "@", name), floor});
        }
      }
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(100 + random() % 400));
    // A reader dies before the writer, after it, or lives on.
    Reader& victim = readers[random() % kReaders];
    const uint64_t when = random() % 3;
    if (when == 0) {
      EXPECT_TRUE(victim.Kill());
    }
    EXPECT_EQ(mount.End(SIGKILL), 128 + SIGKILL);
    dead = true;
    if (when == 1) {
      EXPECT_TRUE(victim.Kill());
    }
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
  for (Reader& reader : readers) EXPECT_TRUE(reader.Kill());
  EXPECT_GT(reads->load(), 0u);
  RecordProperty("snapshots", static_cast<int>(snapshots.size()));
  printf("%d rounds, %zu snapshots, %llu writes, %llu snapshots read by other processes\n", rounds,
         snapshots.size(), static_cast<unsigned long long>(next[0] + next[1] + next[2]),
         static_cast<unsigned long long>(reads->load()));
  munmap(shared, kSlotSize);
}

}  // namespace
}  // namespace cow::test
