// Salvage of a volume that is sound, and of one in which each frame in turn is damaged: what is
// copied equals what was there, or is reported as lost; and no more is lost than was hit.
#include "cow/move/salvage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cow/format/geometry.h"
#include "cow/fs/inode.h"
#include "tests/fs/volume.h"
#include "tests/move/host_tree.h"
#include "tests/move/some_of_everything.h"
#include "tests/support/temporary_directory.h"

namespace cow::move {
namespace {

using ::testing::HasSubstr;

class SalvageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Populate(volume_);
    expected_ = ExpectedOf(volume_);
    NoteFrames();
    volume_.Close();
  }

  // Which frames hold content of files, and which names.
  void NoteFrames() {
    for (const auto& [path, entry] : expected_) {
      if (!S_ISREG(entry.mode)) continue;
      const std::string in_volume = path.substr(path.find('/') + 1);
      const auto handle = volume_->OpenFile(volume_.Id(
          in_volume.starts_with("@all") ? ".snapshots/" + in_volume.substr(1) : in_volume));
      ASSERT_TRUE(handle.ok()) << path << handle.status();
      const uint64_t pages = PagesFor(handle->size());
      const auto extents = handle->object().Extents(PageNumber(0), PageNumber(pages), false);
      for (const store::Extent& extent : *extents) {
        for (uint64_t i = 0; i < extent.count; ++i) {
          content_[(extent.frame + i).value()].insert({"/" + in_volume, (extent.page + i).value()});
        }
      }
    }
    auto table = volume_->store().OpenTree(*volume_->store().trees().Open(ObjectNumber(1)));
    for (uint64_t number = 1;; ++number) {
      const auto next = *(*table)->NextObject(ObjectNumber(number));
      if (!next.has_value()) break;
      number = next->value();
      const auto object = *(*table)->Open(*next);
      const auto record = fs::InodeRecord::Decode(object->attributes());
      if (!record.ok() || !record->is_directory()) continue;
      const auto extents =
          object->Extents(PageNumber(0), PageNumber(PagesFor(object->size())), false);
      for (const store::Extent& extent : *extents) {
        for (uint64_t i = 0; i < extent.count; ++i) names_.insert((extent.frame + i).value());
      }
    }
  }

  SalvageResult Run(const std::string& to) {
    auto result = Salvage(volume_.Disk(), to, {});
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : SalvageResult();
  }

  // Everything that is copied is as expected, but for what is reported.
  void ExpectRightOrReported(const HostTree& found, const SalvageResult& result);

  TestVolume volume_;
  HostTree expected_;
  std::map<uint64_t, std::set<std::pair<std::string, uint64_t>>> content_;
  std::set<uint64_t> names_;
  test::TemporaryDirectory directory_;
};

std::string Print(const Loss& loss) {
  return absl::StrCat(loss.path, ": ", loss.part, " lost: ", loss.cause);
}

std::string Print(const std::vector<Loss>& losses) {
  std::string text;
  for (const Loss& loss : losses) absl::StrAppend(&text, Print(loss), "\n");
  return text;
}

// What losses call it.
std::string PathOf(const std::string& copy) {
  const size_t slash = copy.find('/');
  return slash == std::string::npos ? "/" : copy.substr(slash);
}

TEST_F(SalvageTest, OfASoundVolumeIsAllOfIt) {
  const SalvageResult result = Run(directory_ / "out");
  EXPECT_EQ(Print(result.losses), "");
  const HostTree found = ReadHostTree(directory_ / "out");
  for (const auto& [path, entry] : expected_) {
    ASSERT_TRUE(found.contains(path)) << path;
    EXPECT_EQ(found.at(path), entry) << path;
  }
  for (const auto& [path, entry] : found) {
    EXPECT_TRUE(expected_.contains(path) || IsFrame(expected_, path)) << path;
  }
  EXPECT_LT(found.at("live/sparse").allocated, 20 * kPageSize);
  EXPECT_EQ(result.snapshots, 8u);
  EXPECT_EQ(result.files,
            static_cast<uint64_t>(std::ranges::count_if(expected_, [](const auto& item) {
              return item.first.starts_with("live/") && !S_ISDIR(item.second.mode);
            })));
}

TEST_F(SalvageTest, NeitherWritesTheVolumeNorWhatIsThere) {
  auto disk = volume_.Disk();
  std::string before(disk->Size().value(), '\0');
  std::string after = before;
  ASSERT_TRUE(disk->Read(0, std::as_writable_bytes(std::span(before))).ok());
  Run(directory_ / "out");
  ASSERT_TRUE(disk->Read(0, std::as_writable_bytes(std::span(after))).ok());
  EXPECT_EQ(before, after);
  const auto again = Salvage(volume_.Disk(), directory_ / "out", {});
  EXPECT_EQ(ErrnoOf(again.status()), ENOTEMPTY);
}

TEST_F(SalvageTest, OfAVolumeWithoutASuperblockIsAnError) {
  auto disk = volume_.Disk();
  const std::string rot(16, 'r');
  for (int slot : {0, 1}) {
    for (int copy : {0, 1}) {
      ASSERT_TRUE(disk->Write(OffsetOf(format::SuperblockFrame(slot, copy)) + 64,
                              std::as_bytes(std::span(rot)))
                      .ok());
    }
  }
  const auto result = Salvage(volume_.Disk(), directory_ / "out", {});
  EXPECT_TRUE(absl::IsDataLoss(result.status())) << result.status();
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("superblock"));
  EXPECT_NE(access((directory_ / "out").c_str(), F_OK), 0);
}

TEST_F(SalvageTest, OfATruncatedVolumeIsWhatIsLeft) {
  auto disk = volume_.Disk();
  // What was written last lies at the end.
  ASSERT_TRUE(disk->Resize(disk->Size().value() / 4).ok());
  const auto result = Salvage(volume_.Disk(), directory_ / "out", {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->losses.empty());
  ExpectRightOrReported(ReadHostTree(directory_ / "out"), *result);
}

// By its place: what has no name, or is not sure to have it still.
bool InLostAndFound(const std::string& path) {
  return path.find("lost+found") != std::string::npos ||
         path.find("/@deleted/") != std::string::npos;
}

// Content without a record: a part of a file, in whole pages.
bool IsPart(const std::string& path) { return path.find("/pages-of-frame-") != std::string::npos; }

void SalvageTest::ExpectRightOrReported(const HostTree& found, const SalvageResult& result) {
  std::multimap<std::string, Loss> losses;
  for (const Loss& loss : result.losses) losses.emplace(loss.path, loss);
  for (const auto& [path, entry] : found) {
    if (IsFrame(expected_, path)) continue;
    const auto [begin, end] = losses.equal_range(PathOf(path));
    if (!expected_.contains(path)) {
      // It has lost its name; but it is one of the files.
      EXPECT_TRUE(InLostAndFound(path)) << path;
      continue;
    }
    HostEntry good = expected_.at(path);
    HostEntry got = entry;
    for (auto loss = begin; loss != end; ++loss) {
      const Loss& lost = loss->second;
      if (lost.end > 0) {
        ASSERT_LE(lost.end, good.content.size());
        std::fill(good.content.begin() + lost.begin, good.content.begin() + lost.end, '\0');
      } else if (lost.part.starts_with("extended attribute")) {
        good.xattrs = got.xattrs = {};
      } else if (lost.part.empty() || lost.part.starts_with("trees")) {
        // A directory whose record is lost stands for what is still in it.
        EXPECT_TRUE(S_ISDIR(got.mode)) << path;
        good = got;
      }
    }
    // Of names of one file the first may be the one that is lost.
    good.first_name = got.first_name = "";
    EXPECT_EQ(got, good) << path << "\n" << Print(result.losses);
  }
  for (const auto& [path, entry] : expected_) {
    if (found.contains(path)) continue;
    EXPECT_FALSE(losses.empty()) << path << " is missing, and nothing is reported";
  }
}

TEST_F(SalvageTest, OfEachFrameThatRotsNoMoreIsLostThanWasHit) {
  auto disk = volume_.Disk();
  const uint64_t frames = disk->Size().value() / kPageSize;
  std::set<std::string> contents;
  for (const auto& [path, entry] : expected_) {
    if (S_ISREG(entry.mode)) contents.insert(entry.content);
  }
  int lossy = 0;
  for (uint64_t frame = 0; frame < frames; ++frame) {
    std::string bytes(kPageSize, '\0');
    ASSERT_TRUE(disk->Read(frame * kPageSize, std::as_writable_bytes(std::span(bytes))).ok());
    if (bytes == std::string(kPageSize, '\0')) continue;
    std::string rotten = bytes;
    rotten[frame * 37 % kPageSize] ^= static_cast<char>(1 << frame % 8);
    ASSERT_TRUE(disk->Write(frame * kPageSize, std::as_bytes(std::span(rotten))).ok());
    const std::string out = directory_ / absl::StrCat("out", frame);
    const SalvageResult result = Run(out);
    const HostTree found = ReadHostTree(out);
    std::filesystem::remove_all(out);
    ASSERT_TRUE(disk->Write(frame * kPageSize, std::as_bytes(std::span(bytes))).ok());

    SCOPED_TRACE(absl::StrCat("frame ", frame, "\n", Print(result.losses)));
    ExpectRightOrReported(found, result);
    const std::string blamed = absl::StrCat("frame ", frame, " (");
    bool any_blamed = false;
    std::set<std::pair<std::string, uint64_t>> pages;
    for (const Loss& loss : result.losses) {
      const bool by_frame = loss.cause.find(blamed) != std::string::npos;
      any_blamed = any_blamed || by_frame;
      // A node that rotted may lead to what never was there, and to all else.
      EXPECT_TRUE(by_frame || loss.cause == "no name that can be read leads to it" ||
                  loss.path.starts_with("/lost+found/"))
          << Print(loss);
      for (uint64_t at = loss.begin; at < loss.end; at += kPageSize) {
        pages.insert({loss.path, at / kPageSize});
      }
    }
    EXPECT_EQ(any_blamed, !result.losses.empty());
    if (const auto hit = content_.find(frame); hit != content_.end()) {
      EXPECT_EQ(pages, hit->second);
      EXPECT_EQ(result.losses.size(), hit->second.size());
    }
    // Where only names rot, every file is there still.
    if (names_.contains(frame)) {
      EXPECT_FALSE(result.losses.empty());
      std::set<std::string> copied;
      for (const auto& [path, entry] : found) {
        if (S_ISREG(entry.mode)) copied.insert(entry.content);
      }
      EXPECT_EQ(copied, contents);
    }
    // What is without a name holds nothing that was not in the volume.
    for (const auto& [path, entry] : found) {
      if (!InLostAndFound(path) || !S_ISREG(entry.mode) || IsPart(path)) continue;
      const bool whole = std::ranges::none_of(result.losses, [&, &path = path](const Loss& loss) {
        return loss.path == PathOf(path) && loss.end > 0;
      });
      EXPECT_TRUE(!whole || contents.contains(entry.content)) << path;
    }
    if (result.losses.empty()) {
      for (const auto& [path, entry] : expected_) {
        EXPECT_TRUE(found.contains(path) && found.at(path) == entry) << path;
      }
    } else {
      ++lossy;
    }
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(lossy, 60);
}

// Of what lies behind a node that is lost the range is told, and no page looked for in it.
TEST(SalvageOfAHugeFileTest, EndsWhicheverFrameRots) {
  constexpr uint64_t kSize = uint64_t{1} << 42;
  TestVolume volume;
  const NodeId id = volume.MakeFile("huge", "begin").id;
  {
    auto handle = volume->OpenFile(id);
    const std::string end = "end";
    ASSERT_EQ(handle->Write(kSize - end.size(), std::as_bytes(std::span(end))), absl::OkStatus());
  }
  volume.Close();
  const test::TemporaryDirectory directory;
  auto disk = volume.Disk();
  uint64_t most = 0;
  for (uint64_t frame = 0; frame < disk->Size().value() / kPageSize; ++frame) {
    std::string bytes(kPageSize, '\0');
    ASSERT_TRUE(disk->Read(frame * kPageSize, std::as_writable_bytes(std::span(bytes))).ok());
    if (bytes == std::string(kPageSize, '\0')) continue;
    std::string rotten = bytes;
    rotten[1000] ^= 1;
    ASSERT_TRUE(disk->Write(frame * kPageSize, std::as_bytes(std::span(rotten))).ok());
    const auto result = Salvage(volume.Disk(), directory / absl::StrCat("out", frame), {});
    ASSERT_TRUE(disk->Write(frame * kPageSize, std::as_bytes(std::span(bytes))).ok());
    ASSERT_TRUE(result.ok()) << frame << ": " << result.status();
    for (const Loss& loss : result->losses) most = std::max(most, loss.end - loss.begin);
  }
  EXPECT_EQ(most, kSize);  // its root
}

}  // namespace
}  // namespace cow::move
