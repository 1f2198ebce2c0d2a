// Snapshots in place, and what they promise while files are open and mapped.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "gmock/gmock.h"
#include "tests/fuse/mount.h"

namespace cow::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

class SnapshotTest : public ::testing::Test {
 protected:
  void SetUp() override {
    REQUIRE_FUSE();
    ASSERT_TRUE(mount_.Start());
  }
  Mount mount_;
};

constexpr char kGone[] = "ERROR: No such file or directory";

TEST_F(SnapshotTest, OfAFileIsBesideItAndNotListed) {
  ASSERT_TRUE(Put(mount_ / "a", "before"));
  EXPECT_EQ(Get(mount_ / "a@mon"), kGone);
  ASSERT_EQ(mount_.TakeSnapshot("a", "mon"), absl::OkStatus());
  ASSERT_TRUE(Put(mount_ / "a", "after, and longer"));
  EXPECT_EQ(Get(mount_ / "a@mon"), "before");
  EXPECT_EQ(Get(mount_ / "a"), "after, and longer");
  EXPECT_THAT(Names(mount_.path()), ElementsAre("a"));
  struct stat live;
  struct stat old;
  ASSERT_EQ(stat((mount_ / "a").c_str(), &live), 0);
  ASSERT_EQ(stat((mount_ / "a@mon").c_str(), &old), 0);
  EXPECT_NE(live.st_ino, old.st_ino);
  EXPECT_EQ(old.st_size, 6);
}

TEST_F(SnapshotTest, CannotBeChanged) {
  ASSERT_EQ(mkdir((mount_ / "d").c_str(), 0755), 0);
  ASSERT_TRUE(Put(mount_ / "d/a", "before"));
  ASSERT_EQ(mount_.TakeSnapshot("d/a", "mon"), absl::OkStatus());
  ASSERT_EQ(mount_.TakeSnapshot("", "all"), absl::OkStatus());
  for (const std::string& path : {mount_ / "d/a@mon", mount_ / ".snapshots/all/d/a"}) {
    EXPECT_EQ(open(path.c_str(), O_WRONLY), -1);
    EXPECT_EQ(errno, EROFS) << path;
    EXPECT_EQ(truncate(path.c_str(), 0), -1);
    EXPECT_EQ(errno, EROFS) << path;
    EXPECT_EQ(chmod(path.c_str(), 0600), -1);
    EXPECT_EQ(errno, EROFS) << path;
    EXPECT_EQ(Get(path), "before");
  }
  EXPECT_EQ(mkdir((mount_ / ".snapshots/all/d/new").c_str(), 0755), -1);
  EXPECT_EQ(errno, EROFS);
  EXPECT_EQ(unlink((mount_ / ".snapshots/all/d/a").c_str()), -1);
  EXPECT_EQ(errno, EROFS);
}

TEST_F(SnapshotTest, ANameThatResolvesCannotBeMade) {
  ASSERT_TRUE(Put(mount_ / "a", "before"));
  ASSERT_EQ(mount_.TakeSnapshot("a", "mon"), absl::OkStatus());
  EXPECT_EQ(mkdir((mount_ / "a@mon").c_str(), 0755), -1);
  EXPECT_EQ(errno, EEXIST);
  EXPECT_EQ(open((mount_ / "a@mon").c_str(), O_CREAT | O_WRONLY, 0644), -1);
  EXPECT_EQ(errno, EROFS);
  EXPECT_TRUE(Put(mount_ / "a@tue", "an ordinary file"));
  EXPECT_EQ(Get(mount_ / "a@tue"), "an ordinary file");
}

TEST_F(SnapshotTest, OfTheRootHoldsTheWholeTree) {
  ASSERT_EQ(mkdir((mount_ / "d").c_str(), 0755), 0);
  ASSERT_TRUE(Put(mount_ / "d/a", "one"));
  ASSERT_EQ(mount_.TakeSnapshot("", "mon"), absl::OkStatus());
  ASSERT_TRUE(Put(mount_ / "d/a", "two"));
  ASSERT_TRUE(Put(mount_ / "d/b", "new"));
  EXPECT_THAT(Names(mount_ / ".snapshots/mon"), ElementsAre("d"));
  EXPECT_THAT(Names(mount_ / ".snapshots/mon/d"), ElementsAre("a"));
  EXPECT_EQ(Get(mount_ / ".snapshots/mon/d/a"), "one");
  EXPECT_EQ(Get(mount_ / "d/a"), "two");
  EXPECT_THAT(Names(mount_ / ".snapshots"), IsSupersetOf({"mon"}));
  EXPECT_THAT(Names(mount_.path()), ElementsAre("d"));
}

TEST_F(SnapshotTest, OfATreeOfItsOwn) {
  ASSERT_EQ(mount_.CreateTree("t"), absl::OkStatus());
  ASSERT_TRUE(Put(mount_ / "t/a", "one"));
  ASSERT_EQ(mount_.TakeSnapshot("t", "mon"), absl::OkStatus());
  ASSERT_EQ(unlink((mount_ / "t/a").c_str()), 0);
  EXPECT_EQ(Get(mount_ / "t@mon/a"), "one");
  EXPECT_THAT(Names(mount_ / "t@mon"), ElementsAre("a"));
  EXPECT_EQ(rename((mount_ / "t@mon/a").c_str(), (mount_ / "x").c_str()), -1);
  ASSERT_TRUE(Put(mount_ / "x", "x"));
  EXPECT_EQ(link((mount_ / "x").c_str(), (mount_ / "t/x").c_str()), -1);
  EXPECT_EQ(errno, EXDEV);
}

TEST_F(SnapshotTest, HoldsEveryWriteThatReturnedOnOpenFiles) {
  const Descriptor file(mount_ / "a", O_RDWR | O_CREAT);
  std::atomic<uint64_t> written = 0;
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (uint64_t i = 1; !stop; ++i) {
      if (pwrite(file, &i, sizeof(i), static_cast<off_t>(i % 512 * 4096)) != sizeof(i)) break;
      written = i;
    }
  });
  for (int round = 0; round < 20; ++round) {
    const uint64_t floor = written;
    EXPECT_EQ(mount_.TakeSnapshot("a", absl::StrCat("s", round)), absl::OkStatus());
    const Descriptor old(mount_ / absl::StrCat("a@s", round), O_RDONLY);
    uint64_t newest = 0;
    uint64_t value = 0;
    for (int page = 0; page < 512; ++page) {
      if (pread(old, &value, sizeof(value), page * 4096) == sizeof(value))
        newest = std::max(newest, value);
    }
    EXPECT_GE(newest, floor);
    // One instant: of everything before the newest, nothing is missing.
    for (uint64_t i = newest > 500 ? newest - 500 : 1; i <= newest; ++i) {
      ASSERT_EQ(pread(old, &value, sizeof(value), static_cast<off_t>(i % 512 * 4096)), 8);
      EXPECT_EQ(value, i);
    }
  }
  stop = true;
  writer.join();
}

TEST_F(SnapshotTest, HoldsEveryStoreToASharedMapMadeBeforeIt) {
  const Descriptor file(mount_ / "a", O_RDWR | O_CREAT);
  constexpr size_t kSize = 4 << 20;
  ASSERT_EQ(ftruncate(file, kSize), 0);
  SharedMap map(file, kSize);
  ASSERT_TRUE(map.ok());
  for (int round = 0; round < 10; ++round) {
    for (size_t page = 0; page < kSize; page += 4096)
      map.Store(page, absl::StrCat("round ", round));
    ASSERT_EQ(mount_.TakeSnapshot(round % 2 == 0 ? "a" : "", absl::StrCat("s", round)),
              absl::OkStatus());
    map.Store(0, "later  ");
    const std::string old = Get(mount_ / absl::StrCat(round % 2 == 0 ? "a@s" : ".snapshots/s",
                                                      round, round % 2 == 0 ? "" : "/a"));
    ASSERT_EQ(old.size(), kSize);
    for (size_t page = 0; page < kSize; page += 4096) {
      ASSERT_EQ(old.substr(page, 7), absl::StrCat("round ", round)) << page;
    }
  }
}

TEST_F(SnapshotTest, IsTakenWhileMapsAreStoredToWithoutCease) {
  const Descriptor file(mount_ / "a", O_RDWR | O_CREAT);
  constexpr size_t kSize = 1 << 20;
  ASSERT_EQ(ftruncate(file, kSize), 0);
  SharedMap map(file, kSize);
  ASSERT_TRUE(map.ok());
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> stored = 0;
  std::thread writer([&] {
    for (uint64_t i = 1; !stop; ++i) {
      std::memcpy(const_cast<char*>(map.data()) + i % 256 * 4096, &i, sizeof(i));
      stored = i;
    }
  });
  for (int round = 0; round < 10; ++round) {
    const uint64_t floor = stored;
    EXPECT_EQ(mount_.TakeSnapshot("a", absl::StrCat("s", round)), absl::OkStatus());
    const std::string old = Get(mount_ / absl::StrCat("a@s", round));
    ASSERT_EQ(old.size(), kSize);
    for (uint64_t i = floor > 255 ? floor - 255 : 1; i <= floor; ++i) {
      uint64_t value;
      std::memcpy(&value, old.data() + i % 256 * 4096, sizeof(value));
      EXPECT_GE(value, i);
    }
  }
  stop = true;
  writer.join();
}

TEST_F(SnapshotTest, ManyAtOnceWithMapsDoNotBlockEachOther) {
  const Descriptor file(mount_ / "a", O_RDWR | O_CREAT);
  ASSERT_EQ(ftruncate(file, 1 << 20), 0);
  SharedMap map(file, 1 << 20);
  ASSERT_TRUE(map.ok());
  std::vector<std::thread> threads;
  std::atomic<int> failures = 0;
  for (int i = 0; i < 80; ++i) {
    threads.emplace_back([&, i] {
      map.Store(i * 4096, "stored");
      if (!mount_.TakeSnapshot("a", absl::StrCat("s", i)).ok()) ++failures;
      if (Get(mount_ / absl::StrCat("a@s", i)).substr(i * 4096, 6) != "stored") ++failures;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

TEST_F(SnapshotTest, VanishesAtOnceWhenDestroyedOrRenamed) {
  ASSERT_TRUE(Put(mount_ / "a", "one"));
  ASSERT_EQ(mount_.TakeSnapshot("a", "mon"), absl::OkStatus());
  ASSERT_EQ(mount_.TakeSnapshot("", "all"), absl::OkStatus());
  const Descriptor open_file(mount_ / "a@mon", O_RDONLY);
  EXPECT_EQ(Get(mount_ / "a@mon"), "one");
  EXPECT_EQ(Get(mount_ / ".snapshots/all/a"), "one");
  ASSERT_TRUE(
      mount_
          .Call({.command = control::Command::kRename, .path = "a", .name = "mon", .target = "tue"})
          .ok());
  EXPECT_EQ(Get(mount_ / "a@mon"), kGone);
  EXPECT_EQ(Get(mount_ / "a@tue"), "one");
  ASSERT_EQ(mount_.Destroy("a", "tue"), absl::OkStatus());
  EXPECT_EQ(Get(mount_ / "a@tue"), kGone);
  ASSERT_EQ(mount_.Destroy("", "all"), absl::OkStatus());
  EXPECT_EQ(Get(mount_ / ".snapshots/all/a"), kGone);
  EXPECT_EQ(Get(mount_ / "a"), "one");
  EXPECT_EQ(ErrnoOf(mount_.Destroy("a", "tue")), ENOENT);
}

TEST_F(SnapshotTest, MovesWithItsFileAndStaysWhereAnEditorReplacedIt) {
  ASSERT_TRUE(Put(mount_ / "x", "first"));
  ASSERT_EQ(mount_.TakeSnapshot("x", "mon"), absl::OkStatus());
  EXPECT_EQ(Get(mount_ / "x@mon"), "first");
  ASSERT_EQ(rename((mount_ / "x").c_str(), (mount_ / "y").c_str()), 0);
  EXPECT_EQ(Get(mount_ / "y@mon"), "first");
  ASSERT_EQ(rename((mount_ / "y").c_str(), (mount_ / "x").c_str()), 0);
  // As editors save.
  ASSERT_TRUE(Put(mount_ / "x.new", "second"));
  ASSERT_EQ(rename((mount_ / "x.new").c_str(), (mount_ / "x").c_str()), 0);
  EXPECT_EQ(Get(mount_ / "x"), "second");
  EXPECT_EQ(Get(mount_ / "x@mon"), "first");
  // The file that has the name now comes first.
  ASSERT_EQ(mount_.TakeSnapshot("x", "mon"), absl::OkStatus());
  EXPECT_EQ(Get(mount_ / "x@mon"), "second");
  ASSERT_EQ(unlink((mount_ / "x").c_str()), 0);
  EXPECT_EQ(Get(mount_ / "x@mon"), "second");
}

TEST_F(SnapshotTest, OfARemovedDirectoryIsUnderDeleted) {
  ASSERT_EQ(mkdir((mount_ / "d").c_str(), 0755), 0);
  ASSERT_TRUE(Put(mount_ / "d/a", "kept"));
  ASSERT_EQ(mount_.TakeSnapshot("d/a", "mon"), absl::OkStatus());
  ASSERT_EQ(RunProgram({"rm", "-r", mount_ / "d"}).status, 0);
  EXPECT_EQ(Get(mount_ / ".snapshots/@deleted/a@mon"), "kept");
}

TEST_F(SnapshotTest, RollbackShowsOpenFilesAndMapsTheOldContent) {
  const std::string old(16384, 'o');
  ASSERT_TRUE(Put(mount_ / "a", old));
  ASSERT_EQ(mount_.TakeSnapshot("a", "mon"), absl::OkStatus());
  ASSERT_TRUE(Put(mount_ / "a", std::string(30000, 'n')));
  const Descriptor file(mount_ / "a", O_RDWR);
  SharedMap map(file, 16384);
  ASSERT_TRUE(map.ok());
  EXPECT_EQ(map.Text(8192, 1), "n");
  map.Store(4096, "stored");
  ASSERT_EQ(mount_.RollBack("a", "mon"), absl::OkStatus());
  EXPECT_EQ(Get(mount_ / "a"), old);
  EXPECT_EQ(map.Text(4096, 6), "oooooo");
  EXPECT_EQ(map.Text(8192, 1), "o");
  struct stat info;
  ASSERT_EQ(fstat(file, &info), 0);
  EXPECT_EQ(info.st_size, 16384);
  map.Store(8192, "again");
  ASSERT_EQ(pwrite(file, "head", 4, 0), 4);
  EXPECT_EQ(Get(mount_ / "a").substr(8192, 5), "again");
  EXPECT_EQ(Get(mount_ / "a@mon"), old);
}

TEST_F(SnapshotTest, RollbackKeepsWhatItReplaces) {
  ASSERT_TRUE(Put(mount_ / "a", "old"));
  ASSERT_EQ(mount_.TakeSnapshot("a", "mon"), absl::OkStatus());
  ASSERT_TRUE(Put(mount_ / "a", "newer"));
  const auto reply =
      mount_.Call({.command = control::Command::kRollBack, .path = "a", .name = "mon"});
  ASSERT_TRUE(reply.ok()) << reply.status();
  ASSERT_EQ(reply->entries.size(), 1u);
  EXPECT_THAT(reply->entries[0].name, HasSubstr("rollback-"));
  EXPECT_EQ(Get(mount_ / ("a@" + reply->entries[0].name)), "newer");
  EXPECT_EQ(Get(mount_ / "a"), "old");
}

TEST_F(SnapshotTest, RollbackOfATreeShowsItsOldNamesAtOnce) {
  ASSERT_EQ(mkdir((mount_ / "d").c_str(), 0755), 0);
  ASSERT_TRUE(Put(mount_ / "d/removed", "r"));
  ASSERT_TRUE(Put(mount_ / "d/changed", "old"));
  ASSERT_TRUE(Put(mount_ / "d/moved", "m"));
  ASSERT_EQ(mount_.TakeSnapshot("", "mon"), absl::OkStatus());
  const Descriptor open_file(mount_ / "d/changed", O_RDONLY);
  ASSERT_EQ(unlink((mount_ / "d/removed").c_str()), 0);
  ASSERT_TRUE(Put(mount_ / "d/changed", "new and longer"));
  ASSERT_TRUE(Put(mount_ / "d/added", "a"));
  ASSERT_EQ(rename((mount_ / "d/moved").c_str(), (mount_ / "elsewhere").c_str()), 0);
  // So the kernel has "not there" for these, and "there" for the others.
  EXPECT_FALSE(Exists(mount_ / "d/removed"));
  EXPECT_FALSE(Exists(mount_ / "d/moved"));
  EXPECT_TRUE(Exists(mount_ / "d/added"));
  ASSERT_EQ(mount_.RollBack("", "mon"), absl::OkStatus());
  EXPECT_EQ(Get(mount_ / "d/removed"), "r");
  EXPECT_EQ(Get(mount_ / "d/moved"), "m");
  EXPECT_FALSE(Exists(mount_ / "d/added"));
  EXPECT_FALSE(Exists(mount_ / "elsewhere"));
  EXPECT_EQ(Get(mount_ / "d/changed"), "old");
  char buffer[16] = {};
  EXPECT_EQ(pread(open_file, buffer, sizeof(buffer), 0), 3);
  EXPECT_STREQ(buffer, "old");
  EXPECT_THAT(Names(mount_ / "d"), ElementsAre("changed", "moved", "removed"));
  EXPECT_EQ(mount_.Check(), "");
}

TEST_F(SnapshotTest, ACloneAppearsAtOnceAndGoesItsOwnWay) {
  ASSERT_TRUE(Put(mount_ / "a", "one"));
  EXPECT_FALSE(Exists(mount_ / "b"));
  EXPECT_FALSE(Exists(mount_ / "c"));
  ASSERT_EQ(mount_.TakeSnapshot("a", "mon"), absl::OkStatus());
  ASSERT_TRUE(Put(mount_ / "a", "two"));
  ASSERT_EQ(mount_.Clone("a@mon", "b"), absl::OkStatus());
  ASSERT_EQ(mount_.Clone("a", "c"), absl::OkStatus());
  EXPECT_EQ(Get(mount_ / "b"), "one");
  EXPECT_EQ(Get(mount_ / "c"), "two");
  ASSERT_TRUE(Put(mount_ / "b", "three"));
  EXPECT_EQ(Get(mount_ / "a@mon"), "one");
  EXPECT_THAT(Names(mount_.path()), ElementsAre("a", "b", "c"));
}

TEST_F(SnapshotTest, SurvivesTheServer) {
  ASSERT_TRUE(Put(mount_ / "a", "one"));
  ASSERT_EQ(mount_.TakeSnapshot("a", "mon"), absl::OkStatus());
  ASSERT_TRUE(mount_.Restart());
  EXPECT_EQ(Get(mount_ / "a@mon"), "one");
  EXPECT_EQ(mount_.Check(), "");
}

}  // namespace
}  // namespace cow::test
