// Volumes that somebody made on purpose: every checksum matches. Opening, reading and checking them
// ends, with an error where there is something wrong.
#include <gtest/gtest.h>

#include <cstring>

#include "cow/base/status.h"
#include "cow/format/log_frame.h"
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

}  // namespace
}  // namespace cow::test
