// Volumes and the names in them.
#include "cow/volume.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/core/volumes.h"

namespace cow {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class OpenTest : public testing::Test {
 protected:
  const test::TemporaryDirectory directory_;
  const std::string path_ = directory_ / "volume.cow";
};

TEST_F(OpenTest, AVolumeThatIsNotThereIsMadeOnlyOnRequest) {
  EXPECT_EQ(ErrnoIn(Volume::Open(path_)), ENOENT);
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_EQ(Volume::Open(path_, {.create = true}).status(), absl::OkStatus());
  EXPECT_EQ(Volume::Open(path_, {.create = true}).status(), absl::OkStatus());
  EXPECT_EQ(ErrnoIn(Volume::Open(path_, {.create = true, .exclusive = true})), EEXIST);
}

TEST_F(OpenTest, WhatWasWrittenIsThereAgain) {
  {
    Volume volume = Volume::Open(path_, {.create = true}).value();
    File file = MakeFile(volume, "/a", "kept");
    ASSERT_EQ(volume.Sync(), absl::OkStatus());
    ASSERT_EQ(file.Write(0, AsBytes("also")), absl::OkStatus());  // closing commits too
  }
  Volume volume = Volume::Open(path_).value();
  EXPECT_EQ(TextOf(volume.OpenFile("/a").value()), "also");
  ExpectSound(volume);
}

TEST_F(OpenTest, AFileThatIsNoVolumeIsRefusedAndLeftAlone) {
  std::ofstream(path_) << std::string(100'000, 'x');
  const absl::Status status = Volume::Open(path_, {.create = true}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(path_));
  EXPECT_EQ(std::filesystem::file_size(path_), 100'000);
}

TEST_F(OpenTest, AnEmptyFileBecomesAVolume) {
  std::ofstream(path_).flush();
  EXPECT_NE(Volume::Open(path_).status(), absl::OkStatus());
  EXPECT_EQ(Volume::Open(path_, {.create = true}).status(), absl::OkStatus());
}

TEST_F(OpenTest, APathHasNoZeroByte) {
  const absl::Status status =
      Volume::Open(path_ + std::string("\0x", 2), {.create = true}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(ErrnoOf(status), EINVAL);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(OpenTest, MakingAVolumeForReadingIsAMistake) {
  EXPECT_EQ(ErrnoIn(Volume::Open(path_, {.create = true, .read_only = true})), EINVAL);
}

TEST_F(OpenTest, ASecondWriterIsToldWhoTheFirstIs) {
  const Volume volume = Volume::Open(path_, {.create = true}).value();
  const absl::Status status = Volume::Open(path_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(ErrnoOf(status), EBUSY);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(path_), HasSubstr(std::to_string(getpid()))));
}

TEST_F(OpenTest, AReaderSeesWhatWasDurableWhenItOpened) {
  Volume volume = Volume::Open(path_, {.create = true, .commit_seconds = 0}).value();
  File file = MakeFile(volume, "/a", "old");
  ASSERT_EQ(volume.Sync(), absl::OkStatus());

  Volume reader = Volume::Open(path_, {.read_only = true}).value();
  ASSERT_EQ(file.Write(0, AsBytes("new")), absl::OkStatus());
  ASSERT_EQ(volume.Sync(), absl::OkStatus());
  File old = reader.OpenFile("/a").value();
  EXPECT_TRUE(old.read_only());
  EXPECT_EQ(TextOf(old), "old");
  EXPECT_EQ(TextOf(old.Map(Access::kRead).value()), "old");
  EXPECT_EQ(TextOf(Volume::Open(path_, {.read_only = true})->OpenFile("/a").value()), "new");
}

TEST_F(OpenTest, AReaderKeepsItsStateWhileTheWriterReusesSpace) {
  Volume volume = Volume::Open(path_, {.create = true, .commit_seconds = 0}).value();
  const std::string text(kMiB, 'o');
  File file = MakeFile(volume, "/a", text);
  ASSERT_EQ(volume.Sync(), absl::OkStatus());
  Volume reader = Volume::Open(path_, {.read_only = true}).value();
  const Mapping mapping = reader.OpenFile("/a")->Map(Access::kRead).value();
  for (char c = 'a'; c < 'k'; ++c) {
    ASSERT_EQ(file.Write(0, AsBytes(std::string(kMiB, c))), absl::OkStatus());
    ASSERT_EQ(volume.Sync(), absl::OkStatus());
  }
  EXPECT_TRUE(Same(TextOf(reader.OpenFile("/a").value()), text));
  EXPECT_TRUE(Same(TextOf(mapping), text));
}

TEST_F(OpenTest, ChangesThroughAReaderAreRefused) {
  {
    Volume volume = Volume::Open(path_, {.create = true}).value();
    ASSERT_EQ(MakeFile(volume, "/a", "text").TakeSnapshot("s").status(), absl::OkStatus());
  }
  Volume reader = Volume::Open(path_, {.read_only = true}).value();
  File file = reader.OpenFile("/a").value();
  Snapshot snapshot = file.OpenSnapshot("s").value();
  EXPECT_EQ(ErrnoIn(file.Write(0, AsBytes("x"))), EROFS);
  EXPECT_EQ(ErrnoIn(file.Truncate(0)), EROFS);
  EXPECT_EQ(ErrnoIn(file.Punch(0, 1)), EROFS);
  EXPECT_EQ(ErrnoIn(file.Map(Access::kWrite)), EROFS);
  EXPECT_EQ(ErrnoIn(file.TakeSnapshot("t")), EROFS);
  EXPECT_EQ(ErrnoIn(snapshot.Rename("t")), EROFS);
  EXPECT_EQ(ErrnoIn(snapshot.Destroy()), EROFS);
  EXPECT_EQ(ErrnoIn(reader.CreateFile("/b")), EROFS);
  EXPECT_EQ(ErrnoIn(reader.CreateTree("/b")), EROFS);
  EXPECT_EQ(ErrnoIn(reader.CreateDirectory("/b")), EROFS);
  EXPECT_EQ(ErrnoIn(reader.Remove("/a")), EROFS);
  EXPECT_EQ(ErrnoIn(reader.Rename("/a", "/b")), EROFS);
  EXPECT_EQ(ErrnoIn(reader.Clone(snapshot, "/b")), EROFS);
  EXPECT_EQ(ErrnoIn(reader.RollBack(snapshot)), EROFS);
  Mapping scratch = snapshot.Map(Access::kScratch).value();
  Store(scratch, 0, "T");
  EXPECT_EQ(TextOf(scratch), "Text");
  EXPECT_EQ(TextOf(file), "text");
}

// Runs test `name` of this file in a process of its own, which is told the path of the volume, and
// returns how it ended. Another program, since what follows a fork of a process with threads is not
// safe to do.
int RunElsewhere(const char* name, const std::string& path) {
  const std::string filter = std::string("--gtest_filter=OpenTest.") + name;
  const pid_t child = fork();
  if (child == 0) {
    setenv("COW_TEST_VOLUME", path.c_str(), 1);
    // Whatever a killed one leaves is within what this one takes away.
    setenv("TMPDIR", std::filesystem::path(path).parent_path().c_str(), 1);
    execl("/proc/self/exe", "core_test", filter.c_str(), "--gtest_also_run_disabled_tests",
          "--gtest_brief=1", nullptr);
    _exit(127);
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

TEST_F(OpenTest, AnotherProcessReadsWhileThisOneWrites) {
  Volume volume = Volume::Open(path_, {.create = true}).value();
  MakeFile(volume, "/a", "seen");
  ASSERT_EQ(volume.Sync(), absl::OkStatus());
  EXPECT_EQ(RunElsewhere("DISABLED_Reader", path_), 0);
}

// The other process of the test above.
TEST_F(OpenTest, DISABLED_Reader) {
  const char* path = getenv("COW_TEST_VOLUME");
  ASSERT_NE(path, nullptr);
  Volume volume = Volume::Open(path, {.read_only = true}).value();
  EXPECT_EQ(TextOf(volume.OpenFile("/a").value()), "seen");
  EXPECT_EQ(ErrnoIn(Volume::Open(path)), EBUSY);
}

TEST_F(OpenTest, WhatWasSyncedSurvivesAKilledProcess) {
  const int status = RunElsewhere("DISABLED_Killed", path_);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_EQ(WTERMSIG(status), SIGKILL);
  Volume volume = Volume::Open(path_).value();
  EXPECT_EQ(TextOf(volume.OpenFile("/a@s").value()).substr(0, 3), "one");
  EXPECT_EQ(TextOf(volume.OpenFile("/a").value()).substr(0, 3), "two");
  ExpectSound(volume);
}

// The other process of the test above.
TEST_F(OpenTest, DISABLED_Killed) {
  const char* path = getenv("COW_TEST_VOLUME");
  ASSERT_NE(path, nullptr);
  Volume volume = Volume::Open(path, {.create = true}).value();
  File file = volume.CreateFile("/a", kMiB).value();
  const Mapping live = file.Map(Access::kWrite).value();
  Store(live, 0, "one");
  const Snapshot snapshot = file.TakeSnapshot("s").value();
  Store(live, 0, "two");
  ASSERT_EQ(volume.Sync(), absl::OkStatus());
  Store(live, 0, "three");
  raise(SIGKILL);
}

TEST_F(OpenTest, AFullVolumeSaysSoAndStaysUsable) {
  Volume volume = Volume::Open(path_, {.create = true, .max_bytes = 16 * kMiB}).value();
  File keep = MakeFile(volume, "/keep", "kept");
  File file = volume.CreateFile("/a").value();
  const std::string block(kMiB, 'x');
  absl::Status status;
  for (int i = 0; i < 32 && status.ok(); ++i) status = file.Write(file.size(), AsBytes(block));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(ErrnoOf(status), ENOSPC);
  EXPECT_GE(file.size(), 10 * kMiB);
  EXPECT_EQ(TextOf(keep), "kept");
  EXPECT_EQ(volume.Health(), absl::OkStatus());
  ASSERT_EQ(volume.Remove("/a"), absl::OkStatus());
  ASSERT_EQ(file.Truncate(0), absl::OkStatus());
  ASSERT_EQ(volume.Sync(), absl::OkStatus());
  EXPECT_EQ(keep.Write(0, AsBytes(block)), absl::OkStatus());
  EXPECT_LE(std::filesystem::file_size(path_), 16 * kMiB);
  ExpectSound(volume);
}

TEST_F(OpenTest, AFullVolumeRollsBackAndRemovesAFileThatHasSnapshots) {
  for (const uint64_t limit : {16 * kMiB, 32 * kMiB, 100 * kMiB}) {
    SCOPED_TRACE(limit);
    std::filesystem::remove(path_);
    Volume volume = Volume::Open(path_, {.create = true, .max_bytes = limit}).value();
    const std::string block(kMiB, 'x');
    File file = MakeFile(volume, "/a", std::string(limit / 4, 'o'));
    const auto fill = [&] {
      absl::Status status;
      for (uint64_t at = 0; status.ok(); at += kMiB) status = file.Write(at, AsBytes(block));
      EXPECT_EQ(ErrnoOf(status), ENOSPC) << status;
    };
    const Snapshot first = file.TakeSnapshot("first").value();
    fill();
    const absl::StatusOr<Snapshot> kept = volume.RollBack(first);
    ASSERT_TRUE(kept.ok()) << kept.status();
    EXPECT_EQ(file.size(), limit / 4);
    fill();
    ASSERT_EQ(volume.Remove("/a"), absl::OkStatus());
    ASSERT_EQ(volume.Sync(), absl::OkStatus());
    ExpectSound(volume);
  }
}

class VolumeTest : public EachVolume {};
COW_EACH_VOLUME(VolumeTest);

TEST_P(VolumeTest, NewFilesAreHolesOfTheirSize) {
  const uint64_t used = volume_.Space().used_bytes;
  File file = volume_.CreateFile("/huge", 4 * kTiB).value();
  EXPECT_EQ(file.size(), 4 * kTiB);
  EXPECT_LT(volume_.Space().used_bytes, used + kMiB);
  Bytes page(4096, std::byte{1});
  EXPECT_EQ(file.Read(3 * kTiB, page).value(), 4096);
  EXPECT_EQ(page, Bytes(4096));
}

TEST_P(VolumeTest, PathsAreReadTheWayPeopleWriteThem) {
  ASSERT_EQ(volume_.CreateDirectory("/d"), absl::OkStatus());
  MakeFile(volume_, "/d/a", "text");
  for (const char* path : {"/d/a", "d/a", "//d///a", "/d/a/"}) {
    EXPECT_EQ(TextOf(volume_.OpenFile(path).value()), "text") << path;
  }
  EXPECT_EQ(volume_.OpenFile("d//a")->path(), "/d/a");
  EXPECT_EQ(ErrnoIn(volume_.OpenFile("/d/../d/a")), EINVAL);
  EXPECT_EQ(ErrnoIn(volume_.OpenFile("/./d/a")), EINVAL);
  EXPECT_EQ(ErrnoIn(volume_.OpenFile(std::string_view("/d\0a", 4))), EINVAL);
}

TEST_P(VolumeTest, ErrorsOfNamesAreThoseOfPosix) {
  ASSERT_EQ(volume_.CreateDirectory("/d"), absl::OkStatus());
  MakeFile(volume_, "/d/a", "text");
  EXPECT_EQ(ErrnoIn(volume_.CreateFile("/d/a")), EEXIST);
  EXPECT_EQ(ErrnoIn(volume_.CreateFile("/x/a")), ENOENT);
  EXPECT_EQ(ErrnoIn(volume_.CreateFile("/d/a/b")), ENOTDIR);
  EXPECT_EQ(ErrnoIn(volume_.CreateFile("/" + std::string(256, 'n'))), ENAMETOOLONG);
  EXPECT_EQ(ErrnoIn(volume_.OpenFile("/d")), EISDIR);
  EXPECT_EQ(ErrnoIn(volume_.OpenFile("/x")), ENOENT);
  EXPECT_EQ(ErrnoIn(volume_.OpenTree("/d/a")), ENOTDIR);
  EXPECT_EQ(ErrnoIn(volume_.OpenTree("/d")), EINVAL);
  EXPECT_EQ(ErrnoIn(volume_.Remove("/d")), ENOTEMPTY);
  EXPECT_EQ(ErrnoIn(volume_.Remove("/x")), ENOENT);
  EXPECT_EQ(ErrnoIn(volume_.Rename("/x", "/y")), ENOENT);
  EXPECT_EQ(ErrnoIn(volume_.Rename("/d/a", "/x/y")), ENOENT);
  EXPECT_EQ(ErrnoIn(volume_.Rename("/d/a", "/d")), EISDIR);
  EXPECT_EQ(ErrnoIn(volume_.List("/d/a")), ENOTDIR);
  EXPECT_EQ(ErrnoIn(volume_.Stat("/x")), ENOENT);
  EXPECT_EQ(ErrnoIn(volume_.CreateFile("/")), EBUSY);
  for (const absl::Status& status :
       {volume_.List("/d/a").status(), volume_.CreateFile("/d/a/b").status(),
        volume_.OpenTree("/d/a").status(), volume_.OpenFile("/d").status(),
        volume_.Rename("/d/a", "/d"), volume_.Remove("/d")}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  }
}

TEST_P(VolumeTest, PunchingGoesNoFurtherThanTheFile) {
  File file = MakeFile(volume_, "/a", std::string(kMiB + 5, 'x'));
  EXPECT_EQ(file.Punch(0, 0), absl::OkStatus());
  EXPECT_EQ(file.Punch(UINT64_MAX, 1), absl::OkStatus());
  EXPECT_EQ(file.Punch(kMiB + 5, UINT64_MAX), absl::OkStatus());
  EXPECT_TRUE(Same(TextOf(file), std::string(kMiB + 5, 'x')));
  EXPECT_EQ(file.Punch(5, UINT64_MAX), absl::OkStatus());
  EXPECT_TRUE(Same(TextOf(file), "xxxxx" + std::string(kMiB, '\0')));
  EXPECT_LT(volume_.Stat("/a", {.space = true})->space->referenced_bytes, kMiB / 2);
}

TEST_P(VolumeTest, FilesAreRenamedOverOthersAndRemoved) {
  File a = MakeFile(volume_, "/a", "a");
  File b = MakeFile(volume_, "/b", "b");
  ASSERT_EQ(volume_.Rename("/a", "/b"), absl::OkStatus());
  EXPECT_EQ(TextOf(volume_.OpenFile("/b").value()), "a");
  EXPECT_EQ(ErrnoIn(volume_.OpenFile("/a")), ENOENT);
  EXPECT_EQ(TextOf(b), "b") << "an open file lives on";
  ASSERT_EQ(volume_.Remove("/b"), absl::OkStatus());
  ASSERT_EQ(a.Write(1, AsBytes("b")), absl::OkStatus());
  EXPECT_EQ(TextOf(a), "ab");
  EXPECT_THAT(volume_.List("/").value(), testing::IsEmpty());
}

TEST_P(VolumeTest, DirectoriesListTheirEntriesByName) {
  ASSERT_EQ(volume_.CreateDirectory("/d"), absl::OkStatus());
  ASSERT_EQ(volume_.CreateTree("/d/tree").status(), absl::OkStatus());
  ASSERT_EQ(volume_.CreateDirectory("/d/directory"), absl::OkStatus());
  MakeFile(volume_, "/d/file", "12345");
  const std::vector<Entry> entries = volume_.List("/d").value();
  EXPECT_THAT(NamesOf(entries), ElementsAre("/d/directory", "/d/file", "/d/tree"));
  EXPECT_EQ(entries[0].kind, Kind::kDirectory);
  EXPECT_EQ(entries[1].kind, Kind::kFile);
  EXPECT_EQ(entries[1].size, 5);
  EXPECT_EQ(entries[2].kind, Kind::kTree);
}

TEST_P(VolumeTest, StatTellsHeadsFromSnapshots) {
  const auto start = std::chrono::system_clock::now() - std::chrono::seconds(1);
  File file = MakeFile(volume_, "/a", "12345");
  ASSERT_EQ(file.TakeSnapshot("s").status(), absl::OkStatus());
  ASSERT_EQ(file.Truncate(2), absl::OkStatus());

  const Entry head = volume_.Stat("/a").value();
  EXPECT_EQ(head.path, "/a");
  EXPECT_EQ(head.snapshot, "");
  EXPECT_EQ(head.size, 2);
  EXPECT_EQ(head.snapshots, 1);
  EXPECT_GT(head.created, start);
  EXPECT_FALSE(head.space.has_value());

  const Entry snapshot = volume_.Stat("/a@s").value();
  EXPECT_EQ(snapshot.path, "/a");
  EXPECT_EQ(snapshot.snapshot, "s");
  EXPECT_EQ(snapshot.size, 5);
  EXPECT_GE(snapshot.created, head.created);

  const Entry root = volume_.Stat("/").value();
  EXPECT_EQ(root.kind, Kind::kTree);
  EXPECT_EQ(root.path, "/");
}

TEST_P(VolumeTest, SpaceFollowsWhatIsWritten) {
  const VolumeSpace before = volume_.Space();
  File file = MakeFile(volume_, "/a", std::string(4 * kMiB, 'a'));
  ASSERT_EQ(volume_.Sync(), absl::OkStatus());
  const VolumeSpace after = volume_.Space();
  EXPECT_GE(after.used_bytes, before.used_bytes + 4 * kMiB);
  EXPECT_LE(after.used_bytes, before.used_bytes + 5 * kMiB);
  EXPECT_GT(after.available_bytes, 0);
}

TEST_P(VolumeTest, ACheckReportsItsProgressAndFindsNothingWrong) {
  File file = MakeFile(volume_, "/a", std::string(kMiB, 'a'));
  ASSERT_EQ(file.TakeSnapshot("s").status(), absl::OkStatus());
  uint64_t last = 0;
  const CheckResult result = volume_
                                 .Check([&](uint64_t done, uint64_t all) {
                                   EXPECT_LE(done, all);
                                   EXPECT_GE(done, last);
                                   last = done;
                                 })
                                 .value();
  EXPECT_THAT(result.damages, testing::IsEmpty());
  EXPECT_GE(result.checked_bytes, kMiB);
  EXPECT_GT(last, 0);
  EXPECT_EQ(volume_.Health(), absl::OkStatus());
  EXPECT_NE(volume_.Uuid(), (std::array<uint8_t, 16>{}));
}

}  // namespace
}  // namespace cow
