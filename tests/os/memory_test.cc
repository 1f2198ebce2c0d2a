// Address ranges, write-protection and the pagemap: what mappings are made of.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/config.h"
#include "cow/base/status.h"
#include "cow/base/types.h"
#include "cow/os/address_range.h"
#include "cow/os/features.h"
#include "cow/os/file.h"
#include "cow/os/pagemap.h"
#include "cow/os/userfaultfd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/huge_pages.h"

namespace cow::os {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kMiB = 1 << 20;

// A file of `pages` pages, each full of its number plus 1.
std::unique_ptr<File> NumberedPages(uint64_t pages) {
  auto file = OpenMemoryFile("numbered").value();
  for (uint64_t page = 0; page < pages; ++page) {
    const std::vector<std::byte> bytes(kPageSize, static_cast<std::byte>(page + 1));
    EXPECT_TRUE(file->Write(page * kPageSize, bytes).ok());
  }
  return file;
}

std::span<std::byte> All(const AddressRange& range) { return {range.data(), range.size()}; }

volatile std::byte& Page(const AddressRange& range, uint64_t page) {
  return *(range.data() + page * kPageSize);
}

std::byte Look(const AddressRange& range, uint64_t page) { return Page(range, page); }

// Numbers of the pages in `runs`.
std::vector<uint64_t> Pages(const AddressRange& range, const MemoryRuns& runs) {
  std::vector<uint64_t> pages;
  for (const auto& run : runs) {
    for (size_t at = 0; at < run.size(); at += kPageSize) {
      pages.push_back(static_cast<uint64_t>(run.data() + at - range.data()) / kPageSize);
    }
  }
  return pages;
}

bool IsMapped(const std::byte* address) {
  unsigned char resident = 0;
  return mincore(const_cast<std::byte*>(address), kPageSize, &resident) == 0;
}

TEST(AddressRangeTest, StartsAsZerosAndIsUnmappedInTheEnd) {
  const std::byte* address = nullptr;
  {
    auto range = AddressRange::Reserve(3 * kMiB, 2 * kMiB, Protection::kReadWrite).value();
    address = range.data();
    EXPECT_EQ(reinterpret_cast<uint64_t>(address) % (2 * kMiB), 0u);
    EXPECT_EQ(range.size(), 3 * kMiB);
    EXPECT_EQ(Look(range, 0), std::byte{0});
    Page(range, 767) = std::byte{1};
    AddressRange moved = std::move(range);
    EXPECT_EQ(Look(moved, 767), std::byte{1});
    EXPECT_TRUE(IsMapped(address));
  }
  EXPECT_FALSE(IsMapped(address));
}

TEST(AddressRangeTest, ReservesFarMoreThanThereIsMemory) {
#ifdef ABSL_HAVE_THREAD_SANITIZER
  GTEST_SKIP() << "the thread sanitizer leaves no such room";
#endif
  auto range = AddressRange::Reserve(uint64_t{1} << 40, 2 * kMiB, Protection::kReadWrite);
  ASSERT_TRUE(range.ok()) << range.status();
  Page(*range, (uint64_t{1} << 28) - 1) = std::byte{1};
}

TEST(AddressRangeTest, RefusesWhatCannotBe) {
  EXPECT_EQ(ErrnoOf(AddressRange::Reserve(0, kPageSize, Protection::kRead).status()), EINVAL);
  for (const int bits : {50, 62, 63}) {
    EXPECT_EQ(
        ErrnoOf(AddressRange::Reserve(uint64_t{1} << bits, kPageSize, Protection::kRead).status()),
        ENOMEM)
        << bits;
  }
}

TEST(AddressRangeTest, WritesToAMapOfAFileStayPrivateAndCanBeDropped) {
  auto file = NumberedPages(4);
  auto range = AddressRange::Reserve(4 * kPageSize, kPageSize, Protection::kReadWrite).value();
  ASSERT_TRUE(range
                  .MapFile(kPageSize, 2 * kPageSize, file->descriptor(), 2 * kPageSize,
                           Protection::kReadWrite)
                  .ok());
  EXPECT_EQ(Look(range, 1), std::byte{3});
  EXPECT_EQ(Look(range, 3), std::byte{0});
  Page(range, 1) = std::byte{99};
  Page(range, 3) = std::byte{99};
  std::byte in_file{};
  ASSERT_TRUE(file->Read(2 * kPageSize, std::span(&in_file, 1)).ok());
  EXPECT_EQ(in_file, std::byte{3});

  ASSERT_TRUE(range.Drop(0, range.size()).ok());
  EXPECT_EQ(Look(range, 1), std::byte{3});
  EXPECT_EQ(Look(range, 3), std::byte{0});
}

TEST(AddressRangeTest, ReadingPastTheEndOfTheFileIsAnError) {
  auto file = NumberedPages(2);
  auto range = AddressRange::Reserve(4 * kPageSize, kPageSize, Protection::kReadWrite).value();
  ASSERT_TRUE(range.ReadFile(0, kPageSize, file->descriptor(), kPageSize).ok());
  EXPECT_EQ(Look(range, 0), std::byte{2});
  EXPECT_EQ(ErrnoOf(range.ReadFile(0, 2 * kPageSize, file->descriptor(), kPageSize)), EIO);
  if (!UsableFeatures().populate) GTEST_SKIP() << "no MADV_POPULATE_READ";
  ASSERT_TRUE(range.MapFile(0, 4 * kPageSize, file->descriptor(), 0, Protection::kReadWrite).ok());
  EXPECT_TRUE(range.PopulateForReading(0, 2 * kPageSize).ok());
  EXPECT_EQ(ErrnoOf(range.PopulateForReading(0, 4 * kPageSize)), EFAULT);
}

TEST(AddressRangeTest, AChildDoesNotHaveItAndMayDestroyIt) {
  auto range = std::make_unique<AddressRange>(
      AddressRange::Reserve(kPageSize, kPageSize, Protection::kReadWrite).value());
  Page(*range, 0) = std::byte{1};
  ASSERT_TRUE(range->KeepFromChildren(0, range->size()).ok());
  const pid_t child = fork();
  if (child == 0) {
    const bool absent = !IsMapped(range->data());
    // Somebody else's memory at that address must survive.
    void* other = mmap(range->data(), kPageSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const bool there = other == range->data();
    range.reset();
    _exit(absent && there && IsMapped(static_cast<std::byte*>(other)) ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(Look(*range, 0), std::byte{1});
}

TEST(MaxMapCountTest, IsWhatTheKernelSays) { EXPECT_GE(MaxMapCount(), 1000u); }

// Protection in the kernel: of a private map of a file (pages 0-7) and a hole (pages 8-15).
class WriteProtectTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!UsableFeatures().pagemap_scan) GTEST_SKIP() << "no PAGEMAP_SCAN on " << KernelRelease();
    file_ = NumberedPages(8);
    range_ = AddressRange::Reserve(16 * kPageSize, kPageSize, Protection::kReadWrite).value();
    ASSERT_TRUE(
        range_.MapFile(0, 8 * kPageSize, file_->descriptor(), 0, Protection::kReadWrite).ok());
    uffd_.emplace(Userfaultfd::OpenForAsyncProtection().value());
    pagemap_.emplace(Pagemap::Open().value());
    ASSERT_TRUE(uffd_->Register(All(range_)).ok());
  }

  std::vector<uint64_t> TakeWritten() {
    MemoryRuns runs;
    zeros_.clear();
    EXPECT_TRUE(pagemap_->TakeWritten(All(range_), runs, zeros_).ok());
    return Pages(range_, runs);
  }
  // Of the last TakeWritten.
  std::vector<uint64_t> Zeros() { return Pages(range_, zeros_); }

  std::unique_ptr<File> file_;
  std::optional<Userfaultfd> uffd_;
  std::optional<Pagemap> pagemap_;
  AddressRange range_;
  MemoryRuns zeros_;
};

TEST_F(WriteProtectTest, FindsExactlyWhatWasWrittenInAProtectedRange) {
  ASSERT_TRUE(pagemap_->Protect(All(range_)).ok());
  EXPECT_THAT(TakeWritten(), IsEmpty());
  for (uint64_t page = 0; page < 16; ++page) Look(range_, page);
  EXPECT_THAT(TakeWritten(), IsEmpty()) << "pages that were only read";
  for (const uint64_t page : {0, 1, 6, 9, 15}) Page(range_, page) = std::byte{1};
  EXPECT_THAT(TakeWritten(), ElementsAre(0, 1, 6, 9, 15));
  EXPECT_THAT(TakeWritten(), IsEmpty()) << "taken pages are protected again";
  Page(range_, 6) = std::byte{2};
  Page(range_, 10) = std::byte{2};
  EXPECT_THAT(TakeWritten(), ElementsAre(6, 10));
}

TEST_F(WriteProtectTest, UnpopulatedPagesAreProtectedToo) {
  // Nothing was touched before: the kernel has only markers for these pages.
  ASSERT_TRUE(pagemap_->Protect(All(range_)).ok());
  Page(range_, 3) = std::byte{1};
  Page(range_, 12) = std::byte{1};
  EXPECT_EQ(Look(range_, 4), std::byte{5});
  EXPECT_THAT(TakeWritten(), ElementsAre(3, 12));
}

TEST_F(WriteProtectTest, HolesNeedNoProtectionBeforehand) {
  ASSERT_TRUE(pagemap_->Protect(All(range_).first(8 * kPageSize)).ok());
  Look(range_, 9);
  Page(range_, 10) = std::byte{1};
  EXPECT_THAT(TakeWritten(), ElementsAre(10)) << "page 9 was only read";
  EXPECT_THAT(Zeros(), ElementsAre(9));
  Page(range_, 9) = std::byte{1};
  Page(range_, 11) = std::byte{1};
  EXPECT_THAT(TakeWritten(), ElementsAre(9, 11));
  EXPECT_THAT(TakeWritten(), IsEmpty());
}

TEST_F(WriteProtectTest, SystemCallsThatWriteCount) {
  ASSERT_TRUE(pagemap_->Protect(All(range_)).ok());
  ASSERT_EQ(pread(file_->descriptor(), range_.data() + 2 * kPageSize - 10, 20, 0), 20);
  ASSERT_EQ(pread(file_->descriptor(), range_.data() + 13 * kPageSize, 20, 0), 20);
  EXPECT_THAT(TakeWritten(), ElementsAre(1, 2, 13));
}

TEST_F(WriteProtectTest, PagesDroppedFromTheCacheStayProtected) {
  ASSERT_TRUE(range_.PopulateForReading(0, 8 * kPageSize).ok());
  ASSERT_TRUE(pagemap_->Protect(All(range_)).ok());
  Page(range_, 2) = std::byte{9};
  madvise(range_.data(), range_.size(), MADV_PAGEOUT);
  for (uint64_t page = 0; page < 8; ++page) Look(range_, page);
  EXPECT_THAT(TakeWritten(), ElementsAre(2));
}

TEST_F(WriteProtectTest, NeighboursOfAStoreInAHugePageOfTheFileAreToldApart) {
  constexpr uint64_t kPages = 1024;
  file_ = NumberedPages(kPages);
  if (!test::MakeHugePages(file_->descriptor(), kPages * kPageSize)) GTEST_SKIP() << "none made";
  range_ = AddressRange::Reserve(kPages * kPageSize, 2 * kMiB, Protection::kReadWrite).value();
  ASSERT_TRUE(
      range_.MapFile(0, range_.size(), file_->descriptor(), 0, Protection::kReadWrite).ok());
  ASSERT_TRUE(uffd_->Register(All(range_)).ok());
  ASSERT_TRUE(range_.PopulateForReading(0, range_.size()).ok());
  ASSERT_TRUE(pagemap_->Protect(All(range_)).ok());
  // The store splits the map of a huge page, and the protection of the rest of it is gone.
  Page(range_, 700) = std::byte{99};
  for (uint64_t page = 0; page < kPages; ++page) Look(range_, page);
  MemoryRuns written;
  ASSERT_TRUE(pagemap_->TakeWritten(All(range_), written, written).ok());
  MemoryRuns found;
  for (const auto run : written) ASSERT_TRUE(pagemap_->FindPrivate(run, found).ok());
  EXPECT_THAT(Pages(range_, found), ElementsAre(700));
  Page(range_, 701) = std::byte{99};
  EXPECT_THAT(TakeWritten(), ElementsAre(701)) << "taken pages are protected, written or not";
}

TEST_F(WriteProtectTest, ARangeThatIsNotRegisteredIsAnError) {
  auto other = AddressRange::Reserve(kPageSize, kPageSize, Protection::kReadWrite).value();
  MemoryRuns runs;
  EXPECT_EQ(ErrnoOf(pagemap_->TakeWritten(All(other), runs, runs)), EPERM);
  EXPECT_EQ(ErrnoOf(pagemap_->Protect(All(other))), EPERM);
}

TEST_F(WriteProtectTest, FindsMoreRunsThanOneCallReports) {
  constexpr uint64_t kPages = 10000;
  auto range = AddressRange::Reserve(kPages * kPageSize, 2 * kMiB, Protection::kReadWrite).value();
  ASSERT_TRUE(uffd_->Register(All(range)).ok());
  std::vector<uint64_t> expected;
  for (uint64_t page = 1; page < kPages; page += 2) {
    Page(range, page) = std::byte{1};
    expected.push_back(page);
  }
  range_ = std::move(range);
  EXPECT_EQ(TakeWritten(), expected);
  EXPECT_THAT(TakeWritten(), IsEmpty());
}

TEST(PagemapTest, FindPrivateHasEveryPageThatWasWritten) {
  if (!UsableFeatures().pagemap) GTEST_SKIP() << "no pagemap";
  auto file = NumberedPages(8);
  auto range = AddressRange::Reserve(16 * kPageSize, kPageSize, Protection::kReadWrite).value();
  ASSERT_TRUE(range.MapFile(0, 8 * kPageSize, file->descriptor(), 0, Protection::kReadWrite).ok());
  const Pagemap pagemap = Pagemap::Open().value();
  for (uint64_t page = 0; page < 8; ++page) Look(range, page);
  MemoryRuns runs;
  ASSERT_TRUE(pagemap.FindPrivate(All(range), runs).ok());
  EXPECT_THAT(runs, IsEmpty()) << "pages of the file that were only read";
  for (const uint64_t page : {1, 2, 9}) Page(range, page) = std::byte{1};
  ASSERT_TRUE(pagemap.FindPrivate(All(range), runs).ok());
  EXPECT_THAT(Pages(range, runs), ElementsAre(1, 2, 9));
}

TEST_F(WriteProtectTest, FindPrivateTellsMarkersOfProtectionFromWrittenPages) {
  ASSERT_TRUE(pagemap_->Protect(All(range_)).ok());  // nothing is populated: markers only
  Page(range_, 3) = std::byte{1};
  MemoryRuns found;
  ASSERT_TRUE(pagemap_->FindPrivate(All(range_).first(8 * kPageSize), found).ok());
  EXPECT_THAT(Pages(range_, found), ElementsAre(3));
}

TEST(FeaturesTest, AFeatureSwitchedOffTakesThoseThatBuildOnItAlong) {
  const Features all = ProbeFeatures("");
  EXPECT_TRUE(all.pagemap) << "/proc must be mounted";
  EXPECT_EQ(all.pagemap_scan, all.uffd_wp_async)
      << "both came with 6.7; what does not work is not to be skipped in silence";

  const Features no_scan = ProbeFeatures("pagemap_scan,unheard_of");
  EXPECT_FALSE(no_scan.pagemap_scan);
  EXPECT_EQ(no_scan.uffd_wp_async, all.uffd_wp_async);

  const Features no_uffd = ProbeFeatures("populate,userfaultfd");
  EXPECT_FALSE(no_uffd.userfaultfd);
  EXPECT_FALSE(no_uffd.uffd_wp_async);
  EXPECT_FALSE(no_uffd.pagemap_scan);
  EXPECT_FALSE(no_uffd.populate);
  EXPECT_EQ(no_uffd.pagemap, all.pagemap);

  EXPECT_FALSE(ProbeFeatures("pagemap").pagemap_scan);
}

TEST(FeaturesTest, TestsCanOverrideWhatTheMachineHas) {
  {
    const ScopedFeatures none{Features{}};
    for (const FeatureInfo& info : AllFeatures()) {
      EXPECT_FALSE(UsableFeatures().*info.present) << info.name;
    }
  }
  EXPECT_TRUE(UsableFeatures().pagemap) << "/proc must be mounted";
  EXPECT_FALSE(KernelRelease().empty());
}

}  // namespace
}  // namespace cow::os
