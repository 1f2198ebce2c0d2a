// Seals beside threads that write, beside a kernel that moves pages, and without privilege.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "cow/os/descriptor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/seed.h"
#include "tests/vm/seal_fixture.h"

namespace cow::vm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class SealRaceTest : public SealTest {};

INSTANTIATE_TEST_SUITE_P(Modes, SealRaceTest, SealModes(), SealModeName);

// Each page begins with a counter that only its own writer advances.
class Writers {
 public:
  Writers(std::span<std::byte> bytes, uint64_t pages, uint64_t seed) : bytes_(bytes) {
    for (uint64_t t = 0; t < kThreads; ++t) {
      threads_.emplace_back([this, t, pages, seed] {
        std::mt19937_64 random(seed + t);
        while (!stop_.load(std::memory_order_relaxed)) {
          const uint64_t page = random() % (pages / kThreads) * kThreads + t;
          Counter(page).fetch_add(1, std::memory_order_release);
          steps_.fetch_add(1, std::memory_order_relaxed);
        }
      });
    }
  }
  ~Writers() { Stop(); }

  void Stop() {
    stop_.store(true);
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  // Returns when the threads have written `count` times more.
  void AwaitWrites(uint64_t count) const {
    const uint64_t until = steps_.load() + count;
    while (steps_.load() < until) std::this_thread::yield();
  }
  std::atomic_ref<uint64_t> Counter(uint64_t page) const {
    return std::atomic_ref<uint64_t>(
        *reinterpret_cast<uint64_t*>(bytes_.data() + page * kPageSize));
  }

 private:
  static constexpr uint64_t kThreads = 2;
  const std::span<std::byte> bytes_;
  std::atomic<bool> stop_ = false;
  std::atomic<uint64_t> steps_ = 0;
  std::vector<std::thread> threads_;
};

uint64_t CounterIn(FakeVolume& volume, const PageTable& version, uint64_t page) {
  uint64_t counter = 0;
  std::memcpy(&counter, volume.Read(version, PageNumber(page)).data(), sizeof(counter));
  return counter;
}

TEST_P(SealRaceTest, BesideWritersLosesNoWriteAndLetsNoneIntoAnOlderVersion) {
  constexpr uint64_t kWritten = 1998;  // data and holes
  std::vector<std::byte> zeros(sizeof(uint64_t));
  for (uint64_t page = 0; page < kWritten; ++page) {
    std::memcpy(Page(page).data(), zeros.data(), zeros.size());
  }
  Seal();
  Writers writers(mapping_->bytes(), kWritten, test::Seed(7));
  for (int round = 0; round < 15; ++round) {
    writers.AwaitWrites(300);
    std::vector<uint64_t> before(kWritten);
    std::vector<uint64_t> after(kWritten);
    for (uint64_t page = 0; page < kWritten; ++page) {
      before[page] = writers.Counter(page).load(std::memory_order_acquire);
    }
    Seal();
    for (uint64_t page = 0; page < kWritten; ++page) {
      after[page] = writers.Counter(page).load(std::memory_order_acquire);
    }
    const PageTable version = sink_->head;
    for (uint64_t page = 0; page < kWritten; ++page) {
      const uint64_t sealed = CounterIn(*volume_, version, page);
      ASSERT_GE(sealed, before[page]) << "lost a write to page " << page;
      ASSERT_LE(sealed, after[page]) << "page " << page << " has a write of later";
    }
  }
  writers.Stop();
  Seal();
  ExpectEquals(sink_->head);
  EXPECT_THAT(Seal(), IsEmpty());
}

TEST_P(SealRaceTest, SealsOfManyThreadsExcludeOneAnother) {
  Writers writers(mapping_->bytes(), 600, test::Seed(8));
  std::vector<std::thread> sealers;
  for (int t = 0; t < 2; ++t) {
    sealers.emplace_back([this, &writers] {
      for (int round = 0; round < 20; ++round) {
        writers.AwaitWrites(20);
        ASSERT_TRUE(mapping_->Seal(*sink_).ok());
      }
    });
  }
  for (std::thread& sealer : sealers) sealer.join();
  writers.Stop();
  Seal();
  ExpectEquals(sink_->head);
}

TEST_P(SealRaceTest, PagesUnderMigrationAreNotMissed) {
  const os::Descriptor compact(open("/proc/sys/vm/compact_memory", O_WRONLY | O_CLOEXEC));
  if (!compact.valid()) GTEST_SKIP() << "compaction cannot be forced here";
  std::atomic<bool> stop = false;
  std::thread compactor([&] {
    while (!stop.load()) {
      if (write(compact.get(), "1", 1) != 1) break;
    }
  });
  for (int round = 0; round < 100; ++round) {
    std::vector<uint64_t> expected;
    for (uint64_t page = static_cast<uint64_t>(round) % 7; page < kPages; page += 7) {
      Write(page);
      expected.push_back(page);
    }
    EXPECT_EQ(Seal(), expected) << "round " << round;
  }
  stop.store(true);
  compactor.join();
  ExpectEquals(sink_->head);
}

TEST_P(SealRaceTest, NeedsNoPrivilege) {
  // In a child, so that the test keeps what it has. A mapping does not survive a fork: it makes its
  // own.
  if (geteuid() != 0) GTEST_SKIP() << "runs without privilege anyway";
  const pid_t child = fork();
  if (child == 0) {
    constexpr uid_t kNobody = 65534;
    const bool dropped = setresgid(kNobody, kNobody, kNobody) == 0 &&
                         setresuid(kNobody, kNobody, kNobody) == 0 &&
                         prctl(PR_SET_DUMPABLE, 1) == 0;  // /proc/self is its own again
    auto mine =
        Mapping::Create(Access::kWrite, kSize, std::make_shared<FakeSource>(*volume_, sink_->head),
                        {.tracking = tracking(), .map_limit = {}});
    if (!dropped || !mine.ok()) _exit(1);
    mapping_.release();
    mapping_ = std::move(mine).value();
    Write(3);
    if (pread(volume_->file().descriptor(), Page(1000).data(), 10, kPageSize) != 10) _exit(2);
    const bool right = Seal() == std::vector<uint64_t>{3, 1000};
    _exit(right && Seal().empty() ? 0 : 3);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace cow::vm
