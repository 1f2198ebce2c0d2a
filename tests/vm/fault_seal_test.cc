// Mappings for writing whose chunks are bound as they are touched: what a seal takes of them.
#include <barrier>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "cow/os/features.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/vm/fault_fixture.h"

namespace cow::vm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FaultWriteTest : public FaultTest {
 protected:
  void SetUp() override {
    FaultTest::SetUp();
    if (IsSkipped()) return;
    sink_ = std::make_unique<FakeSink>(*volume_);
    sink_->head = head_;
  }
  std::vector<uint64_t> Seal() {
    const absl::Status sealed = mapping_->Seal(*sink_);
    EXPECT_TRUE(sealed.ok()) << sealed;
    return sink_->TakePublished();
  }

  std::unique_ptr<FakeSink> sink_;
};

INSTANTIATE_TEST_SUITE_P(Write, FaultWriteTest, ::testing::Values(Access::kWrite));

TEST_P(FaultWriteTest, ASealTakesNothingOfWhatIsNotTouchedOrCannotBeRead) {
  source_->unreadable = {PageNumber(7), PageNumber(kChunk), PageNumber(kChunk + 2)};
  Map();
  EXPECT_THAT(Seal(), IsEmpty());
  EXPECT_NE(SignalOfLoad(Page(7)), 0);
  *Page(6) = std::byte{1};
  *Page(8) = std::byte{1};
  *Page(kChunk + 1) = std::byte{1};
  EXPECT_THAT(Seal(), ElementsAre(6, 8, kChunk + 1));
  EXPECT_THAT(Seal(), IsEmpty());
  *Page(8) = std::byte{2};
  EXPECT_THAT(Seal(), ElementsAre(8));
  EXPECT_NE(SignalOfLoad(Page(kChunk)), 0);
  EXPECT_EQ(*Page(8), std::byte{2});
}

// Between the moment when a chunk is mapped and that when it is protected, threads that did not wait
// write to it.
TEST_P(FaultWriteTest, WritesByOtherThreadsWhileAChunkIsBoundAreSealed) {
  constexpr uint64_t kThreads = 4;
  constexpr uint64_t kEach = 100;  // pages of a thread in a chunk
  for (int round = 0; round < 20; ++round) {
    Map({.tracking = {}, .map_limit = round % 4 == 0 ? std::optional<uint64_t>(1) : std::nullopt});
    std::barrier start(kThreads + 1);
    std::vector<std::thread> threads;
    for (uint64_t i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        for (uint64_t chunk = 0; chunk < kPages / kChunk; ++chunk) {
          start.arrive_and_wait();
          for (uint64_t j = 0; j < kEach; ++j) {
            *Page(chunk * kChunk + j * kThreads + i) = static_cast<std::byte>(round);
          }
        }
      });
    }
    std::set<uint64_t> sealed;
    for (uint64_t chunk = 0; chunk < kPages / kChunk; ++chunk) {
      start.arrive_and_wait();
      const std::vector<uint64_t> now = Seal();
      sealed.insert(now.begin(), now.end());
    }
    for (std::thread& thread : threads) thread.join();
    const std::vector<uint64_t> last = Seal();
    sealed.insert(last.begin(), last.end());
    std::set<uint64_t> expected;
    for (uint64_t page = 0; page < kPages; ++page) {
      if (page % kChunk < kThreads * kEach) expected.insert(page);
    }
    for (uint64_t page = 0; page < kPages; ++page) {
      ASSERT_EQ(sealed.contains(page), expected.contains(page)) << page << ", round " << round;
    }
    for (uint64_t page = 0; page < kPages; ++page) {
      const auto published = volume_->Read(sink_->head, PageNumber(page));
      ASSERT_EQ(std::memcmp(Page(page), published.data(), kPageSize), 0) << "page " << page;
    }
    mapping_.reset();
    sink_ = std::make_unique<FakeSink>(*volume_);
    sink_->head = head_;
  }
}

}  // namespace
}  // namespace cow::vm
