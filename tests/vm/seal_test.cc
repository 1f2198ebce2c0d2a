// Mappings for writing: the dirty set and the seal, in each way of tracking.
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "cow/base/status.h"
#include "cow/vm/mapping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/huge_pages.h"
#include "tests/support/locked_memory.h"
#include "tests/support/seed.h"
#include "tests/vm/fake_volume.h"
#include "tests/vm/seal_fixture.h"

namespace cow::vm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int kMadviseCollapse = 25;  // MADV_COLLAPSE, kernel 6.1

INSTANTIATE_TEST_SUITE_P(Modes, SealTest, SealModes(), SealModeName);

TEST_P(SealTest, PublishesThePagesWrittenAndNoOthers) {
  EXPECT_EQ(mapping_->tracking(), tracking());
  EXPECT_THAT(Seal(), IsEmpty());
  for (const uint64_t page : {0, 5, 6, 611, 700, 1234, 1999}) Write(page);
  EXPECT_THAT(Seal(), ElementsAre(0, 5, 6, 611, 700, 1234, 1999));
  ExpectEquals(sink_->head);
  EXPECT_THAT(Seal(), IsEmpty());
}

TEST_P(SealTest, SealedPagesAreTrackedAgain) {
  for (const uint64_t page : {3, 4, 900}) Write(page);
  Seal();
  const PageTable first = sink_->head;
  for (const uint64_t page : {4, 900, 901}) Write(page);
  EXPECT_THAT(Seal(), ElementsAre(4, 900, 901));
  ExpectEquals(sink_->head);
  EXPECT_EQ(first.at(PageNumber(3)), sink_->head.at(PageNumber(3)));
  EXPECT_NE(first.at(PageNumber(4)), sink_->head.at(PageNumber(4)));
}

TEST_P(SealTest, ReadingIsNotWriting) {
  ExpectEquals(sink_->head);  // reads every page
  EXPECT_THAT(Seal(), IsEmpty());
  Write(1500);
  EXPECT_THAT(Seal(), ElementsAre(1500));
  ExpectEquals(sink_->head);
  EXPECT_THAT(Seal(), IsEmpty());
}

TEST_P(SealTest, WritesOfSystemCallsCount) {
  const int source = volume_->file().descriptor();
  ASSERT_EQ(pread(source, Page(10).data() + 4000, 200, kPageSize), 200);
  const iovec parts[] = {{Page(650).data(), 100}, {Page(1300).data(), 100}};
  ASSERT_EQ(preadv(source, parts, 2, kPageSize), 200);
  EXPECT_THAT(Seal(), ElementsAre(10, 11, 650, 1300));
  ExpectEquals(sink_->head);
}

TEST_P(SealTest, ZerosOverDataArePublished) {
  std::memset(Page(20).data(), 0, kPageSize);
  EXPECT_THAT(Seal(), ElementsAre(20));
  ExpectEquals(sink_->head);
}

TEST_P(SealTest, DataThatBecomesZeroAgainInAHoleIsPublished) {
  Write(1000);
  EXPECT_THAT(Seal(), ElementsAre(1000));
  std::memset(Page(1000).data(), 0, kPageSize);
  EXPECT_THAT(Seal(), ElementsAre(1000));
  ExpectEquals(sink_->head);
}

// The shared page of zeros, without protection, in place of a page of the mapping: what the kernel
// leaves when it merges pages of zeros (KSM) or splits a huge page that has some.
void PutPageOfZeros(std::span<std::byte> page) {
  ASSERT_EQ(madvise(page.data(), page.size(), MADV_DONTNEED), 0);
  const std::byte first = *const_cast<const volatile std::byte*>(page.data());
  ASSERT_EQ(first, std::byte{0});
}

TEST_P(SealTest, TheKernelsPageOfZerosOverDataIsPublished) {
  Write(1000);
  EXPECT_THAT(Seal(), ElementsAre(1000));
  PutPageOfZeros(Page(1000));
  PutPageOfZeros(Page(1001));  // still a hole
  EXPECT_THAT(Seal(), ElementsAre(1000));
  ExpectEquals(sink_->head);

  // One that was copied in; where it is bound on touch it would be copied again.
  if (way() == Way::kKernelOnTouch) return;
  mapping_ = Map(5);
  ASSERT_GT(mapping_->copied_pages(), 0u);
  PutPageOfZeros(Page(620));
  EXPECT_THAT(Seal(), ElementsAre(620));
  ExpectEquals(sink_->head);
}

TEST_P(SealTest, WhatAFailedLookAtThePagesHadProtectedIsNotLost) {
  if (tracking() != Tracking::kKernel) GTEST_SKIP() << "comparing protects nothing";
  ExpectEquals(sink_->head);  // now all is bound
  for (const uint64_t page : {1, 650, 1500}) Write(page);
  // A thread that waits for a hole goes on a moment before that is registered again; this waits.
  ASSERT_EQ(mapping_->status(), absl::OkStatus());
  // Memory that cannot be protected makes the kernel give up in the middle.
  void* const in_the_way = Page(1100).data();
  ASSERT_EQ(mmap(in_the_way, kPageSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            in_the_way);
  EXPECT_EQ(ErrnoOf(mapping_->Seal(*sink_)), EPERM);
  EXPECT_THAT(sink_->TakePublished(), IsEmpty());
  ASSERT_EQ(munmap(in_the_way, kPageSize), 0);
  // All that is private, and with it some of the holes.
  EXPECT_THAT(Seal(), ::testing::AllOf(::testing::IsSupersetOf({1, 650, 1500}),
                                       ::testing::Not(::testing::Contains(2)),
                                       ::testing::Not(::testing::Contains(651))));
  Write(2);
  EXPECT_THAT(Seal(), ElementsAre(2)) << "nothing is taken twice for it";
  mapping_.reset();
}

TEST_P(SealTest, TheLastPageEndsWithTheVersion) {
  std::memset(mapping_->bytes().data() + (kPages - 1) * kPageSize, 0x77, kPageSize);
  EXPECT_THAT(Seal(), ElementsAre(kPages - 1));
  EXPECT_EQ(sink_->last_bytes, kPageSize - 1000);
  const auto last = volume_->Read(sink_->head, PageNumber(kPages - 1));
  EXPECT_EQ(last[kPageSize - 1001], std::byte{0x77});
  EXPECT_EQ(last[kPageSize - 1000], std::byte{0});
}

TEST_P(SealTest, LongRunsArePublishedInParts) {
  std::memset(mapping_->bytes().data(), 0x33, kSize);
  EXPECT_EQ(Seal().size(), kPages);
  ExpectEquals(sink_->head);
  EXPECT_THAT(Seal(), IsEmpty());
}

TEST_P(SealTest, WhatWasNotPublishedStaysDirty) {
  for (const uint64_t page : {1, 100, 200, 201, 300}) Write(page);
  sink_->before = [](PageNumber page) {
    return page >= PageNumber(200) ? ErrnoStatus(ENOSPC, "volume") : absl::OkStatus();
  };
  EXPECT_EQ(ErrnoOf(mapping_->Seal(*sink_)), ENOSPC);
  EXPECT_THAT(sink_->TakePublished(), IsEmpty());
  EXPECT_EQ(ErrnoOf(mapping_->Seal(*sink_)), ENOSPC);
  EXPECT_THAT(sink_->TakePublished(), IsEmpty());
  Write(100);
  Write(250);
  Write(300);
  sink_->before = [](PageNumber) { return absl::OkStatus(); };
  EXPECT_THAT(Seal(), ElementsAre(1, 100, 200, 201, 250, 300));
  ExpectEquals(sink_->head);
}

TEST_P(SealTest, AFailureInsideARunKeepsTheRestOfIt) {
  std::memset(mapping_->bytes().data(), 0x44, 600 * kPageSize);
  sink_->before = [](PageNumber page) {
    return page == PageNumber(256) ? ErrnoStatus(EIO, "volume") : absl::OkStatus();
  };
  EXPECT_EQ(ErrnoOf(mapping_->Seal(*sink_)), EIO);
  EXPECT_EQ(sink_->TakePublished().size(), 256u);
  sink_->before = [](PageNumber) { return absl::OkStatus(); };
  EXPECT_EQ(Seal().size(), 600u - 256u);
  ExpectEquals(sink_->head);
}

TEST_P(SealTest, APageWrittenWhileItIsPublishedIsDirtyAgain) {
  Write(50);
  sink_->before = [this](PageNumber) {
    Page(50)[0] ^= std::byte{1};
    Page(51)[0] ^= std::byte{1};
    return absl::OkStatus();
  };
  EXPECT_THAT(Seal(), ElementsAre(50));
  const auto sealed = volume_->Read(sink_->head, PageNumber(50));
  EXPECT_EQ(sealed[0], PageOfBytes(50)[0]) << "a later write got into the version";
  sink_->before = [](PageNumber) { return absl::OkStatus(); };
  EXPECT_THAT(Seal(), ElementsAre(50, 51));
  ExpectEquals(sink_->head);
}

TEST_P(SealTest, CopiedChunksAreTrackedLikeBoundOnes) {
  mapping_ = Map(5);
  ExpectEquals(sink_->head);
  ASSERT_GT(mapping_->copied_pages(), 0u);
  EXPECT_THAT(Seal(), IsEmpty());
  for (const uint64_t page : {0, 511, 512, 620, 621, 1023, 1024}) Write(page);
  EXPECT_THAT(Seal(), ElementsAre(0, 511, 512, 620, 621, 1023, 1024));
  ExpectEquals(sink_->head);
  EXPECT_THAT(Seal(), IsEmpty());
}

TEST_P(SealTest, ASecondMappingOfTheHeadGoesOnWhereTheFirstEnded) {
  for (const uint64_t page : {3, 800, 1999}) Write(page);
  Seal();
  mapping_ = Map();
  ExpectEquals(sink_->head);
  EXPECT_THAT(Seal(), IsEmpty());
  Write(800);
  EXPECT_THAT(Seal(), ElementsAre(800));
}

TEST_P(SealTest, HugePagesLoseNoWrite) {
  // By default there are none in a mapping for writing; a caller that asks for them gets coarser
  // runs, with the right content.
  auto* const memory = mapping_->bytes().data();
  const size_t chunk = 512 * kPageSize;
  madvise(memory + 2 * chunk, chunk, MADV_HUGEPAGE);
  for (const uint64_t page : {1025, 1300}) Write(page);
  madvise(memory + 2 * chunk, chunk, kMadviseCollapse);
  EXPECT_THAT(Seal(), ::testing::IsSupersetOf({1025, 1300}));
  ExpectEquals(sink_->head);
  madvise(memory + 2 * chunk, chunk, kMadviseCollapse);
  Write(1300);
  Write(1400);
  EXPECT_THAT(Seal(), ::testing::IsSupersetOf({1300, 1400}));
  ExpectEquals(sink_->head);
}

TEST_P(SealTest, HugePagesOfTheVolumePublishNothingThatWasNotWritten) {
  if (std::get<1>(GetParam()) == Where::kDisk) GTEST_SKIP() << "huge pages are made in memory";
  constexpr uint64_t kAligned = 1024;
  volume_ = std::make_unique<FakeVolume>(os::OpenMemoryFile("volume").value());
  sink_ = std::make_unique<FakeSink>(*volume_);
  for (uint64_t frame = 1; frame < 512; ++frame) volume_->Write(PageOfBytes(frame));
  for (uint64_t page = 0; page < kAligned; ++page) {
    sink_->head[PageNumber(page)] = volume_->Write(PageOfBytes(page));
  }
  ASSERT_EQ(sink_->head[PageNumber(0)], FrameNumber(512));
  if (!test::MakeHugePages(volume_->file().descriptor(), (512 + kAligned) * kPageSize)) {
    GTEST_SKIP() << "no huge page could be made";
  }
  mapping_ = Map();
  const PageTable before = sink_->head;
  Write(700);
  ExpectEquals(before, {700});  // reads every page
  EXPECT_THAT(Seal(), ElementsAre(700));
  // What the head does not reach any more is used again.
  for (const auto& [page, frame] : before) {
    if (sink_->head[page] == frame) continue;
    ASSERT_TRUE(volume_->file().Write(OffsetOf(frame), PageOfBytes(1 << 20)).ok());
  }
  ExpectEquals(sink_->head);
}

TEST_P(SealTest, AProcessThatLocksItsMemoryPublishesNoMore) {
  {
    const test::LockedMemory locked;
    if (!locked.may()) GTEST_SKIP() << "may not lock memory";
    mapping_ = Map();
  }
  EXPECT_THAT(Seal(), IsEmpty());
  for (const uint64_t page : {3, 1000}) Write(page);
  EXPECT_THAT(Seal(), ElementsAre(3, 1000));
  ExpectEquals(sink_->head);
}

TEST_P(SealTest, PagesPushedOutOfMemoryLoseNoWrite) {
  for (const uint64_t page : {1, 1025}) Write(page);
  madvise(mapping_->bytes().data(), kPages * kPageSize, MADV_PAGEOUT);
  EXPECT_THAT(Seal(), ElementsAre(1, 1025));
  madvise(mapping_->bytes().data(), kPages * kPageSize, MADV_PAGEOUT);
  EXPECT_THAT(Seal(), IsEmpty());
  ExpectEquals(sink_->head);
}

// Random writes, seals, failures and new mappings against a plain copy of the bytes.
TEST_P(SealTest, AgreesWithAModel) {
  std::mt19937_64 random(test::Seed(20240607));
  std::vector<std::byte> model(mapping_->bytes().begin(), mapping_->bytes().end());
  std::set<uint64_t> written;  // since a seal last published the page
  for (int step = 0; step < 300; ++step) {
    if (const uint64_t choice = random() % 10; choice < 8) {
      const uint64_t offset = random() % kSize;
      const uint64_t length = std::min(1 + random() % 10000, kSize - offset);
      for (uint64_t i = offset; i < offset + length; ++i) {
        model[i] = mapping_->bytes()[i] = static_cast<std::byte>(random());
        written.insert(i / kPageSize);
      }
      continue;
    }
    const uint64_t fails_from = random() % 3 == 0 ? random() % kPages : kPages;
    sink_->before = [=](PageNumber page) {
      return page.value() >= fails_from ? ErrnoStatus(EIO, "volume") : absl::OkStatus();
    };
    const absl::Status sealed = mapping_->Seal(*sink_);
    for (const uint64_t page : sink_->TakePublished()) {
      ASSERT_EQ(written.erase(page), 1u) << "page " << page << " was not written, step " << step;
    }
    if (!sealed.ok()) continue;
    written.clear();
    ASSERT_TRUE(std::memcmp(model.data(), mapping_->bytes().data(), kSize) == 0);
    ExpectEquals(sink_->head);
    if (random() % 4 == 0) {
      mapping_ = Map(random() % 2 == 0 ? std::optional(uint64_t{5}) : std::nullopt);
    }
  }
}

}  // namespace
}  // namespace cow::vm
