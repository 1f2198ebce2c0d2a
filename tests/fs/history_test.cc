// Where snapshots of what moved or is gone are found.
#include "tests/fs/volume.h"

namespace cow::fs {
namespace {

using testing::IsEmpty;

TEST(HistoryTest, ANameShowsOnlyWhatWasTakenBeforeItWasLeft) {
  TestVolume volume;
  volume.MakeFile("x", "public");
  volume.Snapshot("x", "mon");
  volume.MakeDirectory("closed");
  ASSERT_EQ(volume.Rename("x", "closed/x"), 0);
  volume.Write("closed/x", "secret");
  volume.Snapshot("closed/x", "tue");
  ASSERT_EQ(volume.Unlink("closed/x"), 0);
  EXPECT_EQ(volume.Read("x@mon"), "public");
  EXPECT_EQ(volume.Error("x@tue"), ENOENT);
  EXPECT_EQ(volume.Read("closed/x@tue"), "secret");
  volume.Reopen();
  EXPECT_EQ(volume.Error("x@tue"), ENOENT);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(HistoryTest, OfWhatIsAliveNothingIsUnderDeleted) {
  TestVolume volume;
  const Node node = volume.MakeFile("x", "one");
  volume.Snapshot("x", "mon");
  const std::string name = ".snapshots/@deleted/#1." + std::to_string(node.id.object);
  EXPECT_EQ(volume.Error(name + "@mon"), ENOENT);
  ASSERT_EQ(volume.Unlink("x"), 0);
  EXPECT_EQ(volume.Read(name + "@mon"), "one");
  // It has this name whatever comes to hide the other.
  volume.MakeFile("x", "two");
  const auto infos = volume.Snapshots();
  ASSERT_EQ(infos.size(), 1u);
  EXPECT_EQ(infos[0].path, "x");
  EXPECT_EQ(volume.Read(infos[0].deleted_path + "@mon"), "one");
}

TEST(HistoryTest, TheNamesThatAFileLeftAreCountedOut) {
  TestVolume volume;
  volume.MakeFile("n0", "one");
  volume.Snapshot("n0", "mon");
  constexpr int kNames = 200;
  for (int i = 0; i < kNames; ++i) {
    ASSERT_EQ(volume.Rename("n" + std::to_string(i), "n" + std::to_string(i + 1)), 0);
  }
  ASSERT_EQ(volume.Unlink("n" + std::to_string(kNames)), 0);
  EXPECT_EQ(volume.Error("n0@mon"), ENOENT);
  EXPECT_EQ(volume.Read("n" + std::to_string(kNames) + "@mon"), "one");
  EXPECT_EQ(volume.Read("n" + std::to_string(kNames - 63) + "@mon"), "one");
  EXPECT_EQ(volume.Error("n" + std::to_string(kNames - 64) + "@mon"), ENOENT);
  EXPECT_THAT(volume.Damages(), IsEmpty());
  EXPECT_EQ(volume.Destroy("n" + std::to_string(kNames), "mon"), 0);
  EXPECT_EQ(volume.Error("n" + std::to_string(kNames) + "@mon"), ENOENT);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(HistoryTest, OneOfAPathTooDeepToBeUsedDoesNotSpoilTheList) {
  TestVolume volume;
  volume.MakeFile("x", "one");
  volume.Snapshot("x", "mon");
  NodeId directory = kRoot;
  for (int depth = 0; depth < 5000; ++depth) {
    auto made = volume->Make(directory, "d", {.type = FileType::kDirectory, .mode = 0755});
    ASSERT_TRUE(made.ok()) << made.status();
    directory = made->id;
  }
  auto file = volume->Make(directory, "f", {.type = FileType::kRegular, .mode = 0644});
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(volume->TakeSnapshot(file->id, "deep").ok());
  const auto infos = volume.Snapshots();
  ASSERT_EQ(infos.size(), 2u);
  EXPECT_EQ(infos[0].path, "x");
  EXPECT_EQ(volume->FindSnapshot(infos[1].path, "deep")->number, infos[1].number);
}

}  // namespace
}  // namespace cow::fs
