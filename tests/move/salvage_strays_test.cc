// Salvage where no commit leads to what was lost: what is found of it all the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "cow/format/geometry.h"
#include "cow/format/record.h"
#include "cow/fs/inode.h"
#include "cow/move/salvage.h"
#include "tests/fs/volume.h"
#include "tests/move/damaged_volume.h"
#include "tests/move/host_tree.h"
#include "tests/move/some_of_everything.h"

namespace cow::move {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A volume that was closed: both slots lead to the same nodes of tables.
class SalvageOfLostNodesTest : public SalvageOfNodesTest {
 protected:
  void TakeClosed(TestVolume& volume) {
    expected_ = ExpectedOf(volume);
    volume.Close();
    Take(volume);
  }

  // Contents of files that are below `prefix`, but not below `apart`.
  static std::set<std::string> Contents(const HostTree& tree, const std::string& prefix) {
    std::set<std::string> contents;
    for (const auto& [path, entry] : tree) {
      if (path.starts_with(prefix) && S_ISREG(entry.mode)) contents.insert(entry.content);
    }
    return contents;
  }

  // How many of the files below `prefix` were found in whole, with or without their names.
  size_t Found(const std::string& prefix) const {
    const std::set<std::string> found = Contents(found_, "");
    return std::ranges::count_if(Contents(expected_, prefix), [&](const std::string& content) {
      return found.contains(content);
    });
  }

  size_t Expected(const std::string& prefix) const { return Contents(expected_, prefix).size(); }

  // Nothing is copied that was not in the volume.
  void ExpectNothingElse() const {
    std::set<std::string> pages = {std::string(kPageSize, '\0')};
    const auto each_page = [](const std::string& content, const auto& use) {
      for (size_t at = 0; at < content.size(); at += kPageSize) {
        std::string page = content.substr(at, kPageSize);
        page.resize(kPageSize);
        use(page);
      }
    };
    for (const auto& [path, entry] : expected_) {
      if (S_ISREG(entry.mode)) each_page(entry.content, [&](auto& page) { pages.insert(page); });
    }
    for (const auto& [path, entry] : found_) {
      if (!S_ISREG(entry.mode)) continue;
      each_page(entry.content, [&, &path = path](auto& page) {
        EXPECT_TRUE(pages.contains(page)) << path << ": " << page.substr(0, 40);
      });
    }
  }

  // Where the last frame ends that holds anything: behind it is what may be written next.
  uint64_t EndOfUse() const {
    uint64_t frame = file_->Size().value() / kPageSize;
    while (ReadFrame(*file_, FrameNumber(frame - 1)) == std::string(kPageSize, '\0')) --frame;
    return frame * kPageSize;
  }

  // The path of a copy that ends so; empty where there is none.
  std::string PathEnding(const std::string& end) const {
    for (const auto& [path, entry] : found_) {
      if (path.starts_with("live/lost+found/") && path.ends_with(end)) return path;
    }
    return "";
  }

  HostTree expected_;
};

TEST_F(SalvageOfLostNodesTest, WithoutTheTableOfTreesFindsTheTreesAndAllNamesInThem) {
  TestVolume volume;
  const NodeId a = volume.MakeFile("a", Text(3 * kPageSize + 100, 'A')).id;
  ASSERT_EQ(volume.Link("a", "also-a"), 0);
  EXPECT_EQ(volume->SetXattr(a, "user.big", Text(1500, 'X')), absl::OkStatus());
  volume.MakeDirectory("dir");
  volume.MakeDirectory("dir/sub");
  volume.MakeFile("dir/sub/x", "within");
  volume.MakeTree("t");
  for (int i = 0; i < 40; ++i) volume.MakeFile(absl::StrCat("t/f", i), absl::StrCat("tree ", i));
  TakeClosed(volume);
  Destroy(Superblock().trees.root.frame());
  const SalvageResult result = Run();
  EXPECT_EQ(Found("live/"), Expected("live/"));
  for (const char* path : {"/a", "/also-a", "/dir", "/dir/sub", "/dir/sub/x", "/f7"}) {
    SCOPED_TRACE(path);
    ASSERT_NE(PathEnding(path), "");
    const HostEntry& found = found_.at(PathEnding(path));
    const HostEntry& expected =
        expected_.at(path[1] == 'f' ? "live/t/f7" : absl::StrCat("live", path));
    EXPECT_EQ(found.content, expected.content);
    EXPECT_EQ(found.mode, expected.mode);
    EXPECT_EQ(found.mtime, expected.mtime);
    EXPECT_EQ(found.xattrs, expected.xattrs);
  }
  EXPECT_THAT(Lines(result), Contains(AllOf(StartsWith("/lost+found/frame-"),
                                            HasSubstr(": its name lost: no name that can"))));
  ExpectNothingElse();
}

// A page that a user wrote may look like records; what comes of it has no rights.
TEST_F(SalvageOfLostNodesTest, RecordsThatNothingVouchesForGrantNothing) {
  TestVolume volume;
  std::string forged(kPageSize, '\0');
  for (const auto type : {FileType::kRegular, FileType::kBlockDevice}) {
    fs::InodeRecord inode{.type = type, .mode = 06755};
    const std::string attributes = inode.Encode();
    format::Record record;
    record.flags = format::kRecordUsed;
    record.attribute_length = static_cast<uint16_t>(attributes.size());
    std::memcpy(record.attributes.data(), attributes.data(), attributes.size());
    std::memcpy(forged.data() + static_cast<size_t>(type) * sizeof(record), &record,
                sizeof(record));
  }
  volume.MakeFile("forged", forged + forged);
  TakeClosed(volume);
  Destroy(RecordIn(RootOfTree(1), 2).root.frame());
  Run();
  int copies = 0;
  for (const auto& [path, entry] : found_) {
    if (!path.starts_with("live/lost+found/")) continue;
    EXPECT_TRUE(S_ISREG(entry.mode)) << path;
    EXPECT_EQ(entry.mode & 07777, 0755u) << path;
    ++copies;
  }
  EXPECT_EQ(copies, 2);  // one of each page
}

TEST_F(SalvageOfLostNodesTest, WithoutTheRootOfATreeFindsItsFilesWithoutNames) {
  TestVolume volume;
  Populate(volume);
  TakeClosed(volume);
  Destroy(RootOfTree(1).frame());
  Run();
  EXPECT_EQ(Found("live/"), Expected("live/"));
  EXPECT_FALSE(found_.contains("live/a"));
  EXPECT_EQ(Content("live/t/f3"), "nothing at live/t/f3");  // no name leads to tree 2
  EXPECT_EQ(Content("live/lost+found/2.1/f3"), "changed");
  ExpectNothingElse();
}

TEST_F(SalvageOfLostNodesTest, WithoutTheCatalogFindsWhatOnlySnapshotsHave) {
  TestVolume volume;
  Populate(volume);
  TakeClosed(volume);
  Destroy(Superblock().catalog.root.frame());
  Run();
  EXPECT_EQ(Found(""), Expected(""));
  EXPECT_EQ(Content("live/dir/sub/x"), "within");
  ExpectNothingElse();
}

TEST_F(SalvageOfLostNodesTest, WithoutTheRootOfAFileFindsItsPages) {
  TestVolume volume;
  std::string content = Text(700 * kPageSize, 'F');
  for (size_t page = 0; page < 700; ++page)
    content.replace(page * kPageSize, 5, absl::StrCat(page + 10'000));
  volume.MakeFile("long", content);
  TakeClosed(volume);
  Destroy(RecordIn(RootOfTree(1), 2).root.frame());
  const SalvageResult result = Run();
  std::set<std::string> found;
  for (const auto& [path, entry] : found_) {
    if (path.starts_with("live/lost+found/pages-of-frame-")) found.insert(entry.content);
  }
  EXPECT_TRUE(found == std::set<std::string>({content.substr(0, 256 * kPageSize),
                                              content.substr(256 * kPageSize, 256 * kPageSize),
                                              content.substr(512 * kPageSize)}))
      << found.size();
  EXPECT_EQ(result.files, 4u);
}

// Files of one, 20 and 300 pages.
void FillWithFiles(TestVolume& volume, int files) {
  for (int i = 0; i < files; ++i) {
    const size_t size = i % 20 == 0 ? 300 : i % 2 == 0 ? 20 : 1;
    std::string content = Text(size * kPageSize, static_cast<char>('A' + i % 26));
    for (size_t at = 0; at < content.size(); at += kPageSize) {
      content.replace(at, 20, absl::StrCat("file ", i, " byte ", 100'000'000 + at).substr(0, 20));
    }
    volume.MakeFile(absl::StrCat("f", i), content);
    if (i % 50 == 0) {
      EXPECT_EQ(volume->Sync(), absl::OkStatus());
    }
  }
}

TEST_F(SalvageOfLostNodesTest, OfAVolumeThatWasCutOffMostOfWhatIsLeftIsFound) {
  for (const double rest : {0.965, 0.8}) {
    SCOPED_TRACE(rest);
    TestVolume volume;
    FillWithFiles(volume, 200);
    TakeClosed(volume);
    Destroy(RootOfTree(1).frame());  // as if it lay at the end
    ASSERT_TRUE(file_->Resize(static_cast<uint64_t>(EndOfUse() * rest)).ok());
    const SalvageResult result = Run();
    EXPECT_FALSE(result.losses.empty());
    EXPECT_GE(Found("live/"), Expected("live/") * (rest > 0.9 ? 85 : 70) / 100);
    ExpectNothingElse();
  }
}

TEST_F(SalvageOfLostNodesTest, OfAVolumeThatRotsHereAndThereMostIsFound) {
  for (const int seed : {1, 2, 3}) {
    SCOPED_TRACE(seed);
    TestVolume volume;
    FillWithFiles(volume, 200);
    TakeClosed(volume);
    Destroy(RootOfTree(1).frame());
    std::mt19937_64 random(seed);
    const uint64_t frames = EndOfUse() / kPageSize;
    const auto any = [&] {
      return FrameNumber(format::kZoneHeader + random() % (frames - format::kZoneHeader));
    };
    for (uint64_t i = 0; i < frames / 200; ++i) {
      Destroy(any());
      // What belongs elsewhere, which may be a node.
      const std::string misplaced = ReadFrame(*file_, any());
      ASSERT_TRUE(file_->Write(OffsetOf(any()), std::as_bytes(std::span(misplaced))).ok());
    }
    Run();
    // Of 200 files, about 26 have a page among the frames that rot.
    EXPECT_GE(Found("live/"), Expected("live/") * 80 / 100);
    ExpectNothingElse();
  }
}

TEST_F(SalvageOfLostNodesTest, WhatWasRemovedOrReplacedIsLeftAlone) {
  TestVolume volume;
  FillWithFiles(volume, 60);
  for (int i = 0; i < 40; ++i) {
    volume.Write(absl::StrCat("f", i), absl::StrCat("new ", i));
    ASSERT_EQ(volume->Sync(), absl::OkStatus());
  }
  expected_ = ExpectedOf(volume);
  Take(volume);
  Destroy(RootOfTree(1).frame());
  const SalvageResult result = Run();
  EXPECT_EQ(Found("live/"), Expected("live/"));
  EXPECT_LE(result.files, Expected("live/") * 5 / 4);
}

}  // namespace
}  // namespace cow::move
