// A volume as large as they get: opening it costs what its logs cost, not what it holds.
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>

#include "cow/base/status.h"
#include "tests/store/volume.h"
#include "tests/support/temporary_directory.h"

namespace cow::test {
namespace {

using store::Store;

// Leaves frames of zeroes as holes and reserves nothing, so that a disk of the host suffices; fails
// once it was killed.
class SparseFile : public ProbedFile {
 public:
  SparseFile(std::unique_ptr<os::File> file, const bool* killed)
      : ProbedFile(std::move(file), std::make_shared<Probe>()), killed_(*killed) {}

  absl::Status Write(uint64_t offset, std::span<const std::byte> bytes) override {
    if (killed_) return ErrnoStatus(EIO, "killed");
    const bool zeroes = std::all_of(bytes.begin(), bytes.end(),
                                    [](std::byte byte) { return byte == std::byte{0}; });
    return zeroes ? absl::OkStatus() : ProbedFile::Write(offset, bytes);
  }
  absl::Status WriteVector(uint64_t offset, std::span<const iovec> parts) override {
    for (const iovec& part : parts) {
      COW_RETURN_IF_ERROR(Write(offset, {static_cast<std::byte*>(part.iov_base), part.iov_len}));
      offset += part.iov_len;
    }
    return absl::OkStatus();
  }
  absl::Status Flush() override { return absl::OkStatus(); }
  absl::Status Allocate(uint64_t offset, uint64_t length) override {
    COW_ASSIGN_OR_RETURN(const uint64_t size, Size());
    return size < offset + length ? Resize(offset + length) : absl::OkStatus();
  }

 private:
  const bool& killed_;
};

uint64_t ResidentBytes() {
  uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;
  return pages * kPageSize;
}

TEST(LargeTest, LongRunOpensATebibyteOfTenMillionFramesAndTenThousandSnapshots) {
  constexpr uint64_t kFrames = 10'000'000;
  constexpr uint64_t kBytes = uint64_t{1} << 40;
  constexpr int kSnapshots = 10'000;
  constexpr uint64_t kWriteBytes = 4 << 20;
  TemporaryDirectory directory;
  const std::string path = directory / "volume";
  bool killed = false;
  {
    auto file = os::OpenFile(path, os::OpenMode::kCreate);
    ASSERT_TRUE(file.ok()) << file.status();
    auto store = Store::Create(std::make_unique<SparseFile>(*std::move(file), &killed), {}, kQuiet);
    ASSERT_TRUE(store.ok()) << store.status();
    const Bytes zeroes(kWriteBytes);
    ObjectPointer large;
    ObjectPointer small;
    {
      auto transaction = (*store)->Begin(2 * store::kFramesToChange);
      large = *(*store)->catalog().Create(*transaction);
      small = *(*store)->catalog().Create(*transaction);
    }
    for (uint64_t at = 0; at < kFrames * kPageSize; at += kWriteBytes) {
      auto transaction = (*store)->Begin(store::FramesToWrite(kWriteBytes));
      ASSERT_TRUE(transaction.ok()) << transaction.status();
      ASSERT_TRUE(large->Write(*transaction, at, zeroes).ok());
    }
    for (int i = 0; i < kSnapshots; ++i) {
      auto frozen = (*store)->BeginFrozen(store::kFramesToChange + store::FramesToWrite(1));
      ASSERT_TRUE(frozen.ok()) << frozen.status();
      ASSERT_TRUE(small->Write(*frozen, uint64_t(i) % 300 * kPageSize, RandomBytes(8, i)).ok());
      ASSERT_TRUE((*store)->Share(*frozen, *small, (*store)->catalog(), true).ok());
    }
    // The rest of the tebibyte.
    ASSERT_TRUE((*store)->Begin(kBytes / kPageSize - kFrames - 500'000).ok());
    ASSERT_TRUE((*store)->Commit().ok());
    // Much is logged and not folded when the process is killed.
    {
      auto transaction = (*store)->Begin(store::FramesToWrite(kWriteBytes));
      ASSERT_TRUE(large->Write(*transaction, 0, zeroes).ok());
    }
    ASSERT_TRUE((*store)->Commit().ok());
    killed = true;
  }
  malloc_trim(0);  // what is free already must not hide what is allocated
  const uint64_t before = ResidentBytes();
  const auto begin = std::chrono::steady_clock::now();
  auto probe = std::make_shared<Probe>();
  auto file = os::OpenFile(path, os::OpenMode::kWrite);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_GT(*(*file)->Size(), kBytes - (uint64_t{4} << 30));
  auto store = Store::Open(std::make_unique<ProbedFile>(*std::move(file), probe), kQuiet);
  ASSERT_TRUE(store.ok()) << store.status();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  const uint64_t memory = ResidentBytes() - std::min(before, ResidentBytes());
  RecordProperty("open_ms", std::to_string(seconds.count() * 1e3));
  RecordProperty("open_kib", std::to_string(memory / 1024));
  std::cout << "opened in " << seconds.count() * 1e3 << " ms, " << memory / 1024 << " KiB, "
            << probe->calls[Call::kRead] << " reads\n";
  EXPECT_GT((*store)->space().used_frames, kFrames);
  EXPECT_LT(memory, uint64_t{64} << 20);
  // The logs, at most; a walk of the volume would be 40,000 nodes.
  EXPECT_LT(probe->calls[Call::kRead], 5000u);
  // It can be used at once.
  auto large = (*store)->catalog().Open(ObjectNumber(1));
  ASSERT_TRUE(large.ok()) << large.status();
  Bytes page(kPageSize);
  ASSERT_TRUE((*large)->Read((kFrames - 5) * kPageSize, page).ok());
  EXPECT_EQ(page, Bytes(kPageSize));
}

}  // namespace
}  // namespace cow::test
