// Mappings of files and of snapshots.
#include "cow/mapping.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>

#include "tests/core/volumes.h"

namespace cow {
namespace {

class MappingTest : public EachVolume {};
COW_EACH_VOLUME(MappingTest);

TEST_P(MappingTest, ASnapshotHoldsWhatWasStoredBeforeIt) {
  File file = volume_.CreateFile("/state", 8 * kMiB).value();
  Mapping live = file.Map(Access::kWrite).value();
  Store(live, 0, "one");
  Store(live, 5 * kMiB, "far");
  const Snapshot before = file.TakeSnapshot("before").value();
  Store(live, 0, "two");

  const Mapping old = before.Map(Access::kRead).value();
  EXPECT_EQ(TextOf(old).substr(0, 3), "one");
  EXPECT_EQ(TextOf(old).substr(5 * kMiB, 3), "far");
  EXPECT_EQ(TextOf(live).substr(0, 3), "two");
  EXPECT_EQ(live.size(), 8 * kMiB);
  EXPECT_EQ(live.access(), Access::kWrite);
}

TEST_P(MappingTest, EverySealAddsWhatIsNew) {
  File file = volume_.CreateFile("/state", 100 * 4096).value();
  Mapping live = file.Map(Access::kWrite).value();
  std::string model(100 * 4096, '\0');
  for (int round = 0; round < 20; ++round) {
    for (int page = round; page < 100; page += 7) {
      const std::string text = std::to_string(round) + ":" + std::to_string(page);
      Store(live, page * 4096 + round, text);
      model.replace(page * 4096 + round, text.size(), text);
    }
    ASSERT_EQ(live.Seal(), absl::OkStatus());
    ASSERT_TRUE(Same(TextOf(file), model)) << round;
  }
}

TEST_P(MappingTest, ReadingTheFileGivesTheLastSeal) {
  File file = MakeFile(volume_, "/state", "0000");
  Mapping live = file.Map(Access::kWrite).value();
  Store(live, 0, "1");
  EXPECT_EQ(TextOf(file), "0000");
  ASSERT_EQ(live.Seal(), absl::OkStatus());
  EXPECT_EQ(TextOf(file), "1000");
  Store(live, 1, "2");
  ASSERT_EQ(volume_.Sync(), absl::OkStatus());
  EXPECT_EQ(TextOf(file), "1200") << "a sync seals";
  Store(live, 2, "3");
  EXPECT_EQ(TextOf(volume_.Clone(file, "/clone").value()), "1230") << "a clone seals";
  Store(live, 3, "4");
  EXPECT_EQ(TextOf(file.Map(Access::kRead).value()), "1234") << "another mapping seals";
  Store(live, 0, "9");
  { const Mapping end = std::move(live); }
  EXPECT_EQ(TextOf(file), "9234") << "the end of the mapping seals";
}

TEST_P(MappingTest, AMappedFileIsNotChangedInOtherWays) {
  File file = MakeFile(volume_, "/state", "text");
  const Snapshot snapshot = file.TakeSnapshot("s").value();
  File same = volume_.OpenFile("/state").value();
  {
    const Mapping live = file.Map(Access::kWrite).value();
    EXPECT_EQ(ErrnoIn(same.Write(0, AsBytes("x"))), EBUSY);
    EXPECT_EQ(ErrnoIn(same.Truncate(1)), EBUSY);
    EXPECT_EQ(ErrnoIn(same.Punch(0, 1)), EBUSY);
    EXPECT_EQ(ErrnoIn(same.Map(Access::kWrite)), EBUSY);
    EXPECT_EQ(ErrnoIn(volume_.RollBack(snapshot)), EBUSY);
    EXPECT_EQ(volume_.Rename("/state", "/moved"), absl::OkStatus());
  }
  EXPECT_EQ(TextOf(file), "text");
  EXPECT_EQ(same.Write(0, AsBytes("T")), absl::OkStatus());
  EXPECT_EQ(file.Map(Access::kWrite).status(), absl::OkStatus());
  EXPECT_EQ(volume_.RollBack(snapshot).status(), absl::OkStatus());
  EXPECT_EQ(TextOf(same), "text");
}

TEST_P(MappingTest, ATreeWithAMappedFileIsNotRolledBack) {
  Tree tree = volume_.CreateTree("/t").value();
  File file = MakeFile(volume_, "/t/a", "one");
  const Snapshot snapshot = tree.TakeSnapshot("s").value();
  {
    const Mapping live = file.Map(Access::kWrite).value();
    Store(live, 0, "two");
    EXPECT_EQ(ErrnoIn(volume_.RollBack(snapshot)), EBUSY);
    ASSERT_EQ(tree.TakeSnapshot("sealed").status(), absl::OkStatus());
    EXPECT_EQ(TextOf(volume_.OpenFile("/t@sealed/a").value()), "two");
  }
  EXPECT_EQ(volume_.RollBack(snapshot).status(), absl::OkStatus());
  EXPECT_EQ(TextOf(file), "one");
}

TEST_P(MappingTest, ReadMappingsOfAFileStayAsTheFileWas) {
  File file = MakeFile(volume_, "/a", std::string(kMiB, 'o'));
  const Mapping old = file.Map(Access::kRead).value();
  for (char c = 'a'; c < 'f'; ++c) {
    ASSERT_EQ(file.Write(0, AsBytes(std::string(kMiB, c))), absl::OkStatus());
    ASSERT_EQ(volume_.Sync(), absl::OkStatus());
  }
  EXPECT_TRUE(Same(TextOf(old), std::string(kMiB, 'o')));
  ExpectSound(volume_);
}

TEST_P(MappingTest, ScratchIsPrivateAndCanBeReset) {
  File file = MakeFile(volume_, "/a", "base");
  const Snapshot snapshot = file.TakeSnapshot("s").value();
  Mapping one = snapshot.Map(Access::kScratch).value();
  Mapping two = file.Map(Access::kScratch).value();
  Store(one, 0, "ONE");
  Store(two, 0, "TWO");
  EXPECT_EQ(TextOf(one), "ONEe");
  EXPECT_EQ(TextOf(two), "TWOe");
  EXPECT_EQ(TextOf(snapshot), "base");
  EXPECT_EQ(TextOf(file), "base");
  ASSERT_EQ(one.Reset(), absl::OkStatus());
  EXPECT_EQ(TextOf(one), "base");
  EXPECT_EQ(TextOf(two), "TWOe");
}

TEST_P(MappingTest, SealAndResetAreForTheirKinds) {
  File file = MakeFile(volume_, "/a", "text");
  Mapping read = file.Map(Access::kRead).value();
  Mapping scratch = file.Map(Access::kScratch).value();
  Mapping write = file.Map(Access::kWrite).value();
  EXPECT_EQ(ErrnoIn(read.Seal()), EINVAL);
  EXPECT_EQ(ErrnoIn(scratch.Seal()), EINVAL);
  EXPECT_EQ(ErrnoIn(read.Reset()), EINVAL);
  EXPECT_EQ(ErrnoIn(write.Reset()), EINVAL);
  EXPECT_EQ(write.Seal(), absl::OkStatus());
  EXPECT_EQ(scratch.Reset(), absl::OkStatus());
}

TEST_P(MappingTest, AnEmptyFileCannotBeMapped) {
  File file = volume_.CreateFile("/a").value();
  for (const Access access : {Access::kRead, Access::kScratch, Access::kWrite}) {
    EXPECT_EQ(ErrnoIn(file.Map(access)), EINVAL);
  }
  EXPECT_EQ(file.Write(0, AsBytes("x")), absl::OkStatus()) << "a failed mapping holds nothing";
}

// The thread sanitizer leaves no room for a TiB.
#ifdef __SANITIZE_THREAD__
constexpr uint64_t kSparse = 4 * kGiB;
#else
constexpr uint64_t kSparse = kTiB;
#endif

TEST_P(MappingTest, SparseFilesAreMappedWhole) {
  File file = volume_.CreateFile("/a", kSparse).value();
  Mapping live = file.Map(Access::kWrite).value();
  Store(live, kSparse - 4, "tail");
  Store(live, kSparse / 2, "middle");
  const Snapshot snapshot = file.TakeSnapshot("s").value();
  std::string text(6, '\0');
  ASSERT_EQ(snapshot.Read(kSparse / 2, std::as_writable_bytes(std::span(text))).value(), 6);
  EXPECT_EQ(text, "middle");
  EXPECT_EQ(snapshot.Read(kSparse - 4, std::as_writable_bytes(std::span(text))).value(), 4);
  EXPECT_EQ(text.substr(0, 4), "tail");
  EXPECT_LT(volume_.Space().used_bytes, 4 * kMiB);
}

TEST_P(MappingTest, NothingBeyondTheEndOfAFileIsKept) {
  File file = MakeFile(volume_, "/a", "12345");
  {
    const Mapping live = file.Map(Access::kWrite).value();
    Store(live, 0, "ABCDE");
    live.bytes().data()[5] = std::byte{'!'};  // in the page, not in the file
  }
  EXPECT_EQ(TextOf(file), "ABCDE");
  ASSERT_EQ(file.Truncate(8), absl::OkStatus());
  EXPECT_EQ(TextOf(file), std::string("ABCDE\0\0\0", 8));
}

TEST_P(MappingTest, SystemCallsReadAndWriteMappings) {
  File file = volume_.CreateFile("/a", 2 * kMiB).value();
  Mapping live = file.Map(Access::kWrite).value();
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  ASSERT_EQ(write(pipe_ends[1], "through", 7), 7);
  EXPECT_EQ(read(pipe_ends[0], live.bytes().data() + kMiB, 7), 7);
  const Snapshot snapshot = file.TakeSnapshot("s").value();
  const Mapping old = snapshot.Map(Access::kRead).value();
  EXPECT_EQ(TextOf(old).substr(kMiB, 7), "through");
  ASSERT_EQ(write(pipe_ends[1], old.bytes().data() + kMiB, 7), 7);
  EXPECT_EQ(read(pipe_ends[0], old.bytes().data(), 7), -1);
  EXPECT_EQ(errno, EFAULT);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

TEST_P(MappingTest, OneFileIsWrittenFromAnotherOnesMapping) {
  File source = MakeFile(volume_, "/a", std::string(3 * kMiB, 's'));
  const Mapping mapping = source.Map(Access::kWrite).value();
  Store(mapping, kMiB, "mark");
  File target = volume_.CreateFile("/b").value();
  ASSERT_EQ(target.Write(0, mapping.bytes()), absl::OkStatus());
  EXPECT_TRUE(Same(TextOf(target), TextOf(mapping)));
}

// The writer touches pages that nobody has touched, with the locks of the store that it needs.
TEST_P(MappingTest, AFileIsWrittenFromAnUntouchedMappingOfItself) {
  std::string text(9 * kMiB, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i / 4096 % 23);
  File file = MakeFile(volume_, "/a", text);
  const Snapshot before = file.TakeSnapshot("before").value();
  for (const Access access : {Access::kRead, Access::kScratch}) {
    const Mapping mapping = before.Map(access).value();
    ASSERT_EQ(file.Write(100, mapping.bytes().first(8 * kMiB)), absl::OkStatus());
  }
  EXPECT_TRUE(Same(TextOf(file).substr(100, 8 * kMiB), text.substr(0, 8 * kMiB)));
  const Mapping target = before.Map(Access::kScratch).value();
  ASSERT_EQ(file.Read(0, target.bytes()).value(), text.size());
  EXPECT_TRUE(Same(TextOf(target), TextOf(file)));
  ExpectSound(volume_);
}

TEST_P(MappingTest, ARemovedFileIsSealedStill) {
  File file = MakeFile(volume_, "/a", "text");
  Mapping live = file.Map(Access::kWrite).value();
  ASSERT_EQ(volume_.Remove("/a"), absl::OkStatus());
  Store(live, 0, "T");
  EXPECT_EQ(live.Seal(), absl::OkStatus());
  EXPECT_EQ(TextOf(file), "Text");
}

TEST(MappingDamage, OnlyThePageThatDoesNotMatchCannotBeRead) {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "volume.cow";
  const std::string mark = "the page that rots";
  {
    Volume volume = Volume::Open(path, {.create = true}).value();
    std::string text(2 * kMiB, 't');
    text.replace(77 * 4096, mark.size(), mark);
    MakeFile(volume, "/a", text);
  }
  {
    std::fstream host(path, std::ios::in | std::ios::out | std::ios::binary);
    const std::string all((std::istreambuf_iterator<char>(host)), {});
    host.seekp(static_cast<std::streamoff>(all.find(mark)));
    host.put('T');
  }
  Volume volume = Volume::Open(path).value();
  const File file = volume.OpenFile("/a").value();
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  for (const Access access : {Access::kRead, Access::kWrite}) {
    const absl::StatusOr<Mapping> mapping = volume.OpenFile("/a")->Map(access);
    // Where all is bound at once, Map tells.
    absl::Status told = mapping.status();
    if (mapping.ok()) {
      EXPECT_EQ(mapping->status(), absl::OkStatus());
      EXPECT_EQ(write(pipe_ends[1], mapping->bytes().data() + 77 * 4096, 1), -1);
      EXPECT_EQ(errno, EFAULT);
      EXPECT_EQ(mapping->bytes()[76 * 4096], std::byte{'t'});
      EXPECT_EQ(mapping->bytes()[78 * 4096], std::byte{'t'});
      told = mapping->status();
    }
    EXPECT_EQ(ErrnoIn(told), EIO);
    EXPECT_THAT(std::string(told.message()), testing::HasSubstr("/a: "));
    EXPECT_THAT(std::string(told.message()), testing::HasSubstr("checksum does not match"));
  }
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

TEST(MappingLimits, AFullVolumeFailsTheSealAndNoStore) {
  Volume volume = Volume::InMemory({.max_bytes = 16 * kMiB}).value();
  File file = volume.CreateFile("/a", 64 * kMiB).value();
  File other = MakeFile(volume, "/other", "");
  Mapping live = file.Map(Access::kWrite).value();
  std::ranges::fill(live.bytes(), std::byte{7});
  EXPECT_EQ(ErrnoIn(live.Seal()), ENOSPC);
  EXPECT_EQ(ErrnoIn(file.TakeSnapshot("s")), ENOSPC);
  EXPECT_EQ(live.bytes()[63 * kMiB], std::byte{7}) << "what was not sealed is in memory";
  EXPECT_EQ(volume.Health(), absl::OkStatus());
}

}  // namespace
}  // namespace cow
