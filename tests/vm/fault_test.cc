// What happens when a page of a mapping is touched for the first time.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/config.h"
#include "absl/synchronization/notification.h"
#include "cow/base/status.h"
#include "cow/os/address_range.h"
#include "cow/os/features.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/vm/fake_volume.h"
#include "tests/vm/fault_fixture.h"

namespace cow::vm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

INSTANTIATE_TEST_SUITE_P(Kinds, FaultTest,
                         ::testing::Values(Access::kRead, Access::kScratch, Access::kWrite),
                         [](const auto& info) {
                           return info.param == Access::kRead      ? "Read"
                                  : info.param == Access::kScratch ? "Scratch"
                                                                   : "Write";
                         });

TEST_P(FaultTest, NothingIsAskedForBeforeItIsTouched) {
  Map();
  EXPECT_THAT(source_->asked(), IsEmpty());
  ExpectPage(3 * kChunk + 7);
  EXPECT_THAT(source_->asked(), ElementsAre(3 * kChunk));
  EXPECT_LE(CountMaps(mapping_->bytes()), 3u);
}

TEST_P(FaultTest, TheChunkAfterTheFirstIsBoundAhead) {
  Map();
  ExpectPage(0);
  mapping_.reset();  // waits for what is under way
  EXPECT_THAT(source_->asked(), ElementsAre(0, kChunk));
}

TEST_P(FaultTest, SystemCallsTouchPagesToo) {
  Map();
  const int descriptor = open((directory_ / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_GE(descriptor, 0);
  EXPECT_EQ(write(descriptor, Page(kChunk - 1), 2 * kPageSize), ssize_t{2 * kPageSize});
  if (GetParam() != Access::kRead) {
    EXPECT_EQ(pread(descriptor, Page(5 * kChunk), kPageSize, 0), ssize_t{kPageSize});
    EXPECT_EQ(std::memcmp(Page(5 * kChunk), Page(kChunk - 1), kPageSize), 0);
  }
  close(descriptor);
  ExpectPage(kChunk - 1);
  ExpectPage(kChunk);
}

TEST_P(FaultTest, APageThatCannotBeReadIsASignalThereAndNowhereElse) {
  for (const bool poison : {true, false}) {
    os::Features features = os::UsableFeatures();
    if (poison && !features.uffd_poison) continue;
    features.uffd_poison = poison;
    const os::ScopedFeatures scope(features);
    source_->unreadable = {PageNumber(0), PageNumber(kChunk + 100), PageNumber(kPages - 1)};
    Map();
    EXPECT_TRUE(mapping_->status().ok());
    int pipes[2];
    ASSERT_EQ(pipe2(pipes, O_CLOEXEC), 0);
    for (int round = 0; round < 2; ++round) {
      EXPECT_EQ(SignalOfLoad(Page(kChunk + 100)), poison ? SIGBUS : SIGSEGV);
      EXPECT_EQ(write(pipes[1], Page(kChunk + 100), 1), -1);
      EXPECT_EQ(errno, EFAULT);
      for (uint64_t page = 0; page < kPages; ++page) {
        if (source_->unreadable.contains(PageNumber(page))) continue;
        ExpectPage(page);
      }
    }
    close(pipes[0]);
    close(pipes[1]);
    EXPECT_EQ(ErrnoOf(mapping_->status()), EIO);
    EXPECT_THAT(std::string(mapping_->status().message()),
                HasSubstr("page 612 of the mapping: frame of page 612 does not match"));
  }
}

TEST_P(FaultTest, FramesOutsideTheVolumeAreASignalToo) {
  head_[PageNumber(5)] = FrameNumber(1 << 20);
  source_ = std::make_shared<WatchedSource>(*volume_, head_);
  Map();
  EXPECT_EQ(SignalOfLoad(Page(5)), os::UsableFeatures().uffd_poison ? SIGBUS : SIGSEGV);
  ExpectPage(4);
  ExpectPage(6);
  EXPECT_THAT(std::string(mapping_->status().message()), HasSubstr("page 5: frame 1048576"));
}

TEST_P(FaultTest, ManyThreadsTouchTheSameChunksAtOnce) {
  for (int round = 0; round < 20; ++round) {
    Map({.tracking = {}, .map_limit = round % 2 == 0 ? std::optional<uint64_t>() : 1});
    std::vector<std::thread> threads;
    for (uint64_t i = 0; i < 8; ++i) {
      threads.emplace_back([&, i] {
        for (uint64_t chunk = 0; chunk < 8; ++chunk) ExpectPage((chunk + i / 4) % 8 * kChunk + i);
      });
    }
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(mapping_->copied_pages(), round % 2 == 0 ? 0u : kPages);
  }
}

TEST_P(FaultTest, ASignalIsTakenWhileAThreadWaits) {
#ifdef ABSL_HAVE_THREAD_SANITIZER
  GTEST_SKIP() << "the sanitizer puts signals off until the thread calls something";
#endif
  absl::Notification asked;
  absl::Notification answer;
  source_->before = [&](PageNumber) {
    if (!asked.HasBeenNotified()) asked.Notify();
    answer.WaitForNotification();
  };
  Map();
  static std::atomic<int> taken;
  taken = 0;
  struct sigaction action = {};
  struct sigaction before;
  action.sa_handler = [](int) { ++taken; };
  sigaction(SIGUSR1, &action, &before);
  std::thread thread([&] { ExpectPage(9); });
  asked.WaitForNotification();
  pthread_kill(thread.native_handle(), SIGUSR1);
  while (taken == 0) std::this_thread::yield();
  answer.Notify();
  thread.join();
  sigaction(SIGUSR1, &before, nullptr);
  EXPECT_EQ(taken, 1);
  mapping_.reset();  // waits for what is bound ahead, which asks too
}

// Takes maps of this process until there are no more.
class AllMaps {
 public:
  AllMaps() {
    const uint64_t pages = 2 * os::MaxMapCount();
    range_ = os::AddressRange::Reserve(pages * kPageSize, kPageSize, os::Protection::kRead).value();
    for (uint64_t page = 0; page < pages; page += 2) {
      if (mprotect(range_.data() + page * kPageSize, kPageSize, PROT_NONE) != 0) break;
    }
    // That needs two of them at a time; the last one goes by itself.
    last_ = mmap(nullptr, kPageSize, PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  }
  ~AllMaps() {
    if (last_ != MAP_FAILED) munmap(last_, kPageSize);
  }

 private:
  os::AddressRange range_;
  void* last_;
};

TEST_P(FaultTest, WithoutMapsLeftPagesAreCopied) {
#ifdef ABSL_HAVE_THREAD_SANITIZER
  GTEST_SKIP() << "the sanitizer needs maps, or ends the process";
#endif
  for (uint64_t page = 2 * kChunk; page < kPages; ++page) head_.erase(PageNumber(page));
  source_ = std::make_shared<WatchedSource>(*volume_, head_);
  Map();
  {
    const AllMaps all_maps;
    ExpectPage(kChunk + 5);
    EXPECT_EQ(*Page(5 * kChunk + 1), std::byte{0});
    EXPECT_TRUE(mapping_->status().ok()) << mapping_->status();
    EXPECT_EQ(mapping_->copied_pages(), kChunk);
  }
  ExpectPage(5);
  EXPECT_EQ(mapping_->copied_pages(), kChunk);
}

TEST_P(FaultTest, DroppedPagesOfACopiedChunkComeAgain) {
  Map({.tracking = {}, .map_limit = 1});
  ExpectPage(kChunk + 3);
  ASSERT_EQ(mapping_->copied_pages(), kChunk);
  ASSERT_EQ(madvise(Page(kChunk), kChunk * kPageSize, MADV_DONTNEED), 0);
  ExpectPage(kChunk + 3);
  ExpectPage(kChunk + 4);
  EXPECT_EQ(mapping_->copied_pages(), kChunk);
}

class FaultHoleTest : public ::testing::TestWithParam<Access> {};

INSTANTIATE_TEST_SUITE_P(Kinds, FaultHoleTest,
                         ::testing::Values(Access::kRead, Access::kScratch, Access::kWrite));

TEST_P(FaultHoleTest, AHoleIsOneMapHoweverMuchOfItIsTouched) {
  if (!os::UsableFeatures().uffd_missing) GTEST_SKIP() << "no userfaultfd for system calls";
#ifdef ABSL_HAVE_THREAD_SANITIZER
  constexpr uint64_t kSize = uint64_t{1} << 36;  // it leaves no such room
#else
  constexpr uint64_t kSize = uint64_t{1} << 40;
#endif
  FakeVolume volume(os::OpenMemoryFile("volume").value());
  PageTable version;
  const uint64_t data = kSize / kPageSize / 3;
  version[PageNumber(data)] = volume.Write(PageOfBytes(1));
  const auto source = std::make_shared<FakeSource>(volume, version);
  const auto mapping = Mapping::Create(GetParam(), kSize, source).value();
  uint64_t random = 1;
  for (int i = 0; i < 1000; ++i) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    ASSERT_EQ(mapping->bytes()[(random >> 16) % kSize / kPageSize * kPageSize + 4095],
              std::byte{0});
  }
  EXPECT_EQ(
      std::memcmp(mapping->bytes().data() + data * kPageSize, PageOfBytes(1).data(), kPageSize), 0);
  EXPECT_LE(CountMaps(mapping->bytes()), 6u);
}

TEST(FaultManyTest, ThousandsOfScratchMappingsAreAliveAtOnce) {
  if (!os::UsableFeatures().uffd_missing) GTEST_SKIP() << "no userfaultfd for system calls";
  FakeVolume volume(os::OpenMemoryFile("volume").value());
  PageTable version;
  for (uint64_t page = 0; page < 4 * kChunk; ++page) {
    version[PageNumber(page)] = volume.Write(PageOfBytes(page));
  }
  const auto source = std::make_shared<FakeSource>(volume, version);
  std::vector<std::unique_ptr<Mapping>> clones;
  for (uint64_t i = 0; i < 3000; ++i) {
    clones.push_back(Mapping::Create(Access::kScratch, 4 * kChunk * kPageSize, source).value());
    clones.back()->bytes()[i % 4 * kChunk * kPageSize] = static_cast<std::byte>(i);
  }
  for (uint64_t i = 0; i < clones.size(); ++i) {
    ASSERT_EQ(clones[i]->bytes()[i % 4 * kChunk * kPageSize], static_cast<std::byte>(i));
    ASSERT_EQ(clones[i]->bytes()[(i % 4 * kChunk + 1) * kPageSize],
              PageOfBytes(i % 4 * kChunk + 1)[0]);
  }
}

}  // namespace
}  // namespace cow::vm
