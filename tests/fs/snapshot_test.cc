#include "tests/fs/volume.h"

namespace cow::fs {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

int Code(const absl::Status& status) { return ErrnoOf(status); }

TEST(SnapshotTest, AFileIsReadInPlaceWhileItChanges) {
  TestVolume volume;
  volume.MakeDirectory("d");
  volume.MakeFile("d/file", "before");
  const SnapshotInfo taken = volume.Snapshot("d/file", "mon");
  EXPECT_EQ(taken.path, "d/file");
  EXPECT_EQ(taken.size, 6u);
  volume.Write("d/file", "after, and longer");
  EXPECT_EQ(volume.Read("d/file@mon"), "before");
  EXPECT_EQ(volume.Read("d/file"), "after, and longer");
  EXPECT_NE(volume.Id("d/file@mon"), volume.Id("d/file"));
  EXPECT_NE(InodeNumber(volume.Id("d/file@mon")), InodeNumber(volume.Id("d/file")));
  // Not listed.
  EXPECT_THAT(volume.List("d"), ElementsAre("file"));
  volume.Reopen();
  EXPECT_EQ(volume.Read("d/file@mon"), "before");
  EXPECT_EQ(volume.Error("d/file@tue"), ENOENT);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(SnapshotTest, EverythingInASnapshotIsReadOnly) {
  TestVolume volume;
  volume.MakeDirectory("d");
  volume.MakeFile("d/file", "x");
  volume.Snapshot("d/file", "mon");
  volume.Snapshot("", "all");
  const NodeId file = volume.Id("d/file@mon");
  const NodeId directory = volume.Id(".snapshots/all/d");
  const NewNode node = {.type = FileType::kRegular, .mode = 0644};
  EXPECT_EQ(Code(volume->Make(directory, "new", node).status()), EROFS);
  EXPECT_EQ(Code(volume->Unlink(directory, "file")), EROFS);
  EXPECT_EQ(Code(volume->SetAttributes(file, {.fields = AttributeChange::kMode}).status()), EROFS);
  EXPECT_EQ(Code(volume->SetXattr(file, "user.a", "b")), EROFS);
  EXPECT_EQ(Code(volume->OpenFile(file)->Write(0, std::as_bytes(std::span("y")))), EROFS);
  EXPECT_EQ(Code(volume->OpenFile(file)->Truncate(0)), EROFS);
  EXPECT_EQ(volume.Unlink("d/file@mon"), EROFS);
  EXPECT_EQ(volume.Rename("d/file@mon", "d/other"), EROFS);
  EXPECT_EQ(Code(volume->TakeSnapshot(file, "again").status()), EROFS);
  EXPECT_EQ(Code(volume->Make(kRoot, ".snapshots", node).status()), EEXIST);
  EXPECT_EQ(Code(volume->Make(volume.Id(".snapshots"), "x", node).status()), EROFS);
  EXPECT_EQ(Code(volume->Make(volume.Id("d"), "file@mon", node).status()), EEXIST);
}

TEST(SnapshotTest, ARealEntryWins) {
  TestVolume volume;
  volume.MakeFile("x", "file");
  volume.MakeFile("file@mon", "a real one");
  volume.Snapshot("x", "mon");
  ASSERT_EQ(volume.Rename("x", "file"), 0);
  EXPECT_EQ(volume.Read("file@mon"), "a real one");
  EXPECT_EQ(volume.Read(volume->FindSnapshot("file", "mon")->node), "file");
  ASSERT_EQ(volume.Unlink("file@mon"), 0);
  EXPECT_EQ(volume.Read("file@mon"), "file");
  // The last '@' splits.
  volume.MakeFile("x@y", "x at y");
  volume.Snapshot("x@y", "mon");
  EXPECT_EQ(volume.Read("x@y@mon"), "x at y");
}

TEST(SnapshotTest, NoneIsTakenThatARealEntryWouldHide) {
  TestVolume volume;
  volume.MakeDirectory("d");
  const Node file = volume.MakeFile("d/file", "file");
  volume.MakeFile("d/file@mon", "a real one");
  EXPECT_EQ(Code(volume->TakeSnapshot(file.id, "mon").status()), EEXIST);
  const SnapshotInfo taken = volume.Snapshot("d/file", "tue");
  EXPECT_EQ(Code(volume->RenameSnapshot(taken.number, "mon").status()), EEXIST);
  volume.MakeTree("d/t");
  volume.MakeDirectory("d/t@mon");
  EXPECT_EQ(Code(volume->TakeSnapshot(volume.Id("d/t"), "mon").status()), EEXIST);
  EXPECT_EQ(volume.Snapshots().size(), 1u);
}

TEST(SnapshotTest, OnlyFilesAndTreesHaveSnapshots) {
  TestVolume volume;
  volume.MakeDirectory("d");
  volume.Make("fifo", {.type = FileType::kFifo, .mode = 0600});
  volume.MakeFile("file");
  EXPECT_EQ(Code(volume->TakeSnapshot(volume.Id("d"), "mon").status()), EISDIR);
  EXPECT_EQ(Code(volume->TakeSnapshot(volume.Id("fifo"), "mon").status()), EINVAL);
  EXPECT_EQ(Code(volume->TakeSnapshot(volume.Id("file"), "a@b").status()), EINVAL);
  EXPECT_EQ(Code(volume->TakeSnapshot(volume.Id("file"), "a/b").status()), EINVAL);
  EXPECT_EQ(Code(volume->TakeSnapshot(volume.Id("file"), "").status()), EINVAL);
  volume.Snapshot("file", "mon");
  EXPECT_EQ(Code(volume->TakeSnapshot(volume.Id("file"), "mon").status()), EEXIST);
}

TEST(SnapshotTest, ItMovesWithItsFile) {
  TestVolume volume;
  volume.MakeDirectory("d");
  volume.MakeFile("a", "old");
  volume.Snapshot("a", "mon");
  ASSERT_EQ(volume.Rename("a", "d/b"), 0);
  EXPECT_EQ(volume.Read("d/b@mon"), "old");
  EXPECT_EQ(volume.Error("a@mon"), ENOENT);
  EXPECT_EQ(volume->GetSnapshot(volume.Id("d/b"), "mon")->path, "d/b");
  ASSERT_EQ(volume.Link("d/b", "c"), 0);
  EXPECT_EQ(volume.Id("c@mon"), volume.Id("d/b@mon"));
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(SnapshotTest, EditorsThatSaveByRenameLeaveItInPlace) {
  TestVolume volume;
  // Write beside, rename over.
  volume.MakeFile("x", "one");
  volume.Snapshot("x", "mon");
  volume.MakeFile("x.tmp", "two");
  ASSERT_EQ(volume.Rename("x.tmp", "x"), 0);
  EXPECT_EQ(volume.Read("x"), "two");
  EXPECT_EQ(volume.Read("x@mon"), "one");
  // Rename away, write anew, remove the old one.
  volume.Snapshot("x", "tue");
  ASSERT_EQ(volume.Rename("x", "x~"), 0);
  volume.MakeFile("x", "three");
  EXPECT_EQ(volume.Error("x@tue"), ENOENT);
  EXPECT_EQ(volume.Read("x~@tue"), "two");
  ASSERT_EQ(volume.Unlink("x~"), 0);
  EXPECT_EQ(volume.Read("x@tue"), "two");
  EXPECT_EQ(volume.Read("x@mon"), "one");
  volume.Reopen();
  EXPECT_EQ(volume.Read("x@mon"), "one");
  EXPECT_EQ(volume.Read("x~@tue"), "two");
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(SnapshotTest, OfRemovedFilesTheNewestIsFoundFirst) {
  TestVolume volume;
  for (const char* content : {"first", "second", "third"}) {
    volume.MakeFile("x", content);
    volume.Snapshot("x", "s");
    volume.Snapshot("x", content);
    ASSERT_EQ(volume.Unlink("x"), 0);
  }
  EXPECT_EQ(volume.Read("x@s"), "third");
  EXPECT_EQ(volume.Read("x@first"), "first");
  // The file that has the name now comes before all of them.
  volume.MakeFile("x", "fourth");
  EXPECT_EQ(volume.Read("x@s"), "third");
  volume.Snapshot("x", "s");
  EXPECT_EQ(volume.Read("x@s"), "fourth");
  // As they go, older ones come to light; what is hidden is in @deleted.
  EXPECT_EQ(volume.Snapshots().size(), 7u);
  EXPECT_EQ(volume.Destroy("x", "s"), 0);
  EXPECT_EQ(volume.Read("x@s"), "third");
  EXPECT_EQ(volume.Destroy("x", "s"), 0);
  EXPECT_EQ(volume.Read("x@s"), "second");
  for (const SnapshotInfo& info : volume.Snapshots()) {
    EXPECT_EQ(volume->FindSnapshot(info.path, info.name)->number, info.number) << info.path;
    EXPECT_TRUE(info.removed);
  }
  for (const SnapshotInfo& info : volume.Snapshots()) {
    EXPECT_EQ(volume->DestroySnapshot(info.number), absl::OkStatus());
  }
  EXPECT_EQ(volume.Error("x@first"), ENOENT);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(SnapshotTest, WithTheirDirectoryGoneTheyAreUnderDeleted) {
  TestVolume volume;
  volume.MakeDirectory("d");
  const Node node = volume.MakeFile("d/notes", "kept");
  volume.Snapshot("d/notes", "mon");
  ASSERT_EQ(volume.Unlink("d/notes"), 0);
  EXPECT_EQ(volume.Read("d/notes@mon"), "kept");
  EXPECT_THAT(volume.List(".snapshots/@deleted"), IsEmpty());
  ASSERT_EQ(volume.RemoveDirectory("d"), 0);
  volume.Reopen();
  const std::string name = "notes#1." + std::to_string(node.id.object);
  EXPECT_THAT(volume.List(".snapshots/@deleted"), ElementsAre(name + "@mon"));
  EXPECT_EQ(volume.Read(".snapshots/@deleted/" + name + "@mon"), "kept");
  EXPECT_EQ(volume.Read(".snapshots/@deleted/notes@mon"), "kept");
  EXPECT_EQ(volume.Snapshots().at(0).path, ".snapshots/@deleted/" + name);
  EXPECT_EQ(volume.Destroy(".snapshots/@deleted/" + name, "mon"), 0);
  EXPECT_THAT(volume.List(".snapshots/@deleted"), IsEmpty());
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(SnapshotTest, RenamesAndLists) {
  TestVolume volume;
  volume.MakeFile("x", "one");
  const SnapshotInfo first = volume.Snapshot("x", "a");
  volume.Write("x", "two");
  volume.Snapshot("x", "b");
  EXPECT_EQ(Code(volume->RenameSnapshot(first.number, "b").status()), EEXIST);
  EXPECT_EQ(volume->RenameSnapshot(first.number, "c")->name, "c");
  EXPECT_EQ(volume.Read("x@c"), "one");
  EXPECT_EQ(volume.Error("x@a"), ENOENT);
  auto list = volume->ListSnapshots(volume.Id("x"));
  ASSERT_EQ(list->size(), 2u);
  EXPECT_EQ(list->at(0).name, "c");
  EXPECT_EQ(list->at(1).name, "b");
  EXPECT_LT(list->at(0).created.tv_sec, list->at(1).created.tv_sec);
  EXPECT_EQ(volume->CountSnapshots(volume.Id("x")).value(), 2u);
  EXPECT_EQ(volume->GetSnapshot(first.number)->name, "c");
  EXPECT_EQ(Code(volume->GetSnapshot(9999).status()), ENOENT);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(SnapshotTest, RollBackKeepsWhatItReplacesAndWhatIsNewer) {
  TestVolume volume;
  const Node node = volume.MakeFile("x", "one");
  ASSERT_EQ(volume.Link("x", "y"), 0);
  volume.Snapshot("x", "a");
  volume.Write("x", "two");
  volume.Snapshot("x", "b");
  volume.Write("x", "three");
  FileHandle open = volume->OpenFile(node.id).value();
  std::string kept;
  ASSERT_EQ(volume.RollBack("x", "a", &kept), 0);
  EXPECT_THAT(kept, testing::StartsWith("rollback-2001"));
  EXPECT_EQ(volume.Read("y"), "one");
  EXPECT_EQ(TestVolume::Read(open), "one");
  EXPECT_EQ(volume.Id("x"), node.id);
  EXPECT_EQ(volume.Stat("x").nlink, 2u);
  EXPECT_EQ(volume.Read("x@b"), "two");
  EXPECT_EQ(volume.Read("x@" + kept), "three");
  volume.Write("x", "four");
  EXPECT_EQ(volume.Read("x@a"), "one");
  ASSERT_EQ(volume.RollBack("x", kept), 0);
  EXPECT_EQ(volume.Read("x"), "three");
  ASSERT_EQ(volume.Unlink("x"), 0);
  ASSERT_EQ(volume.Unlink("y"), 0);
  EXPECT_EQ(volume.RollBack("x", "a"), ENOENT);
  { FileHandle closed = std::move(open); }
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(SnapshotTest, AttributesGoWithTheContent) {
  TestVolume volume;
  const Node node = volume.MakeFile("x", "one");
  const std::string large(20000, 'L');
  for (const std::string& value : {std::string("small"), large}) {
    SCOPED_TRACE(value.size());
    ASSERT_EQ(volume->SetXattr(node.id, "user.a", value), absl::OkStatus());
    ASSERT_TRUE(
        volume->SetAttributes(node.id, {.fields = AttributeChange::kMode, .mode = 0600}).ok());
    volume.Snapshot("x", "s");
    ASSERT_EQ(volume->SetXattr(node.id, "user.a", large + "!"), absl::OkStatus());
    ASSERT_EQ(volume->SetXattr(node.id, "user.b", "new"), absl::OkStatus());
    ASSERT_TRUE(
        volume->SetAttributes(node.id, {.fields = AttributeChange::kMode, .mode = 0644}).ok());
    EXPECT_EQ(volume->GetXattr(volume.Id("x@s"), "user.a").value(), value);
    EXPECT_THAT(volume->ListXattrs(volume.Id("x@s")).value(), ElementsAre("user.a"));
    ASSERT_EQ(volume.Clone("x@s", "c"), 0);
    EXPECT_EQ(volume->GetXattr(volume.Id("c"), "user.a").value(), value);
    ASSERT_EQ(volume.RollBack("x", "s"), 0);
    EXPECT_EQ(volume->GetXattr(node.id, "user.a").value(), value);
    EXPECT_THAT(volume->ListXattrs(node.id).value(), ElementsAre("user.a"));
    EXPECT_EQ(volume.Stat("x").mode, 0600u);
    EXPECT_THAT(volume.Damages(), IsEmpty());
    ASSERT_EQ(volume.Unlink("c"), 0);
    for (const SnapshotInfo& info : volume.Snapshots()) {
      ASSERT_EQ(volume->DestroySnapshot(info.number), absl::OkStatus());
    }
    EXPECT_THAT(volume.Damages(), IsEmpty());
  }
}

TEST(SnapshotTest, ClonesAreFilesOfTheirOwn) {
  TestVolume volume;
  volume.MakeFile("x", "one");
  volume.Snapshot("x", "a");
  volume.Write("x", "two");
  ASSERT_EQ(volume.Clone("x@a", "old"), 0);
  ASSERT_EQ(volume.Clone("x", "new"), 0);
  EXPECT_EQ(volume.Clone("x", "new"), EEXIST);
  EXPECT_EQ(volume.Clone("", "x@a"), EEXIST);
  volume.Write("old", "changed");
  EXPECT_EQ(volume.Read("x@a"), "one");
  EXPECT_EQ(volume.Read("new"), "two");
  EXPECT_EQ(volume->CountSnapshots(volume.Id("old")).value(), 0u);
  volume.MakeDirectory("d");
  EXPECT_EQ(volume.Clone("d", "e"), EISDIR);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(SnapshotTest, AClonesMakerGetsItWithoutWhatOnlyRootMayGive) {
  TestVolume volume;
  const Node node = volume.MakeFile("x", "one");
  ASSERT_TRUE(
      volume->SetAttributes(node.id, {.fields = AttributeChange::kMode, .mode = 06755}).ok());
  ASSERT_EQ(volume->SetXattr(node.id, "security.capability", "c"), absl::OkStatus());
  ASSERT_EQ(volume->SetXattr(node.id, "trusted.t", "t"), absl::OkStatus());
  const CloneMaker maker = {.uid = 7, .gid = 8};
  int round = 0;
  for (const std::string& value : {std::string(), std::string("small"), std::string(9000, 'L')}) {
    const std::string name = "round" + std::to_string(++round);
    SCOPED_TRACE(name);
    if (!value.empty()) {
      ASSERT_EQ(volume->SetXattr(node.id, "user.a", value), absl::OkStatus());
    }
    volume.Snapshot("x", name);
    for (const std::string& source : {std::string("x"), "x@" + name}) {
      const auto clone = volume->Clone(volume.Id(source), kRoot, name + source, maker);
      ASSERT_TRUE(clone.ok()) << clone.status();
      EXPECT_EQ(clone->attributes.uid, 7u);
      EXPECT_EQ(clone->attributes.gid, 8u);
      EXPECT_EQ(clone->attributes.mode, 0755u);
      EXPECT_EQ(volume.Read(name + source), "one");
      if (value.empty()) {
        EXPECT_THAT(volume->ListXattrs(clone->id).value(), IsEmpty());
      } else {
        EXPECT_THAT(volume->ListXattrs(clone->id).value(), ElementsAre("user.a"));
        EXPECT_EQ(volume->GetXattr(clone->id, "user.a").value(), value);
      }
    }
  }
  EXPECT_EQ(volume->ListXattrs(node.id)->size(), 3u);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(SnapshotTest, SpaceIsWhatOnlyItHolds) {
  TestVolume volume;
  const Node node = volume.MakeFile("x", std::string(40 * 4096, 'a'));
  const SnapshotInfo taken = volume.Snapshot("x", "a");
  EXPECT_EQ(volume->SpaceOf(taken.node)->referenced, 40u * 4096);
  EXPECT_EQ(volume->SpaceOf(taken.node)->exclusive, 0u);
  FileHandle handle = volume->OpenFile(node.id).value();
  const std::string page(4096, 'b');
  ASSERT_EQ(handle.Write(0, std::as_bytes(std::span(page))), absl::OkStatus());
  // The page that was replaced, and the node above it.
  EXPECT_EQ(volume->SpaceOf(taken.node)->exclusive, 2u * 4096);
}

TEST(SnapshotTest, TenThousandOfOneFileAreAllFound) {
  TestVolume volume;
  const Node node = volume.MakeFile("x", "content");
  constexpr int kSnapshots = 10000;
  for (int i = 0; i < kSnapshots; ++i) {
    auto taken = volume->TakeSnapshot(node.id, "s" + std::to_string(i));
    ASSERT_TRUE(taken.ok()) << taken.status();
  }
  EXPECT_EQ(volume->ListSnapshots(node.id)->size(), size_t{kSnapshots});
  volume.Reopen();
  EXPECT_EQ(volume.Read("x@s0"), "content");
  EXPECT_EQ(volume.Read("x@s9999"), "content");
  EXPECT_THAT(volume.Damages(), IsEmpty());
  for (int i = 0; i < kSnapshots; ++i) {
    ASSERT_EQ(volume.Destroy("x", "s" + std::to_string(i)), 0);
  }
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

}  // namespace
}  // namespace cow::fs
