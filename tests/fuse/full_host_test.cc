// A mounted volume whose host filesystem has no space left.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/fuse/mount.h"
#include "tests/support/small_filesystem.h"

namespace cow::test {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kHost = 64 * kMiB;
constexpr size_t kChunk = 128 << 10;

class FullHostTest : public testing::Test {
 protected:
  void SetUp() override {
    REQUIRE_FUSE();
    REQUIRE_SMALL_FILESYSTEM();
    host_.emplace(kHost);
    mount_.emplace(*host_ / "volume");
    ASSERT_TRUE(mount_->Start());
    ASSERT_TRUE(Put(*mount_ / "kept", kept_));
  }
  void TearDown() override {
    mount_.reset();
    host_.reset();
  }

  // Appends until write(2) says that there is no space, then makes durable what it took; returns
  // what that was.
  std::string Fill(const std::string& name) {
    const Descriptor file(*mount_ / name, O_WRONLY | O_CREAT | O_APPEND);
    EXPECT_GE(file, 0) << std::strerror(errno);
    std::string accepted;
    for (uint32_t i = 0; file >= 0; ++i) {
      const std::string chunk = Content(kChunk, i);
      const ssize_t count = write(file, chunk.data(), chunk.size());
      if (count < 0) break;
      accepted.append(chunk, 0, count);
    }
    EXPECT_EQ(errno, ENOSPC) << std::strerror(errno);
    EXPECT_EQ(fsync(file), 0) << std::strerror(errno);
    return accepted;
  }

  void ExpectKept() {
    EXPECT_TRUE(Get(*mount_ / "kept") == kept_);
    EXPECT_EQ(mount_->Check(), "");
  }

  const std::string kept_ = Content(3 * kMiB + 17, 1);
  std::optional<SmallFilesystem> host_;
  std::optional<Mount> mount_;
};

TEST_F(FullHostTest, WritesFailWhatWasAcceptedIsDurableAndRemovingMakesRoom) {
  const std::string filler = Fill("filler");
  EXPECT_GT(filler.size(), kHost / 2);
  EXPECT_TRUE(Get(*mount_ / "filler") == filler);
  ExpectKept();
  // As a power failure would find it, but for the kernel's cache.
  ASSERT_TRUE(mount_->Restart());
  EXPECT_TRUE(Get(*mount_ / "filler") == filler);
  EXPECT_FALSE(Put(*mount_ / "another", "a"));
  EXPECT_EQ(errno, ENOSPC) << std::strerror(errno);
  ExpectKept();

  EXPECT_EQ(unlink((*mount_ / "filler").c_str()), 0) << std::strerror(errno);
  const std::string more = Fill("more");
  EXPECT_GT(more.size(), filler.size() - 2 * kMiB);
  EXPECT_EQ(mount_->Unmount(), 0);
  ASSERT_TRUE(mount_->Start());
  EXPECT_TRUE(Get(*mount_ / "more") == more);
  ExpectKept();
}

TEST_F(FullHostTest, DestroyingASnapshotAndRemovingWhatElseIsOnTheHostMakeRoom) {
  constexpr uint64_t kHeld = 8 * kMiB;
  ASSERT_TRUE(Put(*mount_ / "changed", Content(kHeld, 2)));
  ASSERT_EQ(mount_->TakeSnapshot("/changed", "mon"), absl::OkStatus());
  ASSERT_TRUE(Put(*mount_ / "changed", Content(kHeld, 3)));
  host_->Fill("foreign", 2 * kMiB);
  const std::string filler = Fill("filler");
  EXPECT_TRUE(Get(*mount_ / "changed@mon") == Content(kHeld, 2));

  EXPECT_EQ(mount_->Destroy("/changed", "mon"), absl::OkStatus());
  EXPECT_GT(Fill("filler2").size(), kHeld - kMiB);

  EXPECT_EQ(unlink((*host_ / "foreign").c_str()), 0) << std::strerror(errno);
  EXPECT_GT(Fill("filler3").size(), kHost / 4);
  EXPECT_TRUE(Get(*mount_ / "filler") == filler);
  EXPECT_TRUE(Get(*mount_ / "changed") == Content(kHeld, 3));
  ExpectKept();
}

TEST_F(FullHostTest, TruncatingMakesRoom) {
  const std::string filler = Fill("filler");
  {
    const Descriptor file(*mount_ / "filler", O_RDWR);
    EXPECT_EQ(ftruncate(file, kMiB), 0) << std::strerror(errno);
    EXPECT_EQ(fsync(file), 0) << std::strerror(errno);
  }
  EXPECT_TRUE(Get(*mount_ / "filler") == filler.substr(0, kMiB));
  EXPECT_GT(Fill("more").size(), filler.size() - 3 * kMiB);
  ExpectKept();
}

}  // namespace
}  // namespace cow::test
