// Rot: one bit of one frame flips while the volume is closed. Whatever is read afterwards is what
// was written, or an error; Check reports it; nothing crashes, and nothing older is served.
#include <gtest/gtest.h>

#include <set>

#include "cow/base/status.h"
#include "cow/format/geometry.h"
#include "tests/store/volume.h"
#include "tests/support/seed.h"

namespace cow::test {
namespace {

using store::Store;

// A small volume that has some of everything: files, holes, snapshots, clones, trees, orphans being
// freed, logs not yet folded, and an older state in the other superblock slot.
void Populate(Volume& volume) {
  ObjectPointer file = volume.CreateFile(RandomBytes(30 * kPageSize, 1));
  volume.Write(file, uint64_t{5} << 30, RandomBytes(10000, 2));
  ObjectPointer tree = volume.CreateTree();
  TablePointer files = volume.OpenTree(tree);
  std::vector<ObjectPointer> open;
  for (int i = 0; i < 40; ++i) open.push_back(volume.CreateFile(RandomBytes(3000, i), files.get()));
  volume.Commit();
  volume.Snapshot(file);
  volume.Snapshot(tree);
  volume.Clone(file, files.get());
  volume.Write(file, 12345, RandomBytes(20000, 3));
  volume.Remove(open[7], files.get());
  volume.Write(open[8], 0, RandomBytes(5000, 4));
  open.clear();
  volume.Commit();
  ObjectPointer removed = volume.CreateFile(RandomBytes(300 * kPageSize, 5));
  volume.Commit();
  volume.Remove(removed);
  removed.reset();
  volume.Write(file, 0, RandomBytes(100, 6));
  volume.Commit();
}

bool IsCorruption(const absl::Status& status) {
  return absl::IsDataLoss(status) && ErrnoOf(status) == EIO;
}

struct Outcomes {
  int refused = 0;   // the volume does not open
  int reported = 0;  // by Check
  int repaired = 0;  // reads are right, and after it Check finds nothing
  int unread = 0;    // reads are right: the frame was free, or is not of this state
};

// Reads everything, whatever fails, and compares what is read: the number of errors.
void ExpectRightOrError(Store& store, store::Table& table, const ModelTable& model, int& errors) {
  auto failed = [&errors](const absl::Status& status) {
    EXPECT_TRUE(IsCorruption(status)) << status;
    ++errors;
  };
  for (const auto& [number, expected] : model.objects) {
    auto object = table.Open(ObjectNumber(number));
    if (!object.ok()) {
      failed(object.status());
      continue;
    }
    EXPECT_EQ((*object)->attributes(), expected.attributes);
    if (expected.tree) {
      auto below = store.OpenTree(*object);
      if (!below.ok()) {
        failed(below.status());
      } else {
        ExpectRightOrError(store, **below, *expected.table, errors);
      }
      continue;
    }
    ASSERT_EQ((*object)->size(), expected.content->size());
    for (const auto& [page, frame] : expected.content->frames()) {
      Bytes got(kPageSize);
      auto read = (*object)->Read(page * kPageSize, got);
      if (!read.ok()) {
        failed(read.status());
        continue;
      }
      EXPECT_TRUE(std::equal(got.begin(), got.begin() + *read, frame->begin()))
          << "wrong data was served: object " << number << ", page " << page;
    }
  }
  for (ObjectNumber at(0);;) {
    auto next = table.NextObject(at);
    if (!next.ok()) return failed(next.status());
    if (!next->has_value()) return;
    EXPECT_TRUE(model.objects.contains((*next)->value())) << "an older state is served";
    at = **next + 1;
  }
}

void FlipAndLook(const Image& good, const World& world, uint64_t offset, int bit,
                 const store::OpenOptions& options, Outcomes& outcomes) {
  Image image = good;
  std::byte byte;
  image.Read(offset, {&byte, 1});
  byte ^= std::byte{1} << bit;
  image.Write(offset, {&byte, 1});
  auto disk = std::make_shared<Disk>(image);
  auto store = Store::Open(std::make_unique<MemoryFile>(disk), options);
  if (!store.ok()) {
    // Only what has no second copy may keep a volume from opening, and only with a clear error.
    EXPECT_TRUE(IsCorruption(store.status())) << store.status();
    ++outcomes.refused;
    return;
  }
  int errors = 0;
  ExpectRightOrError(**store, (*store)->trees(), world.trees, errors);
  ExpectRightOrError(**store, (*store)->catalog(), world.catalog, errors);
  absl::StatusOr<store::CheckResult> check = (*store)->Check();
  const bool reported = !check.ok() || !check->damages.empty();
  EXPECT_TRUE(check.ok() || IsCorruption(check.status())) << check.status();
  EXPECT_TRUE(errors == 0 || reported) << "reads fail, and Check finds nothing";
  if (reported) {
    ++outcomes.reported;
  } else {
    std::byte now;
    disk->Copy().Read(offset, {&now, 1});
    ++(now == byte ? outcomes.unread : outcomes.repaired);
  }
}

// Every frame in turn. The frames in use are told apart by what Check does when all of them rot.
void FlipEveryFrame(const store::OpenOptions& options, Outcomes& outcomes) {
  Volume volume;
  Populate(volume);
  volume.Close();
  const Image good = volume.disk()->Copy();
  World world;
  std::set<uint64_t> in_use;
  {
    auto reader = Store::Open(std::make_unique<MemoryFile>(std::make_shared<Disk>(good)), kQuiet);
    ASSERT_TRUE(reader.ok()) << reader.status();
    world = *ReadWorld(**reader);
    ASSERT_EQ(Damages(**reader), "");
    // Frames of data that the world is made of.
    for (ObjectNumber at(0);;) {
      auto next = *(*reader)->catalog().NextObject(at);
      if (!next.has_value()) break;
      ObjectPointer object = *(*reader)->catalog().Open(*next);
      auto extents = object->Extents(PageNumber(0), PageNumber(PagesFor(object->size())), false);
      ASSERT_TRUE(extents.ok()) << extents.status();
      for (const store::Extent& extent : *extents) {
        for (uint64_t i = 0; i < extent.count; ++i) in_use.insert((extent.frame + i).value());
      }
      at = *next + 1;
    }
  }
  ASSERT_GE(in_use.size(), 30u);
  Random random(Seed(1));
  for (const auto& [number, frame] : good.frames()) {
    const Outcomes before = outcomes;
    const uint64_t offset = number * kPageSize + random.Below(kPageSize);
    const int bit = static_cast<int>(random.Below(8));
    FlipAndLook(good, world, offset, bit, options, outcomes);
    if (in_use.contains(number)) {
      EXPECT_EQ(outcomes.reported, before.reported + 1) << "frame " << number << " holds data";
    }
    ASSERT_FALSE(::testing::Test::HasFailure())
        << "flip of bit " << bit << " at " << offset << ", frame " << number;
  }
}

// A frame that rots before the volume was closed and a crash look alike: the last commit is lost as
// one whole, and the one before it is served.
TEST(BitFlipTest, AFlipInACommitThatWasNotClosedServesTheOneBefore) {
  Volume volume;
  Populate(volume);
  volume.Close();
  volume.Reopen();
  const World before = *ReadWorld(*volume);
  ObjectPointer file = volume.CreateFile(RandomBytes(20 * kPageSize, 77));
  volume.Commit();
  const FrameNumber frame =
      (*file->Extents(PageNumber(0), PageNumber(20), /*verify=*/false)).front().frame;
  Image image = volume.disk()->Copy();
  for (const bool rotten : {false, true}) {
    if (rotten) image.Punch(OffsetOf(frame), kPageSize);
    for (const bool read_only : {true, false}) {
      auto store = Store::Open(std::make_unique<MemoryFile>(std::make_shared<Disk>(image)),
                               {.read_only = read_only, .commit_seconds = 0});
      ASSERT_TRUE(store.ok()) << store.status();
      EXPECT_EQ(Damages(**store), "");
      EXPECT_EQ((*store)->catalog().Open(file->number()).ok(), !rotten);
      if (read_only || !rotten) continue;
      EXPECT_EQ(Difference(before, *ReadWorld(**store)), "");
    }
  }
}

TEST(BitFlipTest, EveryFlipIsRepairedOrReported) {
  Outcomes outcomes;
  FlipEveryFrame(kQuiet, outcomes);
  EXPECT_GT(outcomes.reported, 60);
  EXPECT_GT(outcomes.repaired, 0);
}

TEST(BitFlipTest, EveryFlipIsReportedToReaders) {
  Outcomes outcomes;
  FlipEveryFrame(kReadOnly, outcomes);
  EXPECT_GT(outcomes.reported, 60);
  EXPECT_EQ(outcomes.repaired, 0);
}

TEST(BitFlipTest, ARottenCopyOfTheSuperblockIsMadeGoodFromTheOther) {
  for (int slot : {0, 1}) {
    for (int copy : {0, 1}) {
      Volume volume;
      Populate(volume);
      volume.Close();
      MemoryFile file(volume.disk());
      const uint64_t frame = OffsetOf(format::SuperblockFrame(slot, copy));
      ASSERT_TRUE(file.Write(frame + 100, RandomBytes(8, 1)).ok());
      volume.Reopen();
      volume.ExpectClean();
      EXPECT_EQ(volume.Open(1)->size(), (uint64_t{5} << 30) + 10000);
    }
  }
}

TEST(BitFlipTest, AFrameInTheWrongPlaceIsNoticed) {
  Volume volume;
  ObjectPointer file = volume.CreateFile(RandomBytes(10 * kPageSize, 1));
  const FrameNumber first = file->Extents(PageNumber(0), PageNumber(10), false)->at(0).frame;
  file.reset();
  volume.Close();
  // Two pages change places, as after a write that went astray.
  MemoryFile disk(volume.disk());
  Bytes a(kPageSize);
  Bytes b(kPageSize);
  ASSERT_TRUE(disk.Read(OffsetOf(first), a).ok());
  ASSERT_TRUE(disk.Read(OffsetOf(first + 1), b).ok());
  ASSERT_TRUE(disk.Write(OffsetOf(first), b).ok());
  ASSERT_TRUE(disk.Write(OffsetOf(first + 1), a).ok());
  volume.Reopen();
  Bytes buffer(kPageSize);
  EXPECT_TRUE(IsCorruption(volume.Open(1)->Read(0, buffer).status()));
  EXPECT_TRUE(IsCorruption(volume.Open(1)->Read(kPageSize, buffer).status()));
  EXPECT_TRUE(volume.Open(1)->Read(2 * kPageSize, buffer).ok());
}

TEST(BitFlipTest, AStaleFrameIsNoticed) {
  Volume volume({.max_bytes = 4 << 20});  // so that frames are soon used again
  ObjectPointer file = volume.CreateFile(RandomBytes(kPageSize, 1));
  volume.Commit();
  const Image old = volume.disk()->Copy();
  // The frame gets other content in place, in a newer generation, until it is that of the old one.
  const uint64_t first = file->Extents(PageNumber(0), PageNumber(1), false)->at(0).frame.value();
  for (int i = 0; i < 2000; ++i) {
    volume.Write(file, 0, RandomBytes(kPageSize, 2 + i));
    volume.Settle();
    const uint64_t now = file->Extents(PageNumber(0), PageNumber(1), false)->at(0).frame.value();
    if (now != first) continue;
    Bytes stale(kPageSize);
    old.Read(first * kPageSize, stale);
    file.reset();
    volume.Close();
    ASSERT_TRUE(MemoryFile(volume.disk()).Write(first * kPageSize, stale).ok());
    volume.Reopen();
    EXPECT_TRUE(IsCorruption(volume.Open(1)->Read(0, stale).status()));
    return;
  }
  FAIL() << "the frame was never used again";
}

}  // namespace
}  // namespace cow::test
