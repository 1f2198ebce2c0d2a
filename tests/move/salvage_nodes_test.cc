// Salvage where nodes of the newest commit are damaged: what the commit before has of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "cow/format/geometry.h"
#include "cow/move/salvage.h"
#include "tests/fs/volume.h"
#include "tests/move/damaged_volume.h"
#include "tests/move/host_tree.h"
#include "tests/move/some_of_everything.h"

namespace cow::move {
namespace {

using format::Entry;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A volume that was not closed: its last commit changed something in all tables.
class SalvageOfTwoCommitsTest : public SalvageOfNodesTest {
 protected:
  void SetUp() override {
    Populate(volume_);
    ASSERT_EQ(volume_->Sync(), absl::OkStatus());
    before_ = ExpectedOf(volume_);
    volume_.Write("a", "changed");
    volume_.MakeFile("late", "made last");
    volume_.Snapshot("a", "wed");
    ASSERT_EQ(volume_->Sync(), absl::OkStatus());
    Take(volume_);
  }

  // All that begins with `prefix` is as it was before the last commit.
  void ExpectAsBefore(const std::string& prefix) const {
    for (const auto& [path, entry] : before_) {
      if (!path.starts_with(prefix)) continue;
      ASSERT_TRUE(found_.contains(path)) << path;
      EXPECT_EQ(found_.at(path), entry) << path;
    }
  }

  TestVolume volume_;
  HostTree before_;
};

TEST_F(SalvageOfTwoCommitsTest, WithoutTheTableOfTreesIsTheCommitBefore) {
  Destroy(Superblock().trees.root.frame());
  const SalvageResult result = Run();
  ExpectAsBefore("live");
  EXPECT_FALSE(found_.contains("live/late"));
  // Snapshots are of another table, which is whole.
  ExpectAsBefore("snapshots");
  EXPECT_EQ(Content("snapshots/also-a@wed"), "changed");
  EXPECT_THAT(Lines(result), Contains(AllOf(StartsWith("/: what changed in the last commit lost: "),
                                            HasSubstr("checksum does not match"))));
}

TEST_F(SalvageOfTwoCommitsTest, WithoutTheRootOfATreeIsTheCommitBefore) {
  Destroy(RootOfTree(1).frame());
  const SalvageResult result = Run();
  ExpectAsBefore("live");
  ExpectAsBefore("snapshots");
  EXPECT_FALSE(found_.contains("live/late"));
  EXPECT_THAT(Lines(result),
              Contains(AllOf(StartsWith("/: what changed in the last commit of objects 0 to "),
                             HasSubstr("checksum does not match"))));
  // Each file says so too.
  EXPECT_THAT(Lines(result), Contains(StartsWith("/a: what changed in the last commit lost: ")));
}

TEST_F(SalvageOfTwoCommitsTest, WithoutTheCatalogHasTheSnapshotsOfTheCommitBefore) {
  Destroy(Superblock().catalog.root.frame());
  const SalvageResult result = Run();
  ExpectAsBefore("snapshots");
  EXPECT_FALSE(found_.contains("snapshots/also-a@wed"));
  EXPECT_EQ(Content("live/a"), "changed");
  EXPECT_EQ(Content("live/late"), "made last");
  EXPECT_EQ(result.snapshots, 8u);
  EXPECT_THAT(Lines(result),
              Contains(StartsWith("/: what changed in the last commit of the catalog of snapshots "
                                  "lost: ")));
}

TEST_F(SalvageOfTwoCommitsTest, WithNamesThatRottedHasThoseOfTheCommitBefore) {
  Destroy(RecordIn(RootOfTree(1), 1).root.frame());  // its only page
  const SalvageResult result = Run();
  ExpectAsBefore("live/dir");
  ExpectAsBefore("live/t/");
  EXPECT_EQ(Content("live/a"), "changed");  // the name is of before, the content is not
  EXPECT_FALSE(found_.contains("live/late"));
  std::set<std::string> nameless;
  for (const auto& [path, entry] : found_) {
    if (path.starts_with("live/lost+found/") && S_ISREG(entry.mode)) nameless.insert(entry.content);
  }
  EXPECT_EQ(nameless, std::set<std::string>{"made last"});
  EXPECT_THAT(Lines(result), Contains(StartsWith("/: names in bytes ")));
}

TEST_F(SalvageOfTwoCommitsTest, WithoutTheNodeOfAFileHasItsContentOfTheCommitBefore) {
  const std::string early = Text(5 * kPageSize, 'E');
  volume_.MakeFile("grown", early);
  ASSERT_EQ(volume_->Sync(), absl::OkStatus());
  {
    auto handle = volume_->OpenFile(volume_.Id("grown"));
    const std::string late = Text(kPageSize, 'L');
    ASSERT_EQ(handle->Write(early.size(), std::as_bytes(std::span(late))), absl::OkStatus());
  }
  ASSERT_EQ(volume_->Sync(), absl::OkStatus());
  Take(volume_);
  // The node of level 1 with six pages.
  std::optional<FrameNumber> node;
  const uint64_t frames = file_->Size().value() / kPageSize;
  for (FrameNumber frame(format::kZoneHeader); frame.value() < frames; frame = frame + 1) {
    const std::string bytes = ReadFrame(*file_, frame);
    if (bytes != std::string(kPageSize, '\0') &&
        bytes.find_first_not_of('\0', 6 * sizeof(Entry)) == std::string::npos &&
        bytes[5 * sizeof(Entry)] != '\0') {
      EXPECT_FALSE(node.has_value());
      node = frame;
    }
  }
  ASSERT_TRUE(node.has_value());
  Destroy(*node);
  const SalvageResult result = Run();
  EXPECT_TRUE(Content("live/grown") == early + std::string(kPageSize, '\0'));
  ASSERT_EQ(result.losses.size(), 1u);
  EXPECT_EQ(result.losses[0].path, "/grown");
  EXPECT_EQ(result.losses[0].part, "what changed in the last commit of bytes 0 to 24576");
}

}  // namespace
}  // namespace cow::move
