// What a mapping that is bound where it is touched does when something it needs is not to be had.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/config.h"
#include "absl/cleanup/cleanup.h"
#include "absl/synchronization/notification.h"
#include "cow/os/features.h"
#include "cow/os/pagemap.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/vm/fault_fixture.h"

namespace cow::vm {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

// Asks before it tells its descriptor.
class AskingSource : public WatchedSource {
 public:
  using WatchedSource::WatchedSource;
  int descriptor() const override { return may_tell() ? WatchedSource::descriptor() : -1; }
  std::function<bool()> may_tell = [] { return true; };
};

class FaultFailureTest : public FaultTest {
 protected:
  void SetUp() override {
    FaultTest::SetUp();
    if (IsSkipped()) return;
    asking_ = std::make_shared<AskingSource>(*volume_, head_);
    source_ = asking_;
  }
  // Of a mapping for writing: the pages that a seal takes.
  std::vector<uint64_t> Seal() {
    FakeSink sink(*volume_);
    sink.head = head_;
    const absl::Status sealed = mapping_->Seal(sink);
    EXPECT_TRUE(sealed.ok()) << sealed;
    return sink.TakePublished();
  }

  std::shared_ptr<AskingSource> asking_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, FaultFailureTest,
                         ::testing::Values(Access::kRead, Access::kScratch, Access::kWrite),
                         [](const auto& info) {
                           return info.param == Access::kRead      ? "Read"
                                  : info.param == Access::kScratch ? "Scratch"
                                                                   : "Write";
                         });

TEST_P(FaultFailureTest, WithoutMapsAHoleIsFilledWhereItIsTouched) {
  head_.clear();
  source_ = std::make_shared<WatchedSource>(*volume_, head_);
  Map({.tracking = {}, .map_limit = 1});
  EXPECT_EQ(*Page(kChunk + 1), std::byte{0});
  const os::Pagemap pagemap = os::Pagemap::Open().value();
  os::MemoryRuns found;
  ASSERT_TRUE(
      pagemap.FindPrivate({Page(4 * kChunk), (kPages - 4 * kChunk) * kPageSize}, found).ok());
  EXPECT_TRUE(found.empty()) << "memory for what nobody touched";
  EXPECT_EQ(*Page(kPages - 1), std::byte{0});
  EXPECT_TRUE(mapping_->status().ok()) << mapping_->status();
}

TEST_P(FaultFailureTest, WhatWasCopiedBeforeAnErrorIsAsGoodAsAny) {
  int asked = 0;
  // For a look at the extents, the first 16 pages, and no more.
  asking_->may_tell = [&] { return ++asked != 3; };
  const absl::Cleanup unmap = [this] { mapping_.reset(); };
  Map({.tracking = {}, .map_limit = 1});
  ExpectPage(kChunk + 5);
  EXPECT_NE(SignalOfLoad(Page(kChunk + 16)), 0);
  EXPECT_THAT(std::string(mapping_->status().message()),
              HasSubstr("page " + std::to_string(kChunk + 16) + " of the mapping"));
  EXPECT_EQ(mapping_->copied_pages(), 16u);
  if (GetParam() != Access::kWrite) return;
  *Page(kChunk + 5) = std::byte{1};
  EXPECT_THAT(Seal(), Contains(kChunk + 5));
}

// Each is missed alone, once it was dropped: the rest of the chunk is bound.
TEST_P(FaultFailureTest, ThreadsThatWaitForPagesOfOneChunkAllGoOn) {
  if (GetParam() != Access::kScratch) GTEST_SKIP() << "only they are reset";
  source_->unreadable = {PageNumber(7), PageNumber(100)};
  std::atomic<bool> watch = false;
  absl::Notification asked;
  absl::Notification answer;
  source_->before = [&](PageNumber page) {
    if (page != PageNumber(7) || !watch.exchange(false)) return;
    asked.Notify();
    answer.WaitForNotification();
  };
  const absl::Cleanup unmap = [this] { mapping_.reset(); };
  Map();
  ExpectPage(0);
  ASSERT_TRUE(mapping_->Reset().ok());
  watch = true;
  const auto touch = [&](uint64_t page) {
    int pipes[2];
    ASSERT_EQ(pipe2(pipes, O_CLOEXEC), 0);
    EXPECT_EQ(write(pipes[1], Page(page), 1), -1);
    close(pipes[0]);
    close(pipes[1]);
  };
  std::thread first(touch, 7);
  asked.WaitForNotification();
  std::thread second(touch, 100);
  // So that the second one waits too. If it does not yet, this proves less.
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  answer.Notify();
  first.join();
  second.join();
  ExpectPage(99);
}

TEST_P(FaultFailureTest, AChildMayDestroyWhatIsBoundMeanwhile) {
#ifdef ABSL_HAVE_THREAD_SANITIZER
  GTEST_SKIP() << "the sanitizer sees a lock that a thread of the parent holds";
#endif
  absl::Notification asked;
  absl::Notification answer;
  std::atomic<int> times = 0;
  asking_->may_tell = [&] {
    // The second time with the lock of the mapping held.
    if (++times == 2) {
      asked.Notify();
      answer.WaitForNotification();
    }
    return true;
  };
  const absl::Cleanup unmap = [this] { mapping_.reset(); };
  Map();
  std::thread toucher([&] { ExpectPage(5); });
  asked.WaitForNotification();
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    mapping_.reset();
    _exit(0);
  }
  answer.Notify();
  toucher.join();
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
}

TEST_P(FaultFailureTest, WhatIsLockedStaysThatWhenItIsBound) {
#ifdef ABSL_HAVE_THREAD_SANITIZER
  GTEST_SKIP() << "the sanitizer locks nothing";
#endif
  Map();
  const auto locked = [&] {
    std::ifstream maps("/proc/self/smaps");
    uint64_t kilobytes = 0;
    bool inside = false;
    const auto begin = reinterpret_cast<uint64_t>(Page(0));
    for (std::string line; std::getline(maps, line);) {
      if (const size_t dash = line.find('-'); dash != std::string::npos && dash <= 16) {
        const uint64_t start = std::stoull(line, nullptr, 16);
        inside = start >= begin && start < begin + kPages * kPageSize;
      } else if (inside && line.starts_with("Locked:")) {
        kilobytes += std::stoull(line.substr(7));
      }
    }
    return kilobytes * 1024;
  };
  if (mlock(Page(0), 2 * kChunk * kPageSize) != 0) GTEST_SKIP() << "may not lock memory";
  if (locked() == 0) GTEST_SKIP() << "locking does nothing here: a sanitizer sees to that";
  EXPECT_EQ(locked(), 2 * kChunk * kPageSize);
  ExpectPage(3);
  ExpectPage(kChunk + 3);
  ExpectPage(3 * kChunk);
  EXPECT_EQ(locked(), 2 * kChunk * kPageSize);
}

}  // namespace
}  // namespace cow::vm
