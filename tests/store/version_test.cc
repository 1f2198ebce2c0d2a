// Snapshots, clones, rollback: of files and of trees.
#include <gtest/gtest.h>

#include "cow/base/status.h"
#include "tests/store/volume.h"

namespace cow::test {
namespace {

TEST(VersionTest, ASnapshotKeepsWhatWasThereWhileTheFileChanges) {
  Volume volume;
  const Bytes old = RandomBytes(300000, 1);
  ObjectPointer file = volume.CreateFile(old);
  ObjectPointer snapshot = volume.Snapshot(file);
  volume.Write(file, 4096, RandomBytes(200000, 2));
  volume.Truncate(file, 100);
  EXPECT_EQ(ContentOf(*snapshot), old);
  EXPECT_EQ(file->size(), 100u);
  EXPECT_TRUE(snapshot->read_only());
}

TEST(VersionTest, ASnapshotCannotBeWritten) {
  Volume volume;
  ObjectPointer snapshot = volume.Snapshot(volume.CreateFile(RandomBytes(10, 1)));
  auto transaction = volume->Begin(100);
  ASSERT_TRUE(transaction.ok());
  const Bytes bytes(1);
  for (const absl::Status& status :
       {snapshot->Write(*transaction, 0, bytes), snapshot->Truncate(*transaction, 0),
        snapshot->Punch(*transaction, 0, 1), snapshot->SetAttributes(*transaction, "x")}) {
    EXPECT_EQ(ErrnoOf(status), EROFS) << status;
  }
}

TEST(VersionTest, ACloneIsWrittenWithoutItsSourceChanging) {
  Volume volume;
  const Bytes old = RandomBytes(50000, 1);
  ObjectPointer file = volume.CreateFile(old);
  ObjectPointer snapshot = volume.Snapshot(file);
  ObjectPointer clone = volume.Clone(snapshot);
  const Bytes change = RandomBytes(5000, 2);
  volume.Write(clone, 20000, change);
  Bytes expected = old;
  std::copy(change.begin(), change.end(), expected.begin() + 20000);
  EXPECT_EQ(ContentOf(*clone), expected);
  EXPECT_EQ(ContentOf(*file), old);
  EXPECT_EQ(ContentOf(*snapshot), old);
}

TEST(VersionTest, ACloneSharesItsFrames) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(1 << 20, 1));
  volume.Settle();
  const uint64_t used = volume->space().used_frames;
  ObjectPointer clone = volume.Clone(file);
  volume.Settle();
  EXPECT_LE(volume->space().used_frames, used + 2);
  EXPECT_EQ(*file->Extents(PageNumber(0), PageNumber(256), false),
            *clone->Extents(PageNumber(0), PageNumber(256), false));
}

TEST(VersionTest, RollbackKeepsNewerSnapshotsAndTheAttributesOfTheHead) {
  Volume volume;
  const Bytes first = RandomBytes(30000, 1);
  const Bytes second = RandomBytes(60000, 2);
  ObjectPointer file = volume.CreateFile(first);
  ObjectPointer old = volume.Snapshot(file);
  volume.Write(file, 0, second);
  {
    auto transaction = volume->Begin(store::kFramesToChange);
    ASSERT_TRUE(file->SetAttributes(*transaction, "new").ok());
  }
  ObjectPointer newer = volume.Snapshot(file);
  volume.Replace(file, old);
  EXPECT_EQ(ContentOf(*file), first);
  EXPECT_EQ(file->attributes(), "new");
  EXPECT_EQ(ContentOf(*newer), second);
  volume.Replace(file, newer);
  EXPECT_EQ(ContentOf(*file), second);
  file.reset(), old.reset(), newer.reset();
  volume.Reopen();
  EXPECT_EQ(ContentOf(*volume.Open(1)), second);
  EXPECT_EQ(ContentOf(*volume.Open(2)), first);
  volume.ExpectClean();
}

TEST(VersionTest, ASnapshotOfATreeHoldsAllItsFiles) {
  Volume volume;
  ObjectPointer tree = volume.CreateTree();
  TablePointer files = volume.OpenTree(tree);
  std::vector<ObjectPointer> open;
  for (int i = 0; i < 40; ++i) open.push_back(volume.CreateFile(RandomBytes(9000, i), files.get()));
  ObjectPointer snapshot = volume.Snapshot(tree);
  for (const ObjectPointer& file : open) volume.Write(file, 0, RandomBytes(9000, 99));
  volume.Remove(open[3], files.get());
  TablePointer before = volume.OpenTree(snapshot);
  EXPECT_TRUE(before->read_only());
  for (int i = 0; i < 40; ++i) {
    auto file = before->Open(open[i]->number());
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(ContentOf(**file), RandomBytes(9000, i));
    EXPECT_TRUE((*file)->read_only());
  }
  EXPECT_FALSE(files->Open(open[3]->number()).ok());
}

TEST(VersionTest, OpenFilesOfATreeShowWhatARollbackPutThere) {
  Volume volume;
  ObjectPointer tree = volume.CreateTree();
  TablePointer files = volume.OpenTree(tree);
  ObjectPointer kept = volume.CreateFile(RandomBytes(5000, 1), files.get());
  ObjectPointer snapshot = volume.Snapshot(tree);
  volume.Write(kept, 0, RandomBytes(5000, 2));
  ObjectPointer newer = volume.CreateFile(RandomBytes(5000, 3), files.get());
  volume.Replace(tree, snapshot);
  EXPECT_EQ(ContentOf(*kept), RandomBytes(5000, 1));
  Bytes buffer(10);
  EXPECT_EQ(ErrnoOf(newer->Read(0, buffer).status()), ESTALE);
}

// Found by the model test, seed 3.
TEST(VersionTest, ObjectsThatARollbackTookAreNotListed) {
  Volume volume;
  ObjectPointer tree = volume.CreateTree();
  TablePointer files = volume.OpenTree(tree);
  ObjectPointer snapshot = volume.Snapshot(tree);
  ObjectPointer held = volume.CreateFile(RandomBytes(10, 1), files.get());
  volume.Replace(tree, snapshot);
  EXPECT_EQ(*files->NextObject(ObjectNumber(0)), std::nullopt);
  EXPECT_EQ(ErrnoOf(files->Open(held->number()).status()), ENOENT);
}

TEST(VersionTest, NumbersAreNotUsedAgainAfterARollback) {
  Volume volume;
  ObjectPointer tree = volume.CreateTree();
  TablePointer files = volume.OpenTree(tree);
  ObjectPointer snapshot = volume.Snapshot(tree);
  const ObjectNumber before = volume.CreateFile({}, files.get())->number();
  volume.Replace(tree, snapshot);
  EXPECT_GT(volume.CreateFile({}, files.get())->number(), before);
}

TEST(VersionTest, ARemovedFileLivesUntilItIsClosed) {
  Volume volume;
  const Bytes bytes = RandomBytes(100000, 1);
  ObjectPointer file = volume.CreateFile(bytes);
  volume.Settle();
  const uint64_t used = volume->space().used_frames;
  volume.Remove(file);
  volume.Settle();
  EXPECT_EQ(ContentOf(*file), bytes);
  volume.Write(file, 0, RandomBytes(5000, 2));
  volume.Settle();
  EXPECT_GE(volume->space().used_frames + 4, used);
  file.reset();
  volume.Settle();
  EXPECT_LT(volume->space().used_frames, used - 20);
  volume.ExpectClean();
}

TEST(VersionTest, ARemovedFileThatWasOpenAtACrashIsFreedByTheNextOpen) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(400000, 1));
  volume.Remove(file);
  volume.Commit();
  auto crashed = std::make_shared<Disk>(volume.disk()->Copy());
  auto again = store::Store::Open(std::make_unique<MemoryFile>(crashed), kQuiet);
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_TRUE((*again)->Settle().ok());
  EXPECT_LT((*again)->space().used_frames, 10u);
  EXPECT_EQ(Damages(**again), "");
}

TEST(VersionTest, SharedRangesAreWrittenApart) {
  Volume volume;
  const Bytes bytes = RandomBytes(20 * kPageSize, 1);
  ObjectPointer source = volume.CreateFile(bytes);
  ObjectPointer target = volume.CreateFile();
  volume.Truncate(target, 30 * kPageSize);
  {
    auto frozen = volume->BeginFrozen(2 * store::kFramesToChange);
    ASSERT_TRUE(
        volume->ShareRange(*frozen, *source, PageNumber(5), *target, PageNumber(10), 10).ok());
  }
  volume.Write(source, 6 * kPageSize, RandomBytes(kPageSize, 2));
  Bytes expected(30 * kPageSize);
  std::copy_n(bytes.begin() + 5 * kPageSize, 10 * kPageSize, expected.begin() + 10 * kPageSize);
  EXPECT_EQ(ContentOf(*target), expected);
  EXPECT_EQ(target->allocated_pages(), 10u);
  volume.ExpectClean();
}

TEST(VersionTest, ExclusiveBytesAreThoseThatNothingElseHolds) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(100 * kPageSize, 1));
  ObjectPointer snapshot = volume.Snapshot(file);
  volume.Write(file, 0, RandomBytes(10 * kPageSize, 2));
  const uint64_t exclusive = *volume->ExclusiveBytes(*snapshot);
  EXPECT_GE(exclusive, 10 * kPageSize);
  EXPECT_LE(exclusive, 12 * kPageSize);  // and its node
  volume.Settle();
  const uint64_t used = volume->space().used_frames;
  volume.Remove(snapshot);
  snapshot.reset();
  volume.Settle();
  const uint64_t freed = (used - volume->space().used_frames) * kPageSize;
  EXPECT_GE(freed + 2 * kPageSize, exclusive);  // the tables' leaves
  EXPECT_LE(freed, exclusive + 2 * kPageSize);
}

}  // namespace
}  // namespace cow::test
