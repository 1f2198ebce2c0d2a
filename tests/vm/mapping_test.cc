// Mappings for reading and scratch, and what every kind has in common.
#include "cow/vm/mapping.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/base/config.h"
#include "cow/base/status.h"
#include "cow/os/features.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"
#include "tests/vm/fake_volume.h"

namespace cow::vm {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

constexpr uint64_t kPages = 1500;

std::span<std::byte> PageBytes(const Mapping& mapping, uint64_t page) {
  return mapping.bytes().subspan(page * kPageSize,
                                 std::min(kPageSize, mapping.size() - page * kPageSize));
}

enum class Where { kDisk, kMemory };
enum class When { kOnTouch, kAtOnce };

// A version with data and holes: pages in one extent, pages alone, and an end inside a page.
class MappingTest : public ::testing::TestWithParam<std::tuple<Where, When>> {
 protected:
  static constexpr uint64_t kSize = kPages * kPageSize - 100;

  void SetUp() override {
    os::Features features = os::UsableFeatures();
    if (when() == When::kOnTouch && !features.uffd_missing) {
      GTEST_SKIP() << "no userfaultfd for system calls";
    }
    features.uffd_missing = when() == When::kOnTouch;
    features_.emplace(features);
    volume_ = std::make_unique<FakeVolume>(
        std::get<0>(GetParam()) == Where::kDisk
            ? os::OpenFile(directory_ / "volume", os::OpenMode::kCreate).value()
            : os::OpenMemoryFile("volume").value());
    for (uint64_t page = 0; page < 700; ++page) AddPage(page, false);
    for (uint64_t page = 900; page < 1100; page += 3) AddPage(page, true);
    auto last = PageOfBytes(kPages - 1);
    std::fill(last.end() - 100, last.end(), std::byte{0});
    version_[PageNumber(kPages - 1)] = volume_->Write(last);
  }

  static When when() { return std::get<1>(GetParam()); }

  void AddPage(uint64_t page, bool apart) {
    version_[PageNumber(page)] = volume_->Write(PageOfBytes(page), apart);
  }

  std::shared_ptr<FakeSource> Version() { return std::make_shared<FakeSource>(*volume_, version_); }
  std::unique_ptr<Mapping> Map(Access access, const Options& options = {}) {
    return Mapping::Create(access, kSize, Version(), options).value();
  }

  void ExpectVersion(const Mapping& mapping) {
    for (uint64_t page = 0; page < kPages; ++page) {
      const auto expected = volume_->Read(version_, PageNumber(page));
      const auto bytes = PageBytes(mapping, page);
      ASSERT_TRUE(std::memcmp(bytes.data(), expected.data(), bytes.size()) == 0) << "page " << page;
    }
  }

  std::optional<os::ScopedFeatures> features_;
  test::TemporaryDirectory directory_;
  std::unique_ptr<FakeVolume> volume_;
  PageTable version_;
};

INSTANTIATE_TEST_SUITE_P(Places, MappingTest,
                         ::testing::Combine(::testing::Values(Where::kDisk, Where::kMemory),
                                            ::testing::Values(When::kOnTouch, When::kAtOnce)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param) == Where::kDisk ? "Disk"
                                                                                      : "Memory") +
                                  (std::get<1>(info.param) == When::kOnTouch ? "OnTouch"
                                                                             : "AtOnce");
                         });

TEST_P(MappingTest, EveryKindShowsTheVersion) {
  for (const Access access : {Access::kRead, Access::kScratch, Access::kWrite}) {
    const auto mapping = Map(access);
    EXPECT_EQ(mapping->size(), kSize);
    EXPECT_EQ(mapping->bytes().size(), kSize);
    EXPECT_EQ(mapping->copied_pages(), 0u);
    ExpectVersion(*mapping);
    const std::span<const std::byte> tail(mapping->bytes().data() + kSize, 100);
    EXPECT_THAT(tail, Each(std::byte{0}));
  }
}

TEST_P(MappingTest, AReadMappingCannotBeWritten) {
  const auto mapping = Map(Access::kRead);
  // Through system calls, which fail where a store would be SIGSEGV.
  for (const uint64_t page : {uint64_t{0}, uint64_t{800}, kPages - 1}) {
    EXPECT_EQ(pread(volume_->file().descriptor(), PageBytes(*mapping, page).data(), 1, 0), -1);
    EXPECT_EQ(errno, EFAULT);
  }
  ExpectVersion(*mapping);
}

TEST_P(MappingTest, ScratchMappingsOfOneVersionDoNotSeeEachOther) {
  std::vector<std::unique_ptr<Mapping>> clones;
  for (uint64_t i = 0; i < 100; ++i) {
    clones.push_back(Map(Access::kScratch));
    PageBytes(*clones.back(), i)[0] = std::byte{0xaa};
    PageBytes(*clones.back(), 800)[0] = static_cast<std::byte>(i);
  }
  for (uint64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(PageBytes(*clones[i], i)[0], std::byte{0xaa});
    EXPECT_EQ(PageBytes(*clones[i], 800)[0], static_cast<std::byte>(i));
    EXPECT_EQ(PageBytes(*clones[i], (i + 1) % 100)[0], PageOfBytes((i + 1) % 100)[0]);
  }
  ExpectVersion(*Map(Access::kRead));
}

TEST_P(MappingTest, ResetMakesAScratchMappingItsVersionAgain) {
  for (const uint64_t map_limit : {uint64_t{1000}, uint64_t{4}}) {
    const auto mapping = Map(Access::kScratch, {.tracking = {}, .map_limit = map_limit});
    std::memset(mapping->bytes().data(), 0x55, kSize);
    ASSERT_TRUE(mapping->Reset().ok());
    ExpectVersion(*mapping);
    std::memset(mapping->bytes().data(), 0x66, kSize);
    EXPECT_THAT(PageBytes(*mapping, 1000), Each(std::byte{0x66}));
  }
}

TEST_P(MappingTest, OnlyTheRightKindSealsAndResets) {
  FakeSink sink(*volume_);
  for (const Access access : {Access::kRead, Access::kScratch}) {
    EXPECT_EQ(Map(access)->Seal(sink).code(), absl::StatusCode::kFailedPrecondition);
  }
  for (const Access access : {Access::kRead, Access::kWrite}) {
    EXPECT_EQ(Map(access)->Reset().code(), absl::StatusCode::kFailedPrecondition);
  }
}

TEST_P(MappingTest, ChunksInTooManyExtentsAreCopied) {
  for (const Access access : {Access::kRead, Access::kScratch, Access::kWrite}) {
    const auto mapping = Map(access, {.tracking = {}, .map_limit = 6});
    ExpectVersion(*mapping);
    // The second and third chunk, whole: pages 512-699, the 67 pages alone, the last page.
    EXPECT_EQ(mapping->copied_pages(), 188u + 67u + 1u);
    EXPECT_LE(CountMaps(mapping->bytes()), 6u);
    const ssize_t read = pread(volume_->file().descriptor(), PageBytes(*mapping, 903).data(), 1, 0);
    EXPECT_EQ(read, access == Access::kRead ? -1 : 1);
    if (access == Access::kRead) ExpectVersion(*mapping);
  }
}

TEST_P(MappingTest, KeepsItsVersionAlive) {
  auto source = Version();
  const std::weak_ptr<FakeSource> watched = source;
  auto mapping = Mapping::Create(Access::kRead, kSize, std::move(source)).value();
  EXPECT_FALSE(watched.expired());
  ExpectVersion(*mapping);
  mapping.reset();
  EXPECT_TRUE(watched.expired());
}

TEST_P(MappingTest, AChildProcessDoesNotHaveIt) {
  auto mapping = Map(Access::kWrite);
  PageBytes(*mapping, 0)[0] = std::byte{7};
  int pipes[2];
  ASSERT_EQ(pipe2(pipes, O_CLOEXEC), 0);
  const pid_t child = fork();
  if (child == 0) {
    // write(2) says EFAULT where a load would be SIGSEGV. Some other map of the child (a thread
    // sanitizer makes its own) may lie there by now; but never this byte.
    std::byte seen{0};
    const bool gone = write(pipes[1], mapping->bytes().data(), 1) == -1
                          ? errno == EFAULT
                          : read(pipes[0], &seen, 1) == 1 && seen != std::byte{7};
    mapping.reset();
    _exit(gone ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  close(pipes[0]);
  close(pipes[1]);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(PageBytes(*mapping, 0)[0], std::byte{7});
}

TEST_P(MappingTest, FramesOutsideTheVolumeAreAnErrorAndNeverASignal) {
  if (when() == When::kOnTouch) GTEST_SKIP() << "see FaultTest";
  version_[PageNumber(5)] = FrameNumber(1 << 20);
  const auto mapping = Mapping::Create(Access::kRead, kSize, Version());
  EXPECT_EQ(ErrnoOf(mapping.status()), EIO);
  EXPECT_THAT(std::string(mapping.status().message()), HasSubstr("page 5: frame 1048576"));
}

// Answers as it is told.
class ToldSource : public Source {
 public:
  explicit ToldSource(absl::StatusOr<std::vector<Extent>> answer) : answer_(std::move(answer)) {}
  absl::StatusOr<std::vector<Extent>> Extents(PageNumber, PageNumber) override { return answer_; }
  absl::StatusOr<PageNumber> NextData(PageNumber) override { return PageNumber(UINT64_MAX); }
  int descriptor() const override { return descriptor_->descriptor(); }

 private:
  const absl::StatusOr<std::vector<Extent>> answer_;
  const std::unique_ptr<os::File> descriptor_ = os::OpenMemoryFile("told").value();
};

absl::StatusCode CodeOfMapping(absl::StatusOr<std::vector<Extent>> answer) {
  os::Features features = os::UsableFeatures();
  features.uffd_missing = false;
  const os::ScopedFeatures at_once(features);
  return Mapping::Create(Access::kRead, 10 * kPageSize,
                         std::make_shared<ToldSource>(std::move(answer)))
      .status()
      .code();
}

TEST(MappingErrorTest, TheSourcesErrorsAndNonsenseComeBack) {
  EXPECT_EQ(CodeOfMapping(absl::DataLossError("checksum")), absl::StatusCode::kDataLoss);
  const auto extent = [](uint64_t page, uint64_t frame, uint64_t count) {
    return Extent{PageNumber(page), FrameNumber(frame), count};
  };
  using Extents = std::vector<Extent>;
  EXPECT_EQ(CodeOfMapping(Extents{extent(10, 0, 1)}), absl::StatusCode::kInternal);
  EXPECT_EQ(CodeOfMapping(Extents{extent(9, 0, 2)}), absl::StatusCode::kInternal);
  EXPECT_EQ(CodeOfMapping(Extents{extent(9, 0, ~uint64_t{0})}), absl::StatusCode::kInternal);
  EXPECT_EQ(CodeOfMapping(Extents{extent(3, 0, 0)}), absl::StatusCode::kInternal);
  EXPECT_EQ(CodeOfMapping(Extents{extent(3, 0, 1)}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(CodeOfMapping(Extents{extent(3, ~uint64_t{0}, 1)}), absl::StatusCode::kDataLoss);
}

TEST(MappingErrorTest, SizesThatCannotBeAreErrors) {
  const auto source = std::make_shared<ToldSource>(std::vector<Extent>{});
  for (const Access access : {Access::kRead, Access::kScratch, Access::kWrite}) {
    EXPECT_EQ(ErrnoOf(Mapping::Create(access, 0, source).status()), EINVAL);
    for (const uint64_t size : {uint64_t{1} << 50, uint64_t{1} << 62, ~uint64_t{0}}) {
      EXPECT_EQ(ErrnoOf(Mapping::Create(access, size, source).status()), ENOMEM) << size;
    }
  }
}

TEST(MappingErrorTest, AVersionOfATebibyteOfHolesMapsInEveryKind) {
  const auto source = std::make_shared<ToldSource>(std::vector<Extent>{});
#ifdef ABSL_HAVE_THREAD_SANITIZER
  const uint64_t size = uint64_t{1} << 36;  // it leaves no such room
#else
  const uint64_t size = uint64_t{1} << 40;
#endif
  for (const Access access : {Access::kRead, Access::kScratch, Access::kWrite}) {
    const auto mapping = Mapping::Create(access, size, source);
    ASSERT_TRUE(mapping.ok()) << mapping.status();
    EXPECT_EQ((*mapping)->bytes()[size - 1], std::byte{0});
    if (access != Access::kRead) (*mapping)->bytes()[size / 2] = std::byte{1};
  }
}

TEST(MappingErrorTest, WithoutKernelTrackingPagesAreCompared) {
  const auto source = std::make_shared<ToldSource>(std::vector<Extent>{});
  os::Features features = os::UsableFeatures();
  features.pagemap_scan = false;
  const os::ScopedFeatures scope(features);
  EXPECT_EQ(Mapping::Create(Access::kWrite, 1, source).value()->tracking(), Tracking::kCompare);
  const auto asked =
      Mapping::Create(Access::kWrite, 1, source, {.tracking = Tracking::kKernel, .map_limit = {}});
  EXPECT_EQ(asked.status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace cow::vm
