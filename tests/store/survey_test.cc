// Surveys: what is told of page tables and tables that are whole, and of what is left of others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/format/record.h"
#include "tests/store/forge.h"
#include "tests/store/volume.h"

namespace cow::test {
namespace {

using format::Entry;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kLeaf = format::kFanout;          // pages below a node of level 1
constexpr uint64_t kNode = kLeaf * format::kFanout;  // below one of level 2
constexpr uint64_t kRecords = format::kRecordsPerLeaf;

// What a survey of a file or a table tells, as "BEGIN+COUNT" and "BEGIN+COUNT lost"; ended by the
// surveyor after `most` answers.
template <typename Surveyed>
std::vector<std::string> Survey(const Surveyed& surveyed, size_t most = 1000) {
  std::vector<std::string> told;
  const absl::Status status =
      surveyed.Survey([&](uint64_t begin, uint64_t count, const absl::Status& found) {
        EXPECT_TRUE(found.ok() || absl::IsDataLoss(found)) << found;
        EXPECT_LT(told.size(), most) << "a survey goes on after it was ended";
        told.push_back(absl::StrCat(begin, "+", count, found.ok() ? "" : " lost"));
        return told.size() < most;
      });
  EXPECT_TRUE(status.ok()) << status;
  return told;
}

Entry ChildOf(const Image& image, const Entry& node, uint64_t index) {
  FrameBytes bytes;
  image.Read(OffsetOf(node.frame()), bytes);
  Entry child;
  std::memcpy(&child, bytes.data() + index * sizeof(child), sizeof(child));
  return child;
}

// The node of `level` on the path from `entry` to `unit`.
Entry NodeAt(const Image& image, Entry entry, uint64_t unit, int level) {
  while (entry.level() > level) {
    const uint64_t index = unit >> (format::kFanoutShift * (entry.level() - 1));
    entry = ChildOf(image, entry, index % format::kFanout);
  }
  EXPECT_EQ(entry.level(), level);
  EXPECT_FALSE(entry.empty());
  return entry;
}

Entry CatalogOf(const Image& image) {
  int slot = 0;
  return NewestSuperblock(image, &slot).catalog.root;
}

// Of object `number` of the catalog.
Entry RootOf(const Image& image, uint64_t number) {
  const Entry leaf = NodeAt(image, CatalogOf(image), number / kRecords, 0);
  FrameBytes bytes;
  image.Read(OffsetOf(leaf.frame()), bytes);
  format::Record record;
  std::memcpy(&record, bytes.data() + number % kRecords * sizeof(record), sizeof(record));
  return record.root;
}

class SurveyTest : public ::testing::Test {
 protected:
  void WritePages(const ObjectPointer& file, uint64_t page, uint64_t count) {
    volume_.Write(file, page * kPageSize, RandomBytes(count * kPageSize, page));
  }

  // What is on the disk once the volume is closed.
  Image Close() {
    volume_.Close();
    return volume_.disk()->Copy();
  }
  void Damage(const Entry& entry) {
    MemoryFile disk(volume_.disk());
    FrameBytes bytes;
    ASSERT_TRUE(disk.Read(OffsetOf(entry.frame()), bytes).ok());
    bytes[7] ^= std::byte{1};
    ASSERT_TRUE(disk.Write(OffsetOf(entry.frame()), bytes).ok());
  }
  // For reading.
  std::vector<std::string> SurveyOfFile(uint64_t number, size_t most = 1000) {
    auto store = volume_.OpenAnother(kReadOnly);
    EXPECT_TRUE(store.ok()) << store.status();
    return Survey(**(*store)->catalog().Open(ObjectNumber(number)), most);
  }
  std::vector<std::string> SurveyOfCatalog(size_t most = 1000) {
    auto store = volume_.OpenAnother(kReadOnly);
    EXPECT_TRUE(store.ok()) << store.status();
    return Survey((*store)->catalog(), most);
  }

  Volume volume_;
};

// A file of which pages lie below several nodes of each level.
class FileSurveyTest : public SurveyTest {
 protected:
  FileSurveyTest() {
    ObjectPointer file = volume_.CreateFile();
    WritePages(file, 0, 3);
    WritePages(file, kLeaf - 2, 5);      // over the border of two nodes of level 1
    WritePages(file, 4 * kLeaf, kLeaf);  // all of one
    WritePages(file, kNode - 1, 3);      // over the border of two of level 2
    WritePages(file, 5 * kNode, 1);
    number_ = file->number().value();
  }
  uint64_t number_;
};

TEST_F(FileSurveyTest, RunsOfPagesAreToldInOrderAndJoinedOverNodes) {
  Close();
  EXPECT_THAT(SurveyOfFile(number_),
              ElementsAre("0+3", "254+5", "1024+256", "65535+3", "327680+1"));
}

TEST_F(FileSurveyTest, AFileWithoutPagesHasNothingToTell) {
  const ObjectPointer empty = volume_.CreateFile();
  const ObjectPointer hole = volume_.CreateFile();
  volume_.Truncate(hole, uint64_t{1} << 40);
  const ObjectPointer emptied = volume_.CreateFile(RandomBytes(10 * kPageSize, 1));
  volume_.Truncate(emptied, 0);
  for (const ObjectPointer& file : {empty, hole, emptied}) {
    EXPECT_THAT(Survey(*volume_.Snapshot(file)), IsEmpty());
  }
}

TEST_F(FileSurveyTest, ALostNodeCostsThePagesBelowIt) {
  const Image image = Close();
  Damage(NodeAt(image, RootOf(image, number_), kLeaf, 1));
  EXPECT_THAT(SurveyOfFile(number_),
              ElementsAre("0+3", "254+2", "256+256 lost", "1024+256", "65535+3", "327680+1"));
  Damage(NodeAt(image, RootOf(image, number_), kNode, 2));
  EXPECT_THAT(SurveyOfFile(number_), ElementsAre("0+3", "254+2", "256+256 lost", "1024+256",
                                                 "65535+1", "65536+65536 lost", "327680+1"));
}

TEST_F(FileSurveyTest, TwoLostNodesSideBySideAreToldOneAfterTheOther) {
  const Image image = Close();
  Damage(NodeAt(image, RootOf(image, number_), 0, 1));
  Damage(NodeAt(image, RootOf(image, number_), kLeaf, 1));
  EXPECT_THAT(SurveyOfFile(number_),
              ElementsAre("0+256 lost", "256+256 lost", "1024+256", "65535+3", "327680+1"));
}

TEST_F(FileSurveyTest, OfALostRootNothingIsLeft) {
  const Image image = Close();
  const Entry root = RootOf(image, number_);
  ASSERT_EQ(root.level(), 3);
  Damage(root);
  EXPECT_THAT(SurveyOfFile(number_), ElementsAre("0+16777216 lost"));
}

TEST_F(FileSurveyTest, ADamagedPageIsToldAsDataForNoPageIsRead) {
  const Image image = Close();
  const Entry leaf = NodeAt(image, RootOf(image, number_), 0, 1);
  Damage(ChildOf(image, leaf, 1));
  EXPECT_EQ(SurveyOfFile(number_).front(), "0+3");
}

TEST_F(FileSurveyTest, ItEndsWhenItIsTold) {
  const Image image = Close();
  Damage(NodeAt(image, RootOf(image, number_), kLeaf, 1));
  EXPECT_THAT(SurveyOfFile(number_, 1), ElementsAre("0+3"));
  // Before and at what is lost.
  EXPECT_THAT(SurveyOfFile(number_, 2), ElementsAre("0+3", "254+2"));
  EXPECT_THAT(SurveyOfFile(number_, 3), ElementsAre("0+3", "254+2", "256+256 lost"));
  EXPECT_EQ(SurveyOfFile(number_, 5).size(), 5u);
}

TEST_F(FileSurveyTest, OnlyWhatCannotBeWrittenIsSurveyed) {
  const ObjectPointer head = volume_.Open(number_);
  const ObjectPointer snapshot = volume_.Snapshot(head);
  volume_.Write(head, 10 * kPageSize, RandomBytes(1, 1));
  EXPECT_EQ(Survey(*snapshot).size(), 5u);
  const auto never = [](uint64_t, uint64_t, const absl::Status&) {
    ADD_FAILURE() << "of what may change nothing can be told";
    return true;
  };
  for (const absl::Status& status : {head->Survey(never), volume_->catalog().Survey(never)}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_EQ(ErrnoOf(status), EBUSY) << status;
  }
}

TEST_F(SurveyTest, TheObjectsOfATableAreToldOneByOne) {
  std::vector<ObjectPointer> files;
  for (int i = 1; i <= 40; ++i) files.push_back(volume_.CreateFile());
  for (int i = 1; i <= 40; ++i) {
    if (i != 1 && i != 15 && i != 16 && i != 40) volume_.Remove(files[i - 1]);
  }
  files.clear();
  Close();
  EXPECT_THAT(SurveyOfCatalog(), ElementsAre("1+1", "15+1", "16+1", "40+1"));
  EXPECT_THAT(SurveyOfCatalog(2), ElementsAre("1+1", "15+1"));
}

TEST_F(SurveyTest, ATableWithoutObjectsHasNothingToTell) {
  const ObjectPointer tree = volume_.CreateTree();
  const ObjectPointer snapshot = volume_.Snapshot(tree);
  EXPECT_THAT(Survey(*volume_.OpenTree(snapshot)), IsEmpty());
}

TEST_F(SurveyTest, ASnapshotOfATreeIsSurveyedBesideItsHead) {
  const ObjectPointer tree = volume_.CreateTree();
  const TablePointer head = volume_.OpenTree(tree);
  volume_.CreateFile({}, head.get());
  const ObjectPointer snapshot = volume_.Snapshot(tree);
  volume_.CreateFile({}, head.get());
  EXPECT_THAT(Survey(*volume_.OpenTree(snapshot)), ElementsAre("1+1"));
}

TEST_F(SurveyTest, ALostLeafOfATableCostsItsRecords) {
  for (int i = 1; i <= 50; ++i) volume_.CreateFile();
  const Image image = Close();
  Damage(NodeAt(image, CatalogOf(image), 1, 0));
  const std::vector<std::string> told = SurveyOfCatalog();
  ASSERT_EQ(told.size(), 50u - kRecords + 1);
  EXPECT_EQ(told[14], "15+1");
  EXPECT_EQ(told[15], "16+16 lost");
  EXPECT_EQ(told[16], "32+1");
  EXPECT_EQ(SurveyOfCatalog(16).back(), "16+16 lost");
}

TEST_F(SurveyTest, ALostNodeOfATableCostsTheRecordsBelowIt) {
  constexpr uint64_t kObjects = kLeaf * kRecords + 20;
  for (uint64_t i = 1; i <= kObjects; ++i) volume_.CreateFile();
  const Image image = Close();
  Damage(NodeAt(image, CatalogOf(image), 0, 1));
  const std::vector<std::string> told = SurveyOfCatalog();
  ASSERT_EQ(told.size(), 1u + 21u);
  EXPECT_EQ(told[0], "0+4096 lost");
  EXPECT_EQ(told[1], "4096+1");
  Damage(CatalogOf(image));
  EXPECT_THAT(SurveyOfCatalog(), ElementsAre("0+1048576 lost"));
}

}  // namespace
}  // namespace cow::test
