// Mappings that are touched long after they were made, when all that they were made of is gone.
#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cow/mapping.h"
#include "tests/core/volumes.h"
#include "tests/support/small_filesystem.h"

namespace cow {
namespace {

class UntouchedTest : public EachVolume {
 protected:
  static constexpr size_t kSize = 7 * kMiB + 5;

  static std::string Text(char first, size_t size = kSize) {
    std::string text(size, '\0');
    for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(first + i / 4096 % 23);
    return text;
  }
  static std::vector<Snapshot> SnapshotsOf(const Tree& tree) {
    std::vector<Snapshot> snapshots;
    const std::vector<Entry> entries = tree.ListSnapshots().value();
    for (const Entry& entry : entries) {
      snapshots.push_back(tree.OpenSnapshot(entry.snapshot).value());
    }
    return snapshots;
  }
  // Writes and removes files until frames that became free have been used again.
  void UseFreeFrames() {
    for (int round = 0; round < 6; ++round) {
      const std::string name = "/churn" + std::to_string(round % 2);
      if (round >= 2) {
        ASSERT_EQ(volume_.Remove(name), absl::OkStatus());
      }
      MakeFile(volume_, name, Text('0', 24 * kMiB));
      ASSERT_EQ(volume_.Sync(), absl::OkStatus());
    }
    for (const char* name : {"/churn0", "/churn1"}) {
      ASSERT_EQ(volume_.Remove(name), absl::OkStatus());
    }
  }
};
COW_EACH_VOLUME(UntouchedTest);

TEST_P(UntouchedTest, WhatIsMappedStaysAfterItsSnapshotIsDestroyed) {
  const std::string text = Text('a');
  for (const Access access : {Access::kRead, Access::kScratch}) {
    std::optional<Mapping> mapping;
    {
      File file = MakeFile(volume_, "/a", text);
      Snapshot snapshot = file.TakeSnapshot("s").value();
      ASSERT_EQ(volume_.Sync(), absl::OkStatus());
      mapping.emplace(snapshot.Map(access).value());
      ASSERT_EQ(snapshot.Destroy(), absl::OkStatus());
    }
    ASSERT_EQ(volume_.Remove("/a"), absl::OkStatus());
    UseFreeFrames();
    EXPECT_TRUE(Same(TextOf(*mapping), text));
    EXPECT_EQ(mapping->status(), absl::OkStatus());
    mapping.reset();
    ExpectSound(volume_);
  }
}

TEST_P(UntouchedTest, WhatIsMappedOfAFileStaysWhateverIsDoneToIt) {
  const std::string text = Text('a');
  File file = MakeFile(volume_, "/a", text);
  Snapshot empty = file.TakeSnapshot("full").value();
  const Mapping first = file.Map(Access::kRead).value();
  const Mapping second = file.Map(Access::kScratch).value();
  ASSERT_EQ(file.Write(3 * kMiB, AsBytes("other")), absl::OkStatus());
  ASSERT_EQ(file.Punch(kMiB, kMiB), absl::OkStatus());
  ASSERT_TRUE(file.Defragment({.unshare = true, .progress = {}}).ok());
  ASSERT_TRUE(volume_.RollBack(empty).ok());
  ASSERT_EQ(file.Truncate(0), absl::OkStatus());
  ASSERT_EQ(empty.Destroy(), absl::OkStatus());
  UseFreeFrames();
  EXPECT_TRUE(Same(TextOf(first), text));
  EXPECT_TRUE(Same(TextOf(second), text));
  ExpectSound(volume_);
}

TEST_P(UntouchedTest, WhatIsMappedOfATreeStaysAfterItsSnapshotIsDestroyed) {
  const std::string text = Text('a');
  Tree tree = volume_.CreateTree("/tree").value();
  MakeFile(volume_, "/tree/a", text);
  Snapshot snapshot = tree.TakeSnapshot("s").value();
  const Mapping first = volume_.OpenFile("/tree@s/a")->Map(Access::kRead).value();
  const Mapping second = volume_.OpenFile("/tree/a")->Map(Access::kScratch).value();
  ASSERT_EQ(volume_.Remove("/tree/a"), absl::OkStatus());
  ASSERT_TRUE(volume_.RollBack(snapshot).ok());
  ASSERT_EQ(volume_.Remove("/tree/a"), absl::OkStatus());
  ASSERT_EQ(volume_.Sync(), absl::OkStatus());
  for (Snapshot& left : SnapshotsOf(tree)) ASSERT_EQ(left.Destroy(), absl::OkStatus());
  UseFreeFrames();
  EXPECT_TRUE(Same(TextOf(first), text)) << first.status();
  EXPECT_TRUE(Same(TextOf(second), text)) << second.status();
  ExpectSound(volume_);
}

TEST_P(UntouchedTest, WhatIsMappedForWritingStaysAfterItsTreeIsRemoved) {
  const std::string text = Text('a');
  ASSERT_TRUE(volume_.CreateTree("/tree").ok());
  std::optional<Mapping> live;
  std::optional<Mapping> frozen;
  {
    const File file = MakeFile(volume_, "/tree/a", text);
    frozen.emplace(volume_.OpenFile("/tree/a")->Map(Access::kRead).value());
    live.emplace(volume_.OpenFile("/tree/a")->Map(Access::kWrite).value());
  }
  Store(*live, 0, "first");
  ASSERT_EQ(volume_.Remove("/tree/a"), absl::OkStatus());
  ASSERT_EQ(volume_.Remove("/tree"), absl::OkStatus());
  UseFreeFrames();
  Store(*live, 5 * kMiB, "last");
  EXPECT_EQ(live->Seal(), absl::OkStatus());
  std::string expected = text;
  expected.replace(0, 5, "first").replace(5 * kMiB, 4, "last");
  EXPECT_TRUE(Same(TextOf(*frozen), text));
  EXPECT_TRUE(Same(TextOf(*live), expected));
  live.reset();
  frozen.reset();
  ExpectSound(volume_);
}

// XFS holds a lock of the volume file while a read waits for memory, and whoever provides that reads
// the file.
TEST(UntouchedHostTest, ItIsReadIntoWhileOthersAreWritten) {
  if (const std::string why = test::WhyNoFilesystem("xfs"); !why.empty()) GTEST_SKIP() << why;
  const test::SmallFilesystem host(512 * kMiB, "xfs");
  const std::string path = host / "volume.cow";
  const std::string text(64 * kMiB, 't');
  {
    Volume volume = Volume::Open(path, {.create = true}).value();
    MakeFile(volume, "/a", text);
    MakeFile(volume, "/b", "");
  }
  for (int round = 0; round < 3; ++round) {
    // So that what is read is verified.
    Volume volume = Volume::Open(path).value();
    const File file = volume.OpenFile("/a").value();
    File other = volume.OpenFile("/b").value();
    const Mapping target = volume.OpenFile("/a")->Map(Access::kScratch).value();
    std::atomic<bool> stop = false;
    std::thread writer([&] {
      while (!stop) EXPECT_EQ(other.Write(0, AsBytes(text).first(8 * kMiB)), absl::OkStatus());
    });
    EXPECT_EQ(file.Read(0, target.bytes()).value(), text.size());
    stop = true;
    writer.join();
    EXPECT_TRUE(Same(TextOf(target), text));
  }
}

TEST(UntouchedReaderTest, WhatAReaderMapsStaysWhileAnotherProcessWrites) {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "volume.cow";
  std::string text(6 * kMiB, 't');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i / 4096 % 23);
  Volume writer = Volume::Open(path, {.create = true}).value();
  File file = MakeFile(writer, "/a", text);
  ASSERT_EQ(writer.Sync(), absl::OkStatus());
  std::optional<Mapping> mapping;
  {
    Volume reader = Volume::Open(path, {.read_only = true}).value();
    mapping.emplace(reader.OpenFile("/a")->Map(Access::kRead).value());
  }
  for (int round = 0; round < 8; ++round) {
    std::string other(text.size(), static_cast<char>('0' + round));
    ASSERT_EQ(file.Write(0, AsBytes(other)), absl::OkStatus());
    ASSERT_EQ(writer.Sync(), absl::OkStatus());
  }
  EXPECT_TRUE(Same(TextOf(*mapping), text));
  EXPECT_EQ(mapping->status(), absl::OkStatus());
}

}  // namespace
}  // namespace cow
