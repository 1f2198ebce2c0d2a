#include "tests/fs/volume.h"

namespace cow::fs {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

TEST(TreeTest, TheRootsSnapshotsAreInTheirDirectory) {
  TestVolume volume;
  volume.MakeDirectory("d");
  volume.MakeFile("d/f", "one");
  volume.Snapshot("", "mon");
  volume.Write("d/f", "two");
  volume.MakeFile("later", "x");
  EXPECT_EQ(volume.Read(".snapshots/mon/d/f"), "one");
  EXPECT_EQ(volume.Error(".snapshots/mon/later"), ENOENT);
  EXPECT_THAT(volume.List(".snapshots"), ElementsAre("@deleted", "mon"));
  EXPECT_THAT(volume.List(""), UnorderedElementsAre("d", "later"));
  EXPECT_THAT(volume.List(".snapshots/mon"), ElementsAre("d"));
  EXPECT_EQ(volume.Id(".snapshots/mon/.."), volume.Id(".snapshots"));
  EXPECT_EQ(volume->FindSnapshot("", "mon")->node, volume.Id(".snapshots/mon"));
  EXPECT_TRUE(volume.Stat(".snapshots/mon").tree_root);
}

TEST(TreeTest, ATreeIsSnapshottedAsOne) {
  TestVolume volume;
  volume.MakeTree("t");
  volume.MakeDirectory("t/d");
  volume.MakeFile("t/d/f", "one");
  EXPECT_NE(volume.Id("t").tree, kRoot.tree);
  volume.Snapshot("t", "mon");
  volume.Write("t/d/f", "two");
  EXPECT_EQ(volume.Read("t@mon/d/f"), "one");
  EXPECT_EQ(volume.Read("t/d/f"), "two");
  EXPECT_EQ(volume.Id("t/d/../.."), kRoot);
  EXPECT_EQ(volume->PathOf(volume.Id("t/d/f")).value(), "t/d/f");
  volume.Reopen();
  EXPECT_EQ(volume.Read("t@mon/d/f"), "one");
  auto trees = volume->ListTrees();
  ASSERT_EQ(trees->size(), 2u);
  EXPECT_EQ(trees->at(1).path, "t");
  EXPECT_EQ(trees->at(1).snapshots, 1u);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(TreeTest, NothingCrossesItsBorder) {
  TestVolume volume;
  volume.MakeTree("t");
  volume.MakeFile("t/f", "x");
  volume.MakeFile("g", "y");
  EXPECT_EQ(volume.Rename("t/f", "f"), EXDEV);
  EXPECT_EQ(volume.Rename("g", "t/g"), EXDEV);
  EXPECT_EQ(volume.Link("t/f", "f"), EXDEV);
  volume.MakeDirectory("d");
  volume.MakeDirectory("e");
  EXPECT_EQ(volume.Rename("e", "t"), EBUSY);
  EXPECT_EQ(volume.Rename("t", "d/t"), 0);
  EXPECT_EQ(volume.Read("d/t/f"), "x");
  EXPECT_EQ(volume->PathOf(volume.Id("d/t/f")).value(), "d/t/f");
  EXPECT_EQ(volume.Stat("d").nlink, 3u);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(TreeTest, ItsSnapshotsOutliveIt) {
  TestVolume volume;
  volume.MakeTree("t");
  volume.MakeFile("t/f", "x");
  volume.Snapshot("t", "mon");
  EXPECT_EQ(volume.RemoveDirectory("t"), ENOTEMPTY);
  ASSERT_EQ(volume.Unlink("t/f"), 0);
  ASSERT_EQ(volume.RemoveDirectory("t"), 0);
  EXPECT_EQ(volume.Error("t"), ENOENT);
  volume.Reopen();
  EXPECT_EQ(volume.Read("t@mon/f"), "x");
  ASSERT_EQ(volume.Clone("t@mon", "back"), 0);
  EXPECT_EQ(volume.Read("back/f"), "x");
  EXPECT_EQ(volume.Destroy("t", "mon"), 0);
  EXPECT_EQ(volume.Error("t@mon"), ENOENT);
  EXPECT_EQ(volume.Read("back/f"), "x");
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(TreeTest, NestedTreesAreEmptyInSnapshotsAndClones) {
  TestVolume volume;
  volume.MakeTree("t");
  volume.MakeTree("t/in");
  volume.MakeFile("t/in/f", "x");
  volume.Snapshot("t", "mon");
  EXPECT_THAT(volume.List("t@mon"), ElementsAre("in"));
  EXPECT_THAT(volume.List("t@mon/in"), IsEmpty());
  ASSERT_EQ(volume.Clone("t@mon", "c"), 0);
  EXPECT_THAT(volume.List("c/in"), IsEmpty());
  EXPECT_EQ(volume.RemoveDirectory("c/in"), 0);
  EXPECT_EQ(volume.Read("t/in/f"), "x");
  EXPECT_EQ(volume.RemoveDirectory("c"), 0);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(TreeTest, RollBackBringsTheTreeBackAndKeepsWhatWas) {
  TestVolume volume;
  volume.MakeTree("t");
  volume.MakeDirectory("t/d");
  const Node file = volume.MakeFile("t/d/f", "one");
  volume.Snapshot("t", "mon");
  volume.Write("t/d/f", "two");
  volume.Snapshot("t/d/f", "own");
  volume.MakeFile("t/new", "new");
  FileHandle open = volume->OpenFile(volume.Id("t/new")).value();
  std::string kept;
  ASSERT_EQ(volume.RollBack("t", "mon", &kept), 0);
  EXPECT_EQ(volume.Read("t/d/f"), "one");
  EXPECT_EQ(volume.Id("t/d/f"), file.id);
  EXPECT_EQ(volume.Error("t/new"), ENOENT);
  EXPECT_EQ(ErrnoOf(open.Write(0, std::as_bytes(std::span("y")))), ESTALE);
  EXPECT_EQ(volume.Read("t@" + kept + "/new"), "new");
  EXPECT_EQ(volume.Read("t@" + kept + "/d/f"), "two");
  EXPECT_EQ(volume.Read("t/d/f@own"), "two");
  // Numbers are not given again.
  const Node next = volume.MakeFile("t/next");
  EXPECT_GT(next.id.object, open.id().object);
  EXPECT_THAT(volume.Damages(), IsEmpty());
  ASSERT_EQ(volume.RollBack("t", kept), 0);
  EXPECT_EQ(volume.Read("t/new"), "new");
  volume.Reopen();
  EXPECT_EQ(volume.Read("t/d/f"), "two");
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(TreeTest, RollBackBringsRemovedFilesBackAlsoOpenOnes) {
  TestVolume volume;
  volume.MakeFile("f", "one");
  volume.Snapshot("f", "own");
  volume.Snapshot("", "mon");
  FileHandle open = volume->OpenFile(volume.Id("f")).value();
  ASSERT_EQ(volume.Unlink("f"), 0);
  EXPECT_EQ(volume.Read("f@own"), "one");
  ASSERT_EQ(volume.RollBack("", "mon"), 0);
  EXPECT_EQ(volume.Stat("f").nlink, 1u);
  volume.Write("f", "two");
  EXPECT_EQ(TestVolume::Read(open), "one");
  EXPECT_EQ(volume.Read("f@own"), "one");
  EXPECT_EQ(volume->GetSnapshot(volume.Id("f"), "own")->removed, false);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(TreeTest, SnapshotsOfFilesThatARollbackTookAreFoundWhereTheyWere) {
  TestVolume volume;
  volume.Snapshot("", "empty");
  volume.MakeFile("f", "one");
  volume.Snapshot("f", "own");
  ASSERT_EQ(volume.RollBack("", "empty"), 0);
  EXPECT_EQ(volume.Error("f"), ENOENT);
  EXPECT_EQ(volume.Read("f@own"), "one");
  EXPECT_THAT(volume.List(".snapshots/@deleted"), IsEmpty());
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(TreeTest, ATreeMovesBackOntoTheStubThatARollbackLeft) {
  TestVolume volume;
  volume.MakeDirectory("d");
  volume.MakeTree("t");
  volume.MakeFile("t/f", "x");
  volume.Snapshot("", "mon");
  ASSERT_EQ(volume.Rename("t", "d/t"), 0);
  ASSERT_EQ(volume.RollBack("", "mon"), 0);
  EXPECT_THAT(volume.List("t"), IsEmpty());
  EXPECT_EQ(volume.Read("d/t/f"), "x");
  ASSERT_EQ(volume.Rename("d/t", "t"), 0);
  EXPECT_EQ(volume.Read("t/f"), "x");
  EXPECT_EQ(volume.Error("d/t"), ENOENT);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(TreeTest, NestedTreesStayWhereTheyAreOverARollback) {
  TestVolume volume;
  volume.MakeDirectory("d");
  volume.Snapshot("", "before");
  volume.MakeTree("d/t");
  volume.MakeFile("d/t/f", "x");
  ASSERT_EQ(volume.RollBack("", "before"), 0);
  EXPECT_EQ(volume.Read("d/t/f"), "x");
  EXPECT_EQ(volume->PathOf(volume.Id("d/t/f")).value(), "d/t/f");
  EXPECT_THAT(volume.Damages(), IsEmpty());
  volume.MakeDirectory("e");
  ASSERT_EQ(volume.Rename("d/t", "e/t"), 0);
  EXPECT_EQ(volume.RollBack("", "before"), EBUSY);
  EXPECT_EQ(volume.Read("e/t/f"), "x");
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

}  // namespace
}  // namespace cow::fs
