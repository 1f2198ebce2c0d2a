// A volume on a host that other files fill up: what was free and given back cannot be had again.
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <optional>

#include "cow/base/status.h"
#include "tests/store/volume.h"
#include "tests/support/small_filesystem.h"

namespace cow::test {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kHost = 96 * kMiB;
constexpr uint64_t kChunk = 16 * kPageSize;

// A volume of which most was free, and given back to the host; then the host became full.
class FullHostTest : public testing::Test {
 protected:
  void SetUp() override {
    REQUIRE_SMALL_FILESYSTEM();
    host_.emplace(kHost);
    volume_.emplace(*host_ / "volume", store::CreateOptions{.max_bytes = uint64_t{1} << 30});
    kept_ = volume_->CreateFile(RandomBytes(2 * kMiB, 1));
    snapshot_ = volume_->Snapshot(kept_);
    volume_->Write(kept_, 0, RandomBytes(kMiB, 2));
    const uint64_t before = host_->FreeBytes();
    ObjectPointer large = volume_->CreateFile(RandomBytes(60 * kMiB, 3));
    volume_->Commit();
    volume_->Remove(large);
    large.reset();
    volume_->Settle();
    ASSERT_GT(host_->FreeBytes() + 24 * kMiB, before) << "nothing was given back";
    // Where frames were given back, as where the volume would grow.
    given_back_ = host_->FreeBytes();
  }

  // Writes until there is no space; returns how many bytes that were.
  uint64_t Fill(const ObjectPointer& file) {
    uint64_t written = 0;
    for (;; written += kChunk) {
      auto transaction = (*volume_)->Begin(store::FramesToWrite(kChunk));
      if (!transaction.ok()) {
        EXPECT_EQ(transaction.status().code(), absl::StatusCode::kResourceExhausted);
        EXPECT_EQ(ErrnoOf(transaction.status()), ENOSPC) << transaction.status();
        const std::string message(transaction.status().message());
        EXPECT_NE(message.find(*host_ / "volume"), std::string::npos) << message;
        EXPECT_NE(message.find("the host filesystem is full"), std::string::npos) << message;
        return written;
      }
      const absl::Status status =
          file->Write(*transaction, file->size(), RandomBytes(kChunk, file->size() / kChunk));
      EXPECT_TRUE(status.ok()) << status;
      if (!status.ok()) return written;
    }
  }

  void ExpectFilled(const store::Object& file) {
    const Bytes content = ContentOf(file);
    ASSERT_EQ(content.size() % kChunk, 0u);
    for (uint64_t i = 0; i < content.size() / kChunk; ++i) {
      const auto chunk = content.begin() + static_cast<ptrdiff_t>(i * kChunk);
      ASSERT_TRUE(std::equal(chunk, chunk + kChunk, RandomBytes(kChunk, i).begin())) << i;
    }
  }

  void ExpectKept() {
    Bytes now = RandomBytes(2 * kMiB, 1);
    const Bytes changed = RandomBytes(kMiB, 2);
    std::copy(changed.begin(), changed.end(), now.begin());
    EXPECT_TRUE(ContentOf(*kept_) == now);
    if (snapshot_ == nullptr) return;
    EXPECT_TRUE(ContentOf(*snapshot_) == RandomBytes(2 * kMiB, 1));
  }

  void Reopen() {
    const uint64_t kept = kept_->number().value();
    const uint64_t snapshot = snapshot_ == nullptr ? 0 : snapshot_->number().value();
    kept_.reset();
    snapshot_.reset();
    volume_->Reopen();
    kept_ = volume_->Open(kept);
    if (snapshot != 0) snapshot_ = volume_->Open(snapshot);
  }

  void TakeHostSpaceBack() { std::filesystem::remove(*host_ / "foreign"); }

  std::optional<SmallFilesystem> host_;
  std::optional<Volume> volume_;
  ObjectPointer kept_;
  ObjectPointer snapshot_;
  uint64_t given_back_ = 0;
};

TEST_F(FullHostTest, WhatIsReadyCanBeWrittenThenWritesFailAndNothingIsLost) {
  host_->Fill("foreign");
  ObjectPointer file = volume_->CreateFile();
  EXPECT_GT(Fill(file), 12 * kMiB);  // what stayed warm
  EXPECT_EQ(Fill(file), 0u);
  EXPECT_TRUE((*volume_)->health().ok());
  volume_->Commit();
  volume_->ExpectClean();
  ExpectKept();
  ExpectFilled(*file);

  TakeHostSpaceBack();
  EXPECT_GT(Fill(file), given_back_ - 2 * kMiB);
  volume_->Commit();
  volume_->ExpectClean();
  ExpectKept();
  ExpectFilled(*file);
}

TEST_F(FullHostTest, AFullVolumeOpensAndItsReserveIsEnoughToFreeSpace) {
  host_->Fill("foreign");
  ObjectPointer file = volume_->CreateFile();
  Fill(file);
  volume_->Commit();
  const uint64_t number = file->number().value();
  file.reset();
  Reopen();
  file = volume_->Open(number);
  EXPECT_LT(Fill(file), kMiB);
  EXPECT_TRUE((*volume_)->health().ok());

  volume_->Remove(snapshot_);
  snapshot_.reset();
  volume_->Commit();
  volume_->Truncate(file, kChunk);
  volume_->Commit();
  EXPECT_GT(Fill(file), 12 * kMiB);
  volume_->ExpectClean();
  ExpectKept();
  ExpectFilled(*file);
}

TEST_F(FullHostTest, ManyObjectsAreRemovedFromAFullVolume) {
  std::vector<ObjectPointer> files;
  for (uint64_t i = 0; i < 600; ++i) {
    files.push_back(volume_->CreateFile(RandomBytes(2 * kPageSize, i)));
    if (i % 3 == 0) files.push_back(volume_->Snapshot(files.back()));
  }
  volume_->Settle();
  host_->Fill("foreign");
  ObjectPointer file = volume_->CreateFile();
  Fill(file);
  for (size_t i = 0; i < files.size(); ++i) {
    volume_->Remove(files[i]);
    if (i % 7 == 0) volume_->Commit();
    ASSERT_FALSE(HasFailure()) << "removal " << i;
  }
  files.clear();
  volume_->Settle();
  EXPECT_GT(Fill(file), 600 * 2 * kPageSize / 2);
  volume_->ExpectClean();
  ExpectKept();
  ExpectFilled(*file);
}

TEST_F(FullHostTest, TheLittleThatTheHostHasIsUsed) {
  constexpr uint64_t kLeft = 3 * kMiB;
  host_->Fill("foreign");
  ObjectPointer file = volume_->CreateFile();
  Fill(file);
  std::filesystem::resize_file(*host_ / "foreign",
                               std::filesystem::file_size(*host_ / "foreign") - kLeft);
  EXPECT_GT(Fill(file), kLeft - kMiB);
  volume_->Commit();
  volume_->ExpectClean();
  ExpectKept();
  ExpectFilled(*file);
}

TEST_F(FullHostTest, AVolumeThatLostItsWarmFramesOpensAndCanFreeSpace) {
  Reopen();
  host_->Fill("foreign");
  volume_->Remove(snapshot_);
  snapshot_.reset();
  volume_->Settle();
  ObjectPointer file = volume_->CreateFile();
  EXPECT_GT(Fill(file), 12 * kMiB);
  volume_->Commit();
  volume_->ExpectClean();
  ExpectKept();
  ExpectFilled(*file);
}

}  // namespace
}  // namespace cow::test
