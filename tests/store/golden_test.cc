// Volumes made when their format was new keep opening. Each is kept as text: a line for each run of
// bytes that are not zero, "OFFSET HEX", and first "size BYTES".
//
// A new image is made by COW_GOLDEN_OUT=FOLDER store_test --gtest_filter=GoldenTest.MakesImages;
// one that is in data/ is never changed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "cow/base/checksum.h"
#include "cow/format/geometry.h"
#include "cow/format/log_frame.h"
#include "cow/format/record.h"
#include "cow/format/superblock.h"
#include "tests/store/volume.h"

namespace cow::test {
namespace {

using format::Entry;
using format::Superblock;

constexpr uint64_t kFar = uint64_t{3} << 30;

// A text at the beginning of each page, and zeroes.
Bytes Pages(const std::string& name, size_t pages) {
  Bytes bytes(pages * kPageSize);
  for (size_t i = 0; i < pages; ++i) {
    const std::string text = absl::StrCat("page ", i, " of ", name, "\n");
    std::transform(text.begin(), text.end(), bytes.begin() + i * kPageSize,
                   [](char c) { return static_cast<std::byte>(c); });
  }
  return bytes;
}

// What every image holds. Handles that it returns are of removed objects, to be held until the
// image is taken.
std::vector<ObjectPointer> Build(Volume& volume) {
  std::vector<ObjectPointer> held;
  ObjectPointer tree = volume.CreateTree();
  TablePointer files = volume.OpenTree(tree);
  ObjectPointer one = volume.CreateFile(Pages("one", 3), files.get());
  ObjectPointer two = volume.CreateFile(Pages("two", 300), files.get());
  for (int i = 3; i <= 40; ++i) volume.CreateFile({}, files.get());
  volume.Commit();
  volume.Snapshot(one);                        // catalog 1
  volume.Snapshot(tree);                       // catalog 2
  volume.Write(one, 100, Pages("change", 1));  // over pages 0 and 1
  volume.Write(two, kFar, Pages("far", 1));    // a higher page table
  volume.Punch(two, 10 * kPageSize, 20 * kPageSize);
  held.push_back(volume.CreateFile(Pages("removed", 5), files.get()));
  volume.Clone(two, files.get());  // 42
  volume.Clone(tree);              // tree 2
  volume.Commit();
  volume.Remove(held[0], files.get());
  volume.Write(two, 5 * kPageSize, Pages("last", 1));
  volume.Commit();
  return held;
}

ModelObject File(Image content) {
  ModelObject file;
  file.attributes = "file";
  file.content = std::make_shared<Image>(std::move(content));
  return file;
}

// The same, written down by hand; at the last commit, or at the one before it.
World Expected(bool at_last = true) {
  Image one_before;
  one_before.Write(0, Pages("one", 3));
  Image two_before;
  two_before.Write(0, Pages("two", 300));
  Image one = one_before;
  one.Write(100, Pages("change", 1));
  Image two = two_before;
  two.Write(kFar, Pages("far", 1));
  two.Punch(10 * kPageSize, 20 * kPageSize);

  ModelObject snapshot;
  snapshot.version = snapshot.tree = true;
  snapshot.attributes = "tree";
  snapshot.table = std::make_shared<ModelTable>();
  snapshot.table->objects = {{1, File(one_before)}, {2, File(two_before)}};
  for (int i = 3; i <= 40; ++i) snapshot.table->objects[i] = File(Image());

  ModelObject clone = snapshot;
  clone.version = false;
  clone.table = std::make_shared<ModelTable>(*snapshot.table);
  clone.table->objects[1] = File(one);
  clone.table->objects[2] = File(two);
  Image removed;
  removed.Write(0, Pages("removed", 5));
  clone.table->objects[41] = File(removed);
  clone.table->objects[42] = File(two);

  ModelObject head = clone;
  head.table = std::make_shared<ModelTable>(*clone.table);
  head.table->objects.erase(41);
  two.Write(5 * kPageSize, Pages("last", 1));
  head.table->objects[2] = File(two);

  World world;
  world.trees.objects = {{1, at_last ? head : clone}, {2, clone}};
  ModelObject first = File(one_before);
  first.version = true;
  world.catalog.objects = {{1, first}, {2, snapshot}};
  return world;
}

// As a store that is opened for reading shows it: nothing can be written, versions stand out no
// more.
World AsRead(World world) {
  for (auto& [number, object] : world.catalog.objects) object.version = false;
  return world;
}

std::string Encode(const Image& image) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text = absl::StrCat("size ", image.size(), "\n");
  for (const auto& [number, frame] : image.frames()) {
    // Runs end at 8 zeroes, or at the end of the frame.
    for (size_t i = 0; i < kPageSize;) {
      if ((*frame)[i] == std::byte{0}) {
        ++i;
        continue;
      }
      size_t end = i;
      for (size_t j = i; j < kPageSize && j < end + 8; ++j) {
        if ((*frame)[j] != std::byte{0}) end = j + 1;
      }
      absl::StrAppend(&text, number * kPageSize + i, " ");
      for (; i < end; ++i) {
        text += kDigits[static_cast<int>((*frame)[i]) >> 4];
        text += kDigits[static_cast<int>((*frame)[i]) & 15];
      }
      text += "\n";
    }
  }
  return text;
}

std::optional<Image> Load(const std::string& name) {
  std::ifstream file(absl::StrCat(COW_STORE_TEST_DATA, "/", name));
  std::string word;
  uint64_t size = 0;
  if (!(file >> word >> size)) return std::nullopt;
  Image image;
  image.Resize(size);
  uint64_t offset = 0;
  while (file >> offset >> word) {
    Bytes bytes;
    for (size_t i = 0; i + 1 < word.size(); i += 2) {
      bytes.push_back(static_cast<std::byte>(std::stoi(word.substr(i, 2), nullptr, 16)));
    }
    image.Write(offset, bytes);
  }
  return image;
}

// Names of images in data/, whether they were made with checksums of data, and whether the newest
// superblock is complete by itself; where it is not, the volume is as a crash finds it after small
// commits.
struct Golden {
  const char* name;
  bool data_checksums;
  bool closed;
};
constexpr Golden kNotClosed = {"version-1-not-closed.image", true, false};
constexpr Golden kImages[] = {{"version-1.image", true, true},
                              {"version-1-no-data-checksums.image", false, true},
                              kNotClosed};

Image MakeImage(bool data_checksums) {
  Volume volume({.data_checksums = data_checksums});
  const std::vector<ObjectPointer> held = Build(volume);
  return volume.disk()->Copy();  // while the removed file is open
}

Bytes FrameOf(const Image& image, FrameNumber frame) {
  Bytes bytes(kPageSize);
  image.Read(OffsetOf(frame), bytes);
  return bytes;
}

TEST(GoldenTest, MakesImages) {
  const char* folder = std::getenv("COW_GOLDEN_OUT");
  for (const Golden& golden : kImages) {
    const Image image = MakeImage(golden.data_checksums);
    auto store =
        store::Store::Open(std::make_unique<MemoryFile>(std::make_shared<Disk>(image)), kQuiet);
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_EQ(Difference(Expected(), *ReadWorld(**store)), "");
    if (folder != nullptr) std::ofstream(absl::StrCat(folder, "/", golden.name)) << Encode(image);
  }
}

TEST(GoldenTest, OldImagesOpenAndHoldWhatTheyHeld) {
  for (const Golden& golden : kImages) {
    SCOPED_TRACE(golden.name);
    std::optional<Image> image = Load(golden.name);
    ASSERT_TRUE(image.has_value());
    for (const store::OpenOptions& options : {kReadOnly, kQuiet}) {
      auto store =
          store::Store::Open(std::make_unique<MemoryFile>(std::make_shared<Disk>(*image)), options);
      ASSERT_TRUE(store.ok()) << store.status();
      absl::StatusOr<World> world = ReadWorld(**store);
      ASSERT_TRUE(world.ok()) << world.status();
      EXPECT_EQ(Difference(options.read_only ? AsRead(Expected()) : Expected(), *world), "");
      EXPECT_EQ(Damages(**store), "");
    }
  }
}

TEST(GoldenTest, OldImagesCanBeWritten) {
  for (const Golden& golden : kImages) {
    SCOPED_TRACE(golden.name);
    std::optional<Image> image = Load(golden.name);
    ASSERT_TRUE(image.has_value());
    auto store =
        store::Store::Open(std::make_unique<MemoryFile>(std::make_shared<Disk>(*image)), kQuiet);
    ASSERT_TRUE(store.ok()) << store.status();
    {
      auto transaction = (*store)->Begin(store::FramesToWrite(kPageSize));
      auto tree = (*store)->trees().Open(ObjectNumber(1));
      auto file = (*(*store)->OpenTree(*tree))->Open(ObjectNumber(1));
      ASSERT_TRUE((*file)->Write(*transaction, 0, Pages("new", 1)).ok());
    }
    ASSERT_TRUE((*store)->Settle().ok());
    EXPECT_EQ(Damages(**store), "");
  }
}

// What follows reads images without the store: by the bytes that cow/format/README.md specifies.

// The frame that `entry` names, which matches its checksum.
Bytes Verified(const Image& image, const Entry& entry) {
  const Bytes bytes = FrameOf(image, entry.frame());
  EXPECT_EQ(FrameChecksum(entry.frame(), entry.birth(), bytes), entry.checksum());
  return bytes;
}

Entry ChildOf(const Image& image, const Entry& node, size_t index) {
  Entry entry;
  std::memcpy(&entry, Verified(image, node).data() + index * sizeof(entry), sizeof(entry));
  return entry;
}

format::Record RecordOf(const Image& image, Entry root, size_t number) {
  while (root.level() > 0) {
    root = ChildOf(image, root, number / format::kRecordsPerLeaf >> (8 * (root.level() - 1)) & 255);
  }
  EXPECT_TRUE(root.table());
  format::Record record;
  std::memcpy(&record,
              Verified(image, root).data() + number % format::kRecordsPerLeaf * sizeof(record),
              sizeof(record));
  EXPECT_TRUE(record.used());
  return record;
}

// The newest superblock; both copies of both slots are there.
Superblock SuperblockOf(const Image& image) {
  Superblock newest;
  for (int slot : {0, 1}) {
    Superblock copies[2];
    for (int copy : {0, 1}) {
      const FrameNumber frame = format::SuperblockFrame(slot, copy);
      const Bytes bytes = FrameOf(image, frame);
      EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), 8), "cowvol\n\x1a");
      auto superblock = format::DecodeSuperblock(bytes, frame);
      EXPECT_TRUE(superblock.ok()) << superblock.status();
      if (superblock.ok()) copies[copy] = *superblock;
    }
    EXPECT_EQ(copies[0].generation, copies[1].generation);
    if (newest.generation < copies[0].generation) newest = copies[0];
  }
  return newest;
}

// The incompatible features of a superblock as they are on the disk.
uint64_t IncompatibleOf(const Image& image, const Superblock& superblock) {
  uint64_t features = 0;
  for (int slot : {0, 1}) {
    const FrameNumber frame = format::SuperblockFrame(slot, 0);
    const Bytes bytes = FrameOf(image, frame);
    if (format::DecodeSuperblock(bytes, frame)->generation != superblock.generation) continue;
    std::memcpy(&features, bytes.data() + 48, sizeof(features));
  }
  return features;
}

TEST(GoldenTest, OldImagesDecodeAsSpecified) {
  for (const Golden& golden : kImages) {
    SCOPED_TRACE(golden.name);
    std::optional<Image> image = Load(golden.name);
    ASSERT_TRUE(image.has_value());
    const Superblock newest = SuperblockOf(*image);
    EXPECT_EQ(IncompatibleOf(*image, newest),
              (golden.data_checksums ? 0 : format::kIncompatibleNoDataChecksums) |
                  (golden.closed ? 0 : format::kIncompatibleNotClosed));
    EXPECT_EQ(newest.flushed.value() == 0, golden.closed);
    EXPECT_EQ(newest.uncounted.empty(), golden.closed);
    EXPECT_EQ(newest.trees.next_object, 3u);
    EXPECT_EQ(newest.catalog.next_object, 3u);
    EXPECT_FALSE(newest.orphans.root.empty());
    EXPECT_LE(newest.total_frames * kPageSize, image->size());

    // Down to the last page of the first file of the first tree.
    const format::Record tree = RecordOf(*image, newest.trees.root, 1);
    EXPECT_EQ(tree.flags, format::kRecordUsed | format::kRecordTree);
    EXPECT_EQ(tree.size, 43u);  // the next number
    const format::Record file = RecordOf(*image, tree.root, 1);
    EXPECT_EQ(file.flags, format::kRecordUsed);
    EXPECT_EQ(file.size, 3 * kPageSize);
    EXPECT_EQ(file.pages, 3u);
    EXPECT_EQ(std::string(file.attributes.data(), file.attribute_length), "file");
    EXPECT_EQ(file.root.level(), 1);
    const Entry page = ChildOf(*image, file.root, 2);
    EXPECT_FALSE(page.has_children());
    EXPECT_EQ(page.checksum() != 0, golden.data_checksums);
    const std::string text = "page 2 of one\n";
    const Bytes bytes = FrameOf(*image, page.frame());
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), text.size()), text);

    int logs = 0;
    for (const format::LogRoot& log : {newest.count_log, newest.free_log}) {
      if (log.first == log.end) continue;
      auto tail = format::DecodeLogFrame(Verified(*image, log.tail));
      ASSERT_TRUE(tail.ok()) << tail.status();
      EXPECT_EQ(tail->first + tail->items.size(), log.end);
      ++logs;
    }
    EXPECT_GT(logs, 0);
  }
}

// The image that was not closed, with one byte of a frame changed, opened both ways. `at_last`:
// whether the last commit is what there is then.
void ExpectWithDamage(Image image, FrameNumber frame, bool at_last) {
  SCOPED_TRACE(absl::StrCat("frame ", frame.value()));
  Bytes bytes = FrameOf(image, frame);
  bytes[100] ^= std::byte{1};
  image.Write(OffsetOf(frame), bytes);
  for (const store::OpenOptions& options : {kReadOnly, kQuiet}) {
    auto store =
        store::Store::Open(std::make_unique<MemoryFile>(std::make_shared<Disk>(image)), options);
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_EQ(Damages(**store) != "", at_last);
    if (at_last) continue;
    absl::StatusOr<World> world = ReadWorld(**store);
    ASSERT_TRUE(world.ok()) << world.status();
    const World expected = Expected(/*at_last=*/false);
    EXPECT_EQ(Difference(options.read_only ? AsRead(expected) : expected, *world), "");
  }
}

TEST(GoldenTest, AnOldImageThatWasNotClosedOpensAtTheCommitBeforeWhereItsLastLacksAnything) {
  const std::optional<Image> image = Load(kNotClosed.name);
  ASSERT_TRUE(image.has_value());
  const Superblock newest = SuperblockOf(*image);
  const format::Record tree = RecordOf(*image, newest.trees.root, 1);
  const format::Record two = RecordOf(*image, tree.root, 2);
  const auto page_of = [&](size_t page) {
    Entry entry = two.root;
    while (entry.level() > 0) {
      entry = ChildOf(*image, entry, page >> (8 * (entry.level() - 1)) & 255);
    }
    return entry;
  };
  ASSERT_GT(page_of(5).birth(), newest.flushed);
  for (const Entry& entry : {newest.trees.root, newest.orphans.root, newest.count_log.tail,
                             tree.root, two.root, page_of(5)}) {
    ExpectWithDamage(*image, entry.frame(), /*at_last=*/false);
  }
  // What was on the disk already is rot, and no reason to go back.
  ASSERT_LE(page_of(6).birth(), newest.flushed);
  ExpectWithDamage(*image, page_of(6).frame(), /*at_last=*/true);
}

}  // namespace
}  // namespace cow::test
