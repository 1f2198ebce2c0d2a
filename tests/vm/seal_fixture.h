// A mapping for writing, its volume and its head, for each way of tracking and each place.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "cow/os/features.h"
#include "cow/os/file.h"
#include "cow/vm/mapping.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"
#include "tests/vm/fake_volume.h"

namespace cow::vm {

enum class Where { kDisk, kMemory };

// How writes are found, and when pages are bound.
enum class Way { kKernelOnTouch, kKernelAtOnce, kCompare };

// A version of 2000 pages: 0-599 are data in one extent, 600-699 data in pages alone, the rest is
// a hole but for the last page, in which the version ends.
class SealTest : public ::testing::TestWithParam<std::tuple<Way, Where>> {
 protected:
  static constexpr uint64_t kPages = 2000;
  static constexpr uint64_t kSize = kPages * kPageSize - 1000;

  void SetUp() override {
    os::Features features = os::UsableFeatures();
    if (tracking() == Tracking::kKernel && !features.pagemap_scan) {
      GTEST_SKIP() << "no PAGEMAP_SCAN on " << os::KernelRelease();
    }
    if (way() == Way::kKernelOnTouch && !features.uffd_missing) {
      GTEST_SKIP() << "no userfaultfd for system calls";
    }
    features.uffd_missing = way() == Way::kKernelOnTouch;
    features_.emplace(features);
    volume_ = std::make_unique<FakeVolume>(
        std::get<1>(GetParam()) == Where::kDisk
            ? os::OpenFile(directory_ / "volume", os::OpenMode::kCreate).value()
            : os::OpenMemoryFile("volume").value());
    sink_ = std::make_unique<FakeSink>(*volume_);
    for (uint64_t page = 0; page < 700; ++page) {
      sink_->head[PageNumber(page)] = volume_->Write(PageOfBytes(page), page >= 600);
    }
    auto last = PageOfBytes(kPages - 1);
    std::fill(last.end() - 1000, last.end(), std::byte{0});
    sink_->head[PageNumber(kPages - 1)] = volume_->Write(last);
    mapping_ = Map();
  }

  void TearDown() override {
    if (sink_ != nullptr && tracking() == Tracking::kCompare) {
      EXPECT_EQ(sink_->unchanged(), 0u) << "comparing lets no unchanged page through";
    }
  }

  static Way way() { return std::get<0>(GetParam()); }
  static Tracking tracking() {
    return way() == Way::kCompare ? Tracking::kCompare : Tracking::kKernel;
  }

  // The head as it is now.
  std::unique_ptr<Mapping> Map(std::optional<uint64_t> map_limit = {}) {
    return Mapping::Create(Access::kWrite, kSize,
                           std::make_shared<FakeSource>(*volume_, sink_->head),
                           {.tracking = tracking(), .map_limit = map_limit})
        .value();
  }

  std::span<std::byte> Page(uint64_t page) {
    return mapping_->bytes().subspan(page * kPageSize,
                                     std::min(kPageSize, kSize - page * kPageSize));
  }
  // Makes the page differ from what it holds.
  void Write(uint64_t page) { Page(page)[page % 3000] ^= std::byte{0x80}; }

  std::vector<uint64_t> Seal() {
    EXPECT_TRUE(mapping_->Seal(*sink_).ok());
    return sink_->TakePublished();
  }

  // The mapping holds what `version` says, but for the pages `written`; after a seal, the head.
  void ExpectEquals(const PageTable& version, const std::set<uint64_t>& written = {}) {
    for (uint64_t page = 0; page < kPages; ++page) {
      if (written.contains(page)) continue;
      const auto expected = volume_->Read(version, PageNumber(page));
      const auto bytes = Page(page);
      ASSERT_TRUE(std::memcmp(bytes.data(), expected.data(), bytes.size()) == 0) << "page " << page;
    }
  }

  std::optional<os::ScopedFeatures> features_;
  test::TemporaryDirectory directory_;
  std::unique_ptr<FakeVolume> volume_;
  std::unique_ptr<FakeSink> sink_;
  std::unique_ptr<Mapping> mapping_;
};

inline auto SealModes() {
  return ::testing::Combine(
      ::testing::Values(Way::kKernelOnTouch, Way::kKernelAtOnce, Way::kCompare),
      ::testing::Values(Where::kDisk, Where::kMemory));
}

inline std::string SealModeName(const ::testing::TestParamInfo<std::tuple<Way, Where>>& info) {
  const Way way = std::get<0>(info.param);
  const std::string name = way == Way::kKernelOnTouch  ? "OnTouch"
                           : way == Way::kKernelAtOnce ? "AtOnce"
                                                       : "Compare";
  return name + (std::get<1>(info.param) == Where::kDisk ? "Disk" : "Memory");
}

}  // namespace cow::vm
