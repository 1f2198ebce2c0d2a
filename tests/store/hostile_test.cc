// Volumes that somebody made on purpose: every checksum matches. Opening, reading and checking them
// ends, with an error where there is something wrong.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "cow/base/checksum.h"
#include "cow/base/status.h"
#include "cow/format/geometry.h"
#include "cow/format/log_frame.h"
#include "cow/format/record.h"
#include "tests/store/forge.h"
#include "tests/store/volume.h"

namespace cow::test {
namespace {

using format::Entry;
using store::Store;

constexpr FrameNumber kForged(700);
constexpr Generation kBirth(1);
constexpr uint32_t kChecksum = 0x12345678;

Image SmallImage() {
  Volume volume;
  volume.CreateFile(RandomBytes(10 * kPageSize, 1));
  volume.Close();
  return volume.disk()->Copy();
}

absl::StatusOr<std::unique_ptr<Store>> Open(Image image, const store::OpenOptions& options) {
  return Store::Open(std::make_unique<MemoryFile>(std::make_shared<Disk>(std::move(image))),
                     options);
}

TEST(HostileTest, ALogThatNamesItselfIsRefused) {
  Image image = SmallImage();
  int slot = 0;
  format::Superblock superblock = NewestSuperblock(image, &slot);
  const Entry itself(kForged, kBirth, kChecksum, 0, false);
  format::LogFrame log;
  log.generation = kBirth;
  log.first = 100;
  log.items.push_back(
      Entry(FrameNumber(600), kBirth, 0, 0, false).With(format::CountOperation::kAdd));
  log.previous = itself;
  FrameBytes bytes = format::EncodeLogFrame(log);
  ForgeChecksum(bytes, kForged, kBirth, 24, kChecksum);
  image.Write(OffsetOf(kForged), bytes);
  superblock.count_log = {itself, 5, 101};
  WriteSuperblock(image, slot, superblock);
  const auto store = Open(std::move(image), kQuiet);
  EXPECT_TRUE(absl::IsDataLoss(store.status())) << store.status();
}

TEST(HostileTest, ANodeThatIsItsOwnChildIsAnError) {
  for (const bool catalog : {true, false}) {
    Image image = SmallImage();
    int slot = 0;
    format::Superblock superblock = NewestSuperblock(image, &slot);
    const Entry itself(kForged, kBirth, kChecksum, 2, true);
    FrameBytes bytes = {};
    std::memcpy(bytes.data(), &itself, sizeof(itself));
    // The last entry names frame 0, so it is empty, whatever else is in it.
    ForgeChecksum(bytes, kForged, kBirth, 255 * sizeof(Entry) + 8, kChecksum);
    image.Write(OffsetOf(kForged), bytes);
    (catalog ? superblock.catalog : superblock.trees).root = itself;
    WriteSuperblock(image, slot, superblock);
    auto store = Open(std::move(image), kReadOnly);
    ASSERT_TRUE(store.ok()) << store.status();
    store::Table& table = catalog ? (*store)->catalog() : (*store)->trees();
    EXPECT_TRUE(absl::IsDataLoss(table.NextObject(ObjectNumber(1)).status()));
    EXPECT_TRUE(absl::IsDataLoss(table.Open(ObjectNumber(1)).status()));
    auto check = (*store)->Check();
    ASSERT_TRUE(check.ok()) << check.status();
    EXPECT_FALSE(check->damages.empty());
  }
}

TEST(HostileTest, MoreFramesThanAVolumeCanHaveAreRefused) {
  Image image = SmallImage();
  int slot = 0;
  format::Superblock superblock = NewestSuperblock(image, &slot);
  superblock.total_frames = uint64_t{1} << 52;  // in bytes it overflows to 0
  superblock.generation = superblock.generation + 2;
  WriteSuperblock(image, slot, superblock);
  WriteSuperblock(image, 1 - slot, superblock);
  const auto store = Open(std::move(image), kQuiet);
  EXPECT_TRUE(absl::IsDataLoss(store.status())) << store.status();
}

TEST(HostileTest, RootsOfTablesThatAreNoneAreRefused) {
  for (const Entry& root : {Entry(kForged, kBirth, 0, 1, /*table=*/false),
                            Entry(kForged, kBirth, 0, 6, /*table=*/true)}) {
    Image image = SmallImage();
    int slot = 0;
    format::Superblock superblock = NewestSuperblock(image, &slot);
    superblock.trees.root = root;
    for (const int each : {0, 1}) WriteSuperblock(image, each, superblock);
    const auto store = Open(std::move(image), kReadOnly);
    EXPECT_TRUE(absl::IsDataLoss(store.status())) << store.status();
  }
}

// Writes a frame whose checksum is kChecksum. Of units of 16 bytes, the last is to have its first 8
// bytes zero: so it is an empty entry, and what follows them is nobody's.
void WriteNode(Image& image, FrameNumber frame, Generation birth, FrameBytes bytes) {
  ForgeChecksum(bytes, frame, birth, 255 * sizeof(Entry) + 8, kChecksum);
  image.Write(OffsetOf(frame), bytes);
}

FrameBytes NodeOf(std::span<const Entry> children) {
  FrameBytes bytes = {};
  std::memcpy(bytes.data(), children.data(), children.size_bytes());
  return bytes;
}

// A chain of nodes below which everything is `bottom`: 255 references to each node and to it.
Entry Multiply(Image& image, Entry bottom, uint8_t level, bool table) {
  for (uint8_t at = bottom.level() + 1; at <= level; ++at) {
    const FrameNumber frame(kForged + at);
    WriteNode(image, frame, kBirth, NodeOf(std::vector<Entry>(255, bottom)));
    bottom = Entry(frame, kBirth, kChecksum, at, table);
  }
  return bottom;
}

// Object 1 of the catalog, its only one, gets this record.
void ForgeRecord(Image& image, const format::Record& record) {
  int slot = 0;
  format::Superblock superblock = NewestSuperblock(image, &slot);
  const Entry old = superblock.catalog.root;
  FrameBytes bytes = {};
  std::memcpy(bytes.data() + sizeof(record), &record, sizeof(record));
  WriteNode(image, old.frame(), old.birth(), bytes);
  superblock.catalog.root = Entry(old.frame(), old.birth(), kChecksum, 0, /*table=*/true);
  WriteSuperblock(image, slot, superblock);
}

void ForgeFile(Image& image, const Entry& root, uint64_t size) {
  format::Record record;
  record.root = root;
  record.size = size;
  record.pages = size / kPageSize;
  record.flags = format::kRecordUsed;
  ForgeRecord(image, record);
}

TEST(HostileTest, ANodeThatTwoEntriesSayIsOfTwoLevelsIsAnError) {
  Image image = SmallImage();
  // As a node of level 2 it is well-formed; its child names it as one of level 1.
  const Entry as_child(kForged, kBirth, kChecksum, 1, /*table=*/false);
  WriteNode(image, kForged, kBirth, NodeOf(std::vector<Entry>(255, as_child)));
  ForgeFile(image, Entry(kForged, kBirth, kChecksum, 2, /*table=*/false), 100 * kPageSize);
  auto store = Open(std::move(image), kReadOnly);
  ASSERT_TRUE(store.ok()) << store.status();
  auto file = (*store)->catalog().Open(ObjectNumber(1));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(absl::IsDataLoss((*file)->NextData(0).status()));
  std::vector<std::byte> buffer(kPageSize);
  EXPECT_TRUE(absl::IsDataLoss((*file)->Read(0, buffer).status()));
}

// How many runs of `surveyed` cannot be told: each but the first place of a node.
template <typename Surveyed>
int LostOf(const Surveyed& surveyed) {
  int lost = 0;
  const auto count = [&](uint64_t, uint64_t, const absl::Status& status) {
    lost += status.ok() ? 0 : 1;
    return true;
  };
  EXPECT_EQ(surveyed.Survey(count), absl::OkStatus());
  return lost;
}

TEST(HostileTest, AFileThatIsOneEmptyNodeATrillionTimesIsAnError) {
  Image image = SmallImage();
  WriteNode(image, kForged, kBirth, {});
  const Entry empty(kForged, kBirth, kChecksum, 1, /*table=*/false);
  ForgeFile(image, Multiply(image, empty, 5, /*table=*/false), uint64_t{1} << 52);
  auto store = Open(std::move(image), kReadOnly);
  ASSERT_TRUE(store.ok()) << store.status();
  auto file = (*store)->catalog().Open(ObjectNumber(1));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(absl::IsDataLoss((*file)->NextData(0).status()));
  EXPECT_EQ(LostOf(**file), 4 * 254);
}

TEST(HostileTest, AFileThatIsOnePageATrillionTimesIsAnError) {
  Image image = SmallImage();
  // Full: the entry that pays for the checksum is not the last one, for there is none to spare.
  std::vector<Entry> pages(256, Entry(FrameNumber(900), kBirth, 0, 0, /*table=*/false));
  FrameBytes bytes = NodeOf(pages);
  ForgeChecksum(bytes, kForged, kBirth, 11, kChecksum);  // of the first, its checksum
  image.Write(OffsetOf(kForged), bytes);
  const Entry leaf(kForged, kBirth, kChecksum, 1, /*table=*/false);
  ForgeFile(image, Multiply(image, leaf, 5, /*table=*/false), uint64_t{1} << 52);
  auto store = Open(std::move(image), kQuiet);
  ASSERT_TRUE(store.ok()) << store.status();
  auto file = (*store)->catalog().Open(ObjectNumber(1));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(absl::IsDataLoss((*file)->NextHole(0).status()));
  auto transaction = (*store)->Begin(store::kFramesToChange);
  ASSERT_TRUE(transaction.ok()) << transaction.status();
  EXPECT_TRUE(absl::IsDataLoss((*file)->Punch(*transaction, 0, uint64_t{1} << 51)));
}

TEST(HostileTest, ATableThatIsOneUnusedLeafATrillionTimesIsAnError) {
  Image image = SmallImage();
  WriteNode(image, kForged, kBirth, {});
  const Entry leaf(kForged, kBirth, kChecksum, 0, /*table=*/true);
  int slot = 0;
  format::Superblock superblock = NewestSuperblock(image, &slot);
  superblock.trees.root = Multiply(image, leaf, 5, /*table=*/true);
  WriteSuperblock(image, slot, superblock);
  auto store = Open(std::move(image), kReadOnly);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_TRUE(absl::IsDataLoss((*store)->trees().NextObject(ObjectNumber(1)).status()));
  EXPECT_EQ(LostOf((*store)->trees()), 5 * 254);
}

TEST(HostileTest, FreeingANodeThatIsBelowItselfEnds) {
  Volume volume;
  const auto page = volume.CreateFile(RandomBytes(kPageSize, 1))
                        ->Extents(PageNumber(0), PageNumber(1), /*verify=*/false);
  ASSERT_TRUE(page.ok()) << page.status();
  volume.Close();
  Image image = volume.disk()->Copy();
  // A frame with a count of one becomes a leaf of records; in it is a tree whose root is this leaf.
  const FrameNumber frame = page->front().frame;
  format::Record record;
  record.root = Entry(frame, kBirth, kChecksum, 0, /*table=*/true);
  record.flags = format::kRecordUsed | format::kRecordTree;
  FrameBytes bytes = {};
  std::memcpy(bytes.data() + sizeof(record), &record, sizeof(record));
  WriteNode(image, frame, kBirth, bytes);
  ForgeRecord(image, record);
  auto store = Open(std::move(image), kQuiet);
  ASSERT_TRUE(store.ok()) << store.status();
  auto tree = (*store)->catalog().Open(ObjectNumber(1));
  ASSERT_TRUE(tree.ok()) << tree.status();
  {
    auto transaction = (*store)->Begin(2 * store::kFramesToChange);
    ASSERT_TRUE(transaction.ok()) << transaction.status();
    ASSERT_TRUE((*store)->catalog().Remove(*transaction, *tree).ok());
  }
  tree->reset();
  const absl::Status settled = (*store)->Settle();
  EXPECT_TRUE(absl::IsDataLoss(settled)) << settled;
}

// What settling a volume says whose log (a member of the superblock) has one item more at its end.
absl::Status SettleWithItem(format::LogRoot format::Superblock::*which, const Entry& item) {
  Image image = SmallImage();
  int slot = 0;
  format::Superblock superblock = NewestSuperblock(image, &slot);
  format::LogRoot& root = superblock.*which;
  format::LogFrame log;
  log.generation = kBirth;
  log.first = root.end;
  log.previous = root.tail;
  log.items.push_back(item);
  const FrameBytes bytes = format::EncodeLogFrame(log);
  const FrameNumber frame(superblock.total_frames - 1);
  image.Write(OffsetOf(frame), bytes);
  root.tail = Entry(frame, kBirth, FrameChecksum(frame, kBirth, bytes), 0, /*table=*/false);
  ++root.end;
  WriteSuperblock(image, slot, superblock);
  auto store = Open(std::move(image), kQuiet);
  return store.ok() ? (*store)->Settle() : store.status();
}

TEST(HostileTest, AFrameThatIsFreeTwiceIsAnError) {
  // Its count is zero: it is free already.
  const absl::Status settled =
      SettleWithItem(&format::Superblock::free_log, Entry(FrameNumber(1000), kBirth, 0, 0, false));
  EXPECT_TRUE(absl::IsDataLoss(settled)) << settled;
}

TEST(HostileTest, AnItemOfTheCountLogThatSaysNothingIsAnError) {
  const absl::Status settled = SettleWithItem(&format::Superblock::count_log, Entry());
  EXPECT_TRUE(absl::IsDataLoss(settled)) << settled;
}

TEST(HostileTest, AFileThatIsLongerThanAFileCanBeIsAnError) {
  Image image = SmallImage();
  ForgeFile(image, Entry(), UINT64_MAX);
  auto store = Open(std::move(image), kReadOnly);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_TRUE(absl::IsDataLoss((*store)->catalog().Open(ObjectNumber(1)).status()));
}

TEST(HostileTest, ALogThatEndsBeforeItBeginsIsRefused) {
  Image image = SmallImage();
  int slot = 0;
  format::Superblock superblock = NewestSuperblock(image, &slot);
  // Counted without a sign, item 2^64 - 1 comes before item 0.
  format::LogFrame log;
  log.generation = kBirth;
  log.first = UINT64_MAX;
  log.items.push_back(superblock.trees.root.With(format::CountOperation::kAdd));
  const FrameBytes bytes = format::EncodeLogFrame(log);
  image.Write(OffsetOf(kForged), bytes);
  const Entry tail(kForged, kBirth, FrameChecksum(kForged, kBirth, bytes), 0, /*table=*/false);
  superblock.count_log = {tail, UINT64_MAX, 0};
  WriteSuperblock(image, slot, superblock);
  const auto store = Open(std::move(image), kQuiet);
  EXPECT_TRUE(absl::IsDataLoss(store.status())) << store.status();
}

TEST(HostileTest, AGenerationThatNoEntryCanHoldIsRefused) {
  Image image = SmallImage();
  int slot = 0;
  format::Superblock superblock = NewestSuperblock(image, &slot);
  superblock.generation = Generation((uint64_t{1} << 48) - 1);
  for (const int each : {0, 1}) WriteSuperblock(image, each, superblock);
  const auto store = Open(std::move(image), kQuiet);
  EXPECT_TRUE(absl::IsDataLoss(store.status())) << store.status();
}

TEST(HostileTest, MoreFramesThanTheFileHasAreRefusedThoughNoneIsUsed) {
  Image image = SmallImage();
  int slot = 0;
  format::Superblock superblock = NewestSuperblock(image, &slot);
  superblock.total_frames = uint64_t{1} << 40;
  superblock.used_frames = 0;
  for (const int each : {0, 1}) WriteSuperblock(image, each, superblock);
  const auto store = Open(std::move(image), kReadOnly);
  EXPECT_TRUE(absl::IsDataLoss(store.status())) << store.status();
}

TEST(HostileTest, WhatIsYoungerThanItsParentIsAnError) {
  Image image = SmallImage();
  int slot = 0;
  format::Superblock superblock = NewestSuperblock(image, &slot);
  // It would be of the generation that is written next, so written in place.
  const Generation next(superblock.generation + 1);
  const Entry page(format::SuperblockFrame(slot, 0), next, 0, 0, /*table=*/false);
  ForgeFile(image, page, kPageSize);
  {
    auto store = Open(image, kQuiet);
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_TRUE(absl::IsDataLoss((*store)->catalog().Open(ObjectNumber(1)).status()));
  }
  superblock.catalog.root = Entry(kForged, next, kChecksum, 0, /*table=*/true);
  for (const int each : {0, 1}) WriteSuperblock(image, each, superblock);
  const auto store = Open(std::move(image), kQuiet);
  EXPECT_TRUE(absl::IsDataLoss(store.status())) << store.status();
}

// Where an empty run begins, a frame that is handed out would not be noted as such, and look free after
// a crash.
TEST(HostileTest, EmptyRunsOfUncountedFramesAreAnError) {
  // Much is free before the end of the volume.
  Volume volume;
  volume.CreateFile(RandomBytes(10 * kPageSize, 1));
  volume.Remove(volume.CreateFile(RandomBytes(2000 * kPageSize, 2)));
  volume.Settle();
  volume.Close();
  const Image image = volume.disk()->Copy();
  int slot = 0;
  const format::Superblock closed = NewestSuperblock(image, &slot);
  for (uint64_t at = format::kZoneHeader; at < format::kZoneHeader + 200;) {
    format::Superblock superblock = closed;
    while (superblock.uncounted.size() < 30) {
      superblock.uncounted.push_back({FrameNumber(at++), 0});
    }
    Image forged = image;
    WriteSuperblock(forged, slot, superblock);
    WriteSuperblock(forged, 1 - slot, superblock);
    const auto disk = std::make_shared<Disk>(std::move(forged));
    auto store = store::Store::Open(std::make_unique<MemoryFile>(disk), kQuiet);
    if (!store.ok()) {
      EXPECT_TRUE(absl::IsDataLoss(store.status())) << store.status();
      continue;
    }
    {
      auto transaction = (*store)->Begin(store::FramesToWrite(100000) + store::kFramesToChange);
      ASSERT_TRUE(transaction.ok()) << transaction.status();
      const ObjectPointer file = *(*store)->catalog().Create(*transaction);
      ASSERT_TRUE(file->Write(*transaction, 0, RandomBytes(100000, at)).ok());
    }
    ASSERT_TRUE((*store)->Commit().ok());
    const auto again = Open(disk->Copy(), kQuiet);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(Damages(**again), "") << at;
  }
}

}  // namespace
}  // namespace cow::test
