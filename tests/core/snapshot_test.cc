// Snapshots, clones and rollback, of files and of trees.
#include "cow/snapshot.h"

#include <cerrno>
#include <chrono>

#include "tests/core/volumes.h"

namespace cow {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

class SnapshotTest : public EachVolume {
 protected:
  // Closes the volume and opens it again. Handles must be gone. In memory there is nothing to open.
  void Reopen() {
    if (in_memory()) return;
    volume_ = Volume::InMemory().value();
    volume_ = Volume::Open(path()).value();
  }
};
COW_EACH_VOLUME(SnapshotTest);

TEST_P(SnapshotTest, HoldsTheFileAsItWas) {
  const auto start = std::chrono::system_clock::now() - std::chrono::seconds(1);
  File file = MakeFile(volume_, "/a", "before");
  const Snapshot snapshot = file.TakeSnapshot("s").value();
  ASSERT_EQ(file.Write(0, AsBytes("changed and longer")), absl::OkStatus());

  EXPECT_EQ(TextOf(snapshot), "before");
  EXPECT_EQ(TextOf(file), "changed and longer");
  EXPECT_EQ(snapshot.name(), "s");
  EXPECT_EQ(snapshot.path(), "/a");
  EXPECT_EQ(snapshot.size(), 6);
  EXPECT_FALSE(snapshot.is_tree());
  EXPECT_GT(snapshot.time(), start);
  EXPECT_LT(snapshot.time(), std::chrono::system_clock::now() + std::chrono::seconds(1));
}

TEST_P(SnapshotTest, AreThereAfterReopening) {
  {
    File file = MakeFile(volume_, "/a", "1");
    for (const char* text : {"2", "3"}) {
      ASSERT_EQ(file.TakeSnapshot("before-" + std::string(text)).status(), absl::OkStatus());
      ASSERT_EQ(file.Write(0, AsBytes(text)), absl::OkStatus());
    }
  }
  Reopen();
  File file = volume_.OpenFile("/a").value();
  EXPECT_THAT(NamesOf(file.ListSnapshots().value()), ElementsAre("/a@before-2", "/a@before-3"));
  EXPECT_EQ(TextOf(file.OpenSnapshot("before-2").value()), "1");
  EXPECT_EQ(TextOf(volume_.OpenSnapshot("/a", "before-3").value()), "2");
  EXPECT_EQ(TextOf(volume_.OpenFile("/a@before-3").value()), "2");
  ExpectSound(volume_);
}

TEST_P(SnapshotTest, NamesAreUniqueAndChecked) {
  File file = MakeFile(volume_, "/a", "text");
  ASSERT_EQ(file.TakeSnapshot("s").status(), absl::OkStatus());
  EXPECT_EQ(ErrnoIn(file.TakeSnapshot("s")), EEXIST);
  for (const std::string& name : {std::string(), std::string("a/b"), std::string("a@b")}) {
    EXPECT_EQ(ErrnoIn(file.TakeSnapshot(name)), EINVAL) << name;
  }
  EXPECT_NE(file.TakeSnapshot(std::string(256, 'n')).status(), absl::OkStatus());
  EXPECT_EQ(ErrnoIn(file.OpenSnapshot("other")), ENOENT);
  EXPECT_EQ(ErrnoIn(volume_.OpenSnapshot("/b", "s")), ENOENT);
}

TEST_P(SnapshotTest, CannotBeChanged) {
  File file = MakeFile(volume_, "/a", "text");
  const Snapshot snapshot = file.TakeSnapshot("s").value();
  EXPECT_EQ(ErrnoIn(snapshot.Map(Access::kWrite)), EROFS);
  File same = volume_.OpenFile("/a@s").value();
  EXPECT_TRUE(same.read_only());
  EXPECT_EQ(ErrnoIn(same.Write(0, AsBytes("x"))), EROFS);
  EXPECT_EQ(ErrnoIn(same.Truncate(0)), EROFS);
  EXPECT_EQ(ErrnoIn(same.Map(Access::kWrite)), EROFS);
  EXPECT_EQ(TextOf(same.Map(Access::kRead).value()), "text");
  EXPECT_NE(same.TakeSnapshot("t").status(), absl::OkStatus());
}

TEST_P(SnapshotTest, MoveWithTheFile) {
  File file = MakeFile(volume_, "/a", "text");
  ASSERT_EQ(file.TakeSnapshot("s").status(), absl::OkStatus());
  ASSERT_EQ(volume_.Rename("/a", "/b"), absl::OkStatus());
  EXPECT_EQ(TextOf(volume_.OpenFile("/b@s").value()), "text");
  EXPECT_THAT(NamesOf(volume_.ListSnapshots("/b").value()), ElementsAre("/b@s"));
}

TEST_P(SnapshotTest, StayWhenTheFileIsRemoved) {
  {
    File file = MakeFile(volume_, "/a", "first");
    ASSERT_EQ(file.TakeSnapshot("s").status(), absl::OkStatus());
    ASSERT_EQ(volume_.Remove("/a"), absl::OkStatus());
  }
  Reopen();
  Snapshot snapshot = volume_.OpenSnapshot("/a", "s").value();
  EXPECT_EQ(TextOf(snapshot), "first");
  const std::vector<Entry> left = volume_.ListSnapshots("/", {.recursive = true}).value();
  ASSERT_THAT(NamesOf(left), ElementsAre("/a@s"));
  EXPECT_TRUE(left[0].removed);
  EXPECT_THAT(NamesOf(volume_.ListSnapshots("/a").value()), ElementsAre("/a@s"));
  EXPECT_EQ(ErrnoIn(volume_.RollBack(snapshot)), ENOENT) << "there is nothing to roll back";

  File again = volume_.Clone(snapshot, "/a").value();
  EXPECT_EQ(TextOf(again), "first");
  EXPECT_THAT(again.ListSnapshots().value(), IsEmpty()) << "a clone is a new file";
  ASSERT_EQ(snapshot.Destroy(), absl::OkStatus());
  EXPECT_THAT(volume_.ListSnapshots("/", {.recursive = true}).value(), IsEmpty());
  ExpectSound(volume_);
}

TEST_P(SnapshotTest, OfFilesWhoseDirectoryIsGoneAreFoundToo) {
  ASSERT_EQ(volume_.CreateDirectory("/d"), absl::OkStatus());
  ASSERT_EQ(MakeFile(volume_, "/d/a", "text").TakeSnapshot("s").status(), absl::OkStatus());
  ASSERT_EQ(volume_.Remove("/d/a"), absl::OkStatus());
  ASSERT_EQ(volume_.Remove("/d"), absl::OkStatus());
  const std::vector<Entry> left = volume_.ListSnapshots("/", {.recursive = true}).value();
  ASSERT_THAT(left, SizeIs(1));
  EXPECT_EQ(left[0].snapshot, "s");
  EXPECT_TRUE(left[0].removed);
  Snapshot snapshot = volume_.OpenSnapshot(left[0].path, "s").value();
  EXPECT_EQ(TextOf(snapshot), "text");
  EXPECT_EQ(snapshot.Destroy(), absl::OkStatus());
}

TEST_P(SnapshotTest, CanBeRenamed) {
  File file = MakeFile(volume_, "/a", "text");
  Snapshot snapshot = file.TakeSnapshot("s").value();
  ASSERT_EQ(file.TakeSnapshot("taken").status(), absl::OkStatus());
  ASSERT_EQ(snapshot.Rename("t"), absl::OkStatus());
  EXPECT_EQ(snapshot.name(), "t");
  EXPECT_EQ(TextOf(file.OpenSnapshot("t").value()), "text");
  EXPECT_EQ(ErrnoIn(file.OpenSnapshot("s")), ENOENT);
  EXPECT_EQ(ErrnoIn(snapshot.Rename("taken")), EEXIST);
  EXPECT_EQ(ErrnoIn(snapshot.Rename("a/b")), EINVAL);
}

TEST_P(SnapshotTest, ReadOnAfterTheyWereDestroyed) {
  File file = MakeFile(volume_, "/a", std::string(kMiB, 'o'));
  Snapshot snapshot = file.TakeSnapshot("s").value();
  const Mapping mapping = snapshot.Map(Access::kRead).value();
  ASSERT_EQ(snapshot.Destroy(), absl::OkStatus());
  EXPECT_EQ(ErrnoIn(snapshot.Destroy()), ENOENT);
  EXPECT_EQ(ErrnoIn(snapshot.Rename("t")), ENOENT);
  EXPECT_EQ(ErrnoIn(file.OpenSnapshot("s")), ENOENT);
  for (char c = 'a'; c < 'f'; ++c) {
    ASSERT_EQ(file.Write(0, AsBytes(std::string(kMiB, c))), absl::OkStatus());
    ASSERT_EQ(volume_.Sync(), absl::OkStatus());
  }
  EXPECT_TRUE(Same(TextOf(snapshot), std::string(kMiB, 'o')));
  EXPECT_TRUE(Same(TextOf(mapping), std::string(kMiB, 'o')));
}

TEST_P(SnapshotTest, TheirSpaceIsExact) {
  File file = MakeFile(volume_, "/a", std::string(kMiB, 'a'));
  const Snapshot first = file.TakeSnapshot("first").value();
  ASSERT_EQ(file.Write(0, AsBytes(std::string(10 * 4096, 'b'))), absl::OkStatus());
  const Snapshot second = file.TakeSnapshot("second").value();

  const SpaceUse held = first.Space().value();
  EXPECT_GE(held.referenced_bytes, kMiB);
  EXPECT_LE(held.referenced_bytes, kMiB + 64 * kKiB);
  EXPECT_GE(held.exclusive_bytes, 10 * 4096);
  EXPECT_LE(held.exclusive_bytes, 16 * 4096);
  EXPECT_EQ(second.Space()->exclusive_bytes, 0) << "the file has all of it as well";

  const std::vector<Entry> entries = volume_.ListSnapshots("/a", {.space = true}).value();
  ASSERT_THAT(entries, SizeIs(2));
  EXPECT_EQ(entries[0].space->exclusive_bytes, held.exclusive_bytes);
}

TEST_P(SnapshotTest, ClonesAreFilesOfTheirOwn) {
  File file = MakeFile(volume_, "/a", "base");
  const Snapshot snapshot = file.TakeSnapshot("s").value();
  ASSERT_EQ(file.Write(0, AsBytes("head")), absl::OkStatus());
  File of_snapshot = volume_.Clone(snapshot, "/b").value();
  File of_head = volume_.Clone(file, "/c").value();
  ASSERT_EQ(of_snapshot.Write(0, AsBytes("B")), absl::OkStatus());
  ASSERT_EQ(of_head.Write(0, AsBytes("C")), absl::OkStatus());
  EXPECT_EQ(TextOf(of_snapshot), "Base");
  EXPECT_EQ(TextOf(of_head), "Cead");
  EXPECT_EQ(TextOf(file), "head");
  EXPECT_EQ(TextOf(snapshot), "base");
  EXPECT_EQ(TextOf(volume_.Clone(volume_.OpenFile("/a@s").value(), "/d").value()), "base");
  EXPECT_EQ(ErrnoIn(volume_.Clone(snapshot, "/b")), EEXIST);
  EXPECT_EQ(ErrnoIn(volume_.Clone(snapshot, "/x/b")), ENOENT);
  EXPECT_EQ(ErrnoIn(volume_.CloneTree(snapshot, "/x")), ENOTDIR);
  Volume other = Volume::InMemory().value();
  EXPECT_EQ(ErrnoIn(other.Clone(snapshot, "/b")), EXDEV);
  EXPECT_EQ(ErrnoIn(other.RollBack(snapshot)), EXDEV);
  ExpectSound(volume_);
}

TEST_P(SnapshotTest, ARollbackKeepsWhatItReplacesAndWhatIsNewer) {
  File file = MakeFile(volume_, "/a", "one");
  const Snapshot one = file.TakeSnapshot("1").value();
  ASSERT_EQ(file.Write(0, AsBytes("two!")), absl::OkStatus());
  ASSERT_EQ(file.TakeSnapshot("2").status(), absl::OkStatus());
  ASSERT_EQ(file.Write(0, AsBytes("three")), absl::OkStatus());

  const Snapshot kept = volume_.RollBack(one).value();
  EXPECT_EQ(TextOf(file), "one") << "open handles see it";
  EXPECT_EQ(TextOf(kept), "three");
  EXPECT_THAT(kept.name(), StartsWith("rollback-"));
  EXPECT_THAT(NamesOf(file.ListSnapshots().value()),
              ElementsAre("/a@1", "/a@2", "/a@" + kept.name()));
  EXPECT_EQ(TextOf(file.OpenSnapshot("2").value()), "two!");

  ASSERT_EQ(volume_.RollBack(kept).status(), absl::OkStatus());
  EXPECT_EQ(TextOf(file), "three");
  ASSERT_EQ(file.Write(0, AsBytes("T")), absl::OkStatus());
  EXPECT_EQ(TextOf(kept), "three") << "the head is on its own again";
  ExpectSound(volume_);
}

TEST_P(SnapshotTest, OfATreeHoldAllItsFiles) {
  Tree tree = volume_.CreateTree("/t").value();
  ASSERT_EQ(volume_.CreateDirectory("/t/d"), absl::OkStatus());
  File a = MakeFile(volume_, "/t/a", "a1");
  File b = MakeFile(volume_, "/t/d/b", "b1");
  File outside = MakeFile(volume_, "/o", "o1");
  const Snapshot snapshot = tree.TakeSnapshot("s").value();
  ASSERT_EQ(a.Write(0, AsBytes("a2")), absl::OkStatus());
  ASSERT_EQ(volume_.Remove("/t/d/b"), absl::OkStatus());
  MakeFile(volume_, "/t/c", "c1");

  EXPECT_TRUE(snapshot.is_tree());
  EXPECT_EQ(TextOf(volume_.OpenFile("/t@s/a").value()), "a1");
  EXPECT_EQ(TextOf(volume_.OpenFile("/t@s/d/b").value()), "b1");
  EXPECT_EQ(ErrnoIn(volume_.OpenFile("/t@s/c")), ENOENT);
  EXPECT_THAT(NamesOf(volume_.List("/t@s").value()), ElementsAre("/t@s/a", "/t@s/d"));
  EXPECT_EQ(volume_.Stat("/t@s")->kind, Kind::kTree);
  EXPECT_TRUE(volume_.OpenTree("/t@s")->read_only());
  EXPECT_EQ(ErrnoIn(volume_.CreateFile("/t@s/x")), EROFS);
  EXPECT_EQ(ErrnoIn(volume_.Remove("/t@s/a")), EROFS);
  Bytes buffer(1);
  EXPECT_EQ(ErrnoIn(snapshot.Read(0, buffer)), EISDIR);
  EXPECT_EQ(ErrnoIn(snapshot.Map(Access::kRead)), EISDIR);
  EXPECT_EQ(ErrnoIn(volume_.Clone(snapshot, "/x")), EISDIR);
  EXPECT_THAT(NamesOf(tree.ListSnapshots().value()), ElementsAre("/t@s"));
  EXPECT_EQ(TextOf(outside), "o1");
}

TEST_P(SnapshotTest, TreesAreClonedAndRolledBackWhole) {
  Tree tree = volume_.CreateTree("/t").value();
  File a = MakeFile(volume_, "/t/a", "a1");
  const Snapshot snapshot = tree.TakeSnapshot("s").value();
  ASSERT_EQ(a.Write(0, AsBytes("a2")), absl::OkStatus());
  File b = MakeFile(volume_, "/t/b", "b");

  Tree clone = volume_.CloneTree(snapshot, "/u").value();
  EXPECT_EQ(TextOf(volume_.OpenFile("/u/a").value()), "a1");
  EXPECT_EQ(volume_.OpenFile("/u/a")->Write(0, AsBytes("u")), absl::OkStatus());
  Tree of_head = volume_.CloneTree(tree, "/v").value();
  EXPECT_EQ(TextOf(volume_.OpenFile("/v/a").value()), "a2");

  const Snapshot kept = volume_.RollBack(snapshot).value();
  EXPECT_TRUE(kept.is_tree());
  EXPECT_EQ(TextOf(a), "a1") << "open handles see it";
  EXPECT_EQ(ErrnoIn(volume_.OpenFile("/t/b")), ENOENT);
  EXPECT_EQ(ErrnoIn(b.Write(0, AsBytes("x"))), ESTALE);
  EXPECT_EQ(TextOf(volume_.OpenFile("/t@" + kept.name() + "/b").value()), "b");
  EXPECT_EQ(TextOf(volume_.OpenFile("/u/a").value()), "u1");
  EXPECT_EQ(ErrnoIn(volume_.Rename("/u/a", "/v/x")), EXDEV);
  ExpectSound(volume_);
}

// A file that was removed, and whose number a rollback of its tree gave back to what it was before.
TEST_P(SnapshotTest, ARemovedFileIsNotTakenForTheOneThatCameBack) {
  Tree tree = volume_.CreateTree("/t").value();
  File removed = MakeFile(volume_, "/t/a", "old");
  const Snapshot snapshot = tree.TakeSnapshot("s").value();
  ASSERT_EQ(volume_.Remove("/t/a"), absl::OkStatus());
  ASSERT_EQ(volume_.RollBack(snapshot).status(), absl::OkStatus());
  File back = volume_.OpenFile("/t/a").value();
  ASSERT_EQ(removed.Write(0, AsBytes("own")), absl::OkStatus());
  EXPECT_EQ(TextOf(back), "old");

  EXPECT_EQ(ErrnoIn(removed.TakeSnapshot("x")), ESTALE);
  EXPECT_EQ(ErrnoIn(volume_.Clone(removed, "/x")), ESTALE);
  EXPECT_EQ(ErrnoIn(volume_.Stat("/x")), ENOENT);
  {
    const Mapping live = removed.Map(Access::kWrite).value();
    Store(live, 0, "OWN");
    EXPECT_EQ(back.Write(0, AsBytes("O")), absl::OkStatus()) << "that is another file";
    const Mapping other = back.Map(Access::kWrite).value();
    Store(other, 1, "L");
    EXPECT_EQ(TextOf(back.TakeSnapshot("x").value()), "OLd");
    EXPECT_EQ(ErrnoIn(removed.Write(0, AsBytes("x"))), EBUSY);
  }
  EXPECT_EQ(TextOf(removed), "OWN");
  EXPECT_EQ(TextOf(volume_.Clone(back, "/x").value()), "OLd");
  ExpectSound(volume_);
}

TEST_P(SnapshotTest, ClonedFilesAreNewAndClonedTreesAsOldAsTheirSource) {
  Tree tree = volume_.CreateTree("/t").value();
  File file = MakeFile(volume_, "/t/a", "text");
  const Entry a = volume_.Stat("/t/a").value();
  ASSERT_EQ(volume_.Clone(file, "/t/b").status(), absl::OkStatus());
  ASSERT_EQ(volume_.CloneTree(tree, "/u").status(), absl::OkStatus());
  EXPECT_GT(volume_.Stat("/t/b")->created, a.created);
  EXPECT_EQ(volume_.Stat("/u")->created, volume_.Stat("/t")->created);
  EXPECT_EQ(volume_.Stat("/u/a")->created, a.created);
}

TEST_P(SnapshotTest, OfTheWholeVolumeAreInItsRoot) {
  MakeFile(volume_, "/a", "1");
  Tree root = volume_.OpenTree("/").value();
  ASSERT_EQ(root.TakeSnapshot("s").status(), absl::OkStatus());
  ASSERT_EQ(volume_.Remove("/a"), absl::OkStatus());
  EXPECT_EQ(TextOf(volume_.OpenFile("/.snapshots/s/a").value()), "1");
  EXPECT_EQ(volume_.OpenSnapshot("/", "s")->path(), "/");
  const Entry entry = volume_.Stat("/.snapshots/s").value();
  EXPECT_EQ(entry.path, "/");
  EXPECT_EQ(entry.snapshot, "s");
  ASSERT_EQ(volume_.RollBack(root.OpenSnapshot("s").value()).status(), absl::OkStatus());
  EXPECT_EQ(TextOf(volume_.OpenFile("/a").value()), "1");
}

TEST_P(SnapshotTest, ListsGoBelowAPathWhenAsked) {
  ASSERT_EQ(volume_.CreateDirectory("/d"), absl::OkStatus());
  ASSERT_EQ(MakeFile(volume_, "/d/b", "").TakeSnapshot("1").status(), absl::OkStatus());
  File a = MakeFile(volume_, "/d/a", "");
  ASSERT_EQ(a.TakeSnapshot("2").status(), absl::OkStatus());
  ASSERT_EQ(a.TakeSnapshot("1").status(), absl::OkStatus());
  ASSERT_EQ(MakeFile(volume_, "/dd", "").TakeSnapshot("1").status(), absl::OkStatus());
  EXPECT_THAT(NamesOf(volume_.ListSnapshots("/d", {.recursive = true}).value()),
              ElementsAre("/d/a@2", "/d/a@1", "/d/b@1"));
  EXPECT_THAT(volume_.ListSnapshots("/d").value(), IsEmpty());
  EXPECT_THAT(volume_.ListSnapshots("/", {.recursive = true}).value(), SizeIs(4));
  EXPECT_EQ(ErrnoIn(volume_.ListSnapshots("/x")), ENOENT);
}

}  // namespace
}  // namespace cow
