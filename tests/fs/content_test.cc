#include <random>

#include "tests/fs/volume.h"
#include "tests/support/seed.h"

namespace cow::fs {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::string Random(std::mt19937_64& random, size_t length) {
  std::string text(length, '\0');
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}

TEST(CopyTest, AnyRangeIsAsIfCopiedByHand) {
  TestVolume volume;
  std::mt19937_64 random(test::Seed(3));
  const Node a = volume.MakeFile("a");
  const Node b = volume.MakeFile("b");
  FileHandle source = volume->OpenFile(a.id).value();
  FileHandle target = volume->OpenFile(b.id).value();
  for (int round = 0; round < 60; ++round) {
    std::string from = Random(random, 1 + random() % 400000);
    std::string to = Random(random, random() % 400000);
    volume.Write(a.id, from);
    volume.Write(b.id, to);
    uint64_t source_offset = random() % from.size();
    uint64_t target_offset = random() % (to.size() + 10000);
    if (round % 3 != 0) target_offset = target_offset / 4096 * 4096 + source_offset % 4096;
    if (round % 5 == 0) source_offset = target_offset = 0;
    const uint64_t length = round % 4 == 0 ? 1 << 20 : 1 + random() % 300000;
    const uint64_t copied = std::min<uint64_t>(length, from.size() - source_offset);
    auto result = volume->CopyRange(source, source_offset, target, target_offset, length);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(*result, copied);
    to.resize(std::max<size_t>(to.size(), target_offset + copied));
    to.replace(target_offset, copied, from, source_offset, copied);
    ASSERT_EQ(TestVolume::Read(target), to) << "round " << round;
    ASSERT_EQ(TestVolume::Read(source), from);
  }
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(CopyTest, AWholeFileSharesItsPages) {
  TestVolume volume;
  const std::string content(1 << 20, 'c');
  volume.MakeFile("a", content);
  FileHandle source = volume->OpenFile(volume.Id("a")).value();
  FileHandle target = volume->OpenFile(volume.MakeFile("b").id).value();
  ASSERT_EQ(volume->CopyRange(source, 0, target, 0, 1 << 30).value(), content.size());
  EXPECT_EQ(volume->SpaceOf(target.id())->referenced, content.size());
  EXPECT_EQ(volume->SpaceOf(target.id())->exclusive, 0u);
  EXPECT_EQ(ErrnoOf(volume->CopyRange(source, 0, source, 100, 200).status()), EINVAL);
  ASSERT_EQ(volume->CopyRange(source, 0, source, 1 << 20, 1 << 20).value(), content.size());
  EXPECT_EQ(TestVolume::Read(source), content + content);
}

TEST(FileTest, PunchesZeroesAndSeeks) {
  TestVolume volume;
  FileHandle file = volume->OpenFile(volume.MakeFile("f", std::string(40960, 'x')).id).value();
  ASSERT_EQ(file.Punch(4000, 8388), absl::OkStatus());
  EXPECT_EQ(file.SeekHole(0).value(), 4096u);
  EXPECT_EQ(file.SeekData(4096).value(), 12288u);
  EXPECT_EQ(file.size(), 40960u);
  ASSERT_EQ(file.ZeroRange(40000, 5000, /*keep_size=*/false), absl::OkStatus());
  EXPECT_EQ(file.size(), 45000u);
  ASSERT_EQ(file.Allocate(0, 100000, /*keep_size=*/true), absl::OkStatus());
  EXPECT_EQ(file.size(), 45000u);
  ASSERT_EQ(file.Allocate(0, 100000, /*keep_size=*/false), absl::OkStatus());
  std::string expected(100000, '\0');
  expected.replace(0, 4000, 4000, 'x');
  expected.replace(12388, 40000 - 12388, 40000 - 12388, 'x');
  EXPECT_EQ(TestVolume::Read(file), expected);
  EXPECT_EQ(ErrnoOf(file.SeekData(100000).status()), ENXIO);
  EXPECT_EQ(ErrnoOf(file.Punch(0, 0)), EINVAL);
  EXPECT_EQ(ErrnoOf(file.Truncate(uint64_t{1} << 60)), EFBIG);
}

TEST(XattrTest, AnySizeIsKept) {
  TestVolume volume;
  const NodeId file = volume.MakeFile("f").id;
  const NodeId link =
      volume.Make("l", {.type = FileType::kSymlink, .mode = 0777, .target = "f"}).id;
  EXPECT_EQ(ErrnoOf(volume->GetXattr(file, "user.a").status()), ENODATA);
  EXPECT_EQ(ErrnoOf(volume->SetXattr(file, "user.a", "v", XattrMode::kReplace)), ENODATA);
  for (const NodeId id : {file, link}) {
    ASSERT_EQ(volume->SetXattr(id, "user.a", "small"), absl::OkStatus());
    EXPECT_EQ(ErrnoOf(volume->SetXattr(id, "user.a", "v", XattrMode::kCreate)), EEXIST);
    ASSERT_EQ(volume->SetXattr(id, "user.b", std::string(kMaxXattrValue, 'b')), absl::OkStatus());
    EXPECT_EQ(ErrnoOf(volume->SetXattr(id, "user.c", std::string(kMaxXattrValue + 1, 'c'))), E2BIG);
    volume.Reopen();
    EXPECT_EQ(volume->GetXattr(id, "user.a").value(), "small");
    EXPECT_EQ(volume->GetXattr(id, "user.b")->size(), kMaxXattrValue);
    EXPECT_THAT(volume->ListXattrs(id).value(), ElementsAre("user.a", "user.b"));
    EXPECT_THAT(volume.Damages(), IsEmpty());
    ASSERT_EQ(volume->RemoveXattr(id, "user.b"), absl::OkStatus());
    ASSERT_EQ(volume->RemoveXattr(id, "user.a"), absl::OkStatus());
    EXPECT_EQ(ErrnoOf(volume->RemoveXattr(id, "user.a")), ENODATA);
    EXPECT_THAT(volume->ListXattrs(id).value(), IsEmpty());
    EXPECT_THAT(volume.Damages(), IsEmpty());
  }
  EXPECT_EQ(volume->ReadLink(link).value(), "f");
  ASSERT_EQ(volume->SetXattr(file, "user.b", std::string(30000, 'b')), absl::OkStatus());
  ASSERT_EQ(volume.Unlink("f"), 0);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(FullTest, AFullVolumeCanBeEmptied) {
  TestVolume volume(64 << 20);
  int made = 0;
  absl::Status full;
  for (; full.ok(); ++made) {
    auto node =
        volume->Make(kRoot, "f" + std::to_string(made), {.type = FileType::kRegular, .mode = 0644});
    full = node.status();
    if (node.ok()) {
      const std::string content(800000, 'x');
      full = volume->OpenFile(node->id)->Write(0, std::as_bytes(std::span(content)));
    }
    if (made == 3) volume.Snapshot("", "s");
  }
  EXPECT_EQ(ErrnoOf(full), ENOSPC);
  EXPECT_GT(made, 20);
  EXPECT_THAT(volume.Damages(), IsEmpty());
  ASSERT_EQ(volume.Destroy("", "s"), 0);
  for (const std::string& name : volume.List("")) ASSERT_EQ(volume.Unlink(name), 0) << name;
  ASSERT_EQ(volume->store().Settle(), absl::OkStatus());
  volume.MakeFile("again", std::string(1 << 20, 'x'));
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

}  // namespace
}  // namespace cow::fs
