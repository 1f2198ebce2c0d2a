// A version some pages of which cannot be read, mapped; and what touching a page raises.
#pragma once

#include <setjmp.h>
#include <signal.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cow/base/status.h"
#include "cow/os/features.h"
#include "cow/os/file.h"
#include "cow/vm/mapping.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"
#include "tests/vm/fake_volume.h"

namespace cow::vm {

inline constexpr uint64_t kChunk = 512;

// A version some pages of which cannot be read, and that is looked on.
class WatchedSource : public Source {
 public:
  WatchedSource(FakeVolume& volume, PageTable version) : source_(volume, std::move(version)) {}

  absl::StatusOr<std::vector<Extent>> Extents(PageNumber begin, PageNumber end) override {
    before(begin);
    {
      const std::scoped_lock lock(mutex_);
      asked_.push_back(begin.value());
    }
    const auto bad = unreadable.lower_bound(begin);
    if (bad != unreadable.end() && *bad < end) {
      return MakeError(absl::StatusCode::kDataLoss, EIO,
                       "frame of page " + std::to_string(bad->value()) + " does not match");
    }
    return source_.Extents(begin, end);
  }
  absl::StatusOr<PageNumber> NextData(PageNumber begin) override { return source_.NextData(begin); }
  int descriptor() const override { return source_.descriptor(); }

  // First pages of what was asked for.
  std::vector<uint64_t> asked() const {
    const std::scoped_lock lock(mutex_);
    return asked_;
  }

  std::set<PageNumber> unreadable;
  std::function<void(PageNumber)> before = [](PageNumber) {};

 private:
  FakeSource source_;
  mutable std::mutex mutex_;
  std::vector<uint64_t> asked_;
};

inline sigjmp_buf after_signal;

// The signal that loading the byte raises; 0 for none.
inline int SignalOfLoad(const std::byte* address) {
  struct sigaction action = {};
  struct sigaction bus;
  struct sigaction segv;
  action.sa_handler = [](int number) { siglongjmp(after_signal, number); };
  sigaction(SIGBUS, &action, &bus);
  sigaction(SIGSEGV, &action, &segv);
  const int number = sigsetjmp(after_signal, 1);
  if (number == 0) static_cast<void>(*const_cast<const volatile std::byte*>(address));
  sigaction(SIGBUS, &bus, nullptr);
  sigaction(SIGSEGV, &segv, nullptr);
  return number;
}

class FaultTest : public ::testing::TestWithParam<Access> {
 protected:
  static constexpr uint64_t kPages = 8 * kChunk;

  void SetUp() override {
    if (!os::UsableFeatures().uffd_missing) GTEST_SKIP() << "no userfaultfd for system calls";
    if (GetParam() == Access::kWrite && !os::UsableFeatures().pagemap_scan) {
      GTEST_SKIP() << "without PAGEMAP_SCAN all is bound at once";
    }
    volume_ = std::make_unique<FakeVolume>(
        os::OpenFile(directory_ / "volume", os::OpenMode::kCreate).value());
    for (uint64_t page = 0; page < kPages; ++page) {
      head_[PageNumber(page)] = volume_->Write(PageOfBytes(page));
    }
    source_ = std::make_shared<WatchedSource>(*volume_, head_);
  }

  void Map(const Options& options = {}) {
    mapping_ = Mapping::Create(GetParam(), kPages * kPageSize, source_, options).value();
  }
  std::byte* Page(uint64_t page) { return mapping_->bytes().data() + page * kPageSize; }
  void ExpectPage(uint64_t page) {
    const auto expected = PageOfBytes(page);
    ASSERT_TRUE(std::memcmp(Page(page), expected.data(), kPageSize) == 0) << "page " << page;
  }

  test::TemporaryDirectory directory_;
  std::unique_ptr<FakeVolume> volume_;
  PageTable head_;
  std::shared_ptr<WatchedSource> source_;
  std::unique_ptr<Mapping> mapping_;
};

}  // namespace cow::vm
