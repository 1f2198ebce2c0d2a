// How a mount begins and ends.
#include "tests/fuse/mount.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"

namespace cow::test {
namespace {

using ::testing::HasSubstr;

TEST(MountTest, KeepsFilesOverUnmountAndMount) {
  REQUIRE_FUSE();
  Mount mount;
  ASSERT_TRUE(mount.Start());
  ASSERT_TRUE(Put(mount / "a", "content"));
  ASSERT_EQ(mount.Unmount(), 0);
  ASSERT_TRUE(mount.Start());
  EXPECT_EQ(Get(mount / "a"), "content");
}

TEST(MountTest, ReturnsToTheCallerWhenItIsUp) {
  REQUIRE_FUSE();
  Mount mount;
  const Outcome outcome = RunProgram({COWFS, "--create", mount.volume(), mount.path()});
  EXPECT_EQ(outcome.status, 0) << outcome.output;
  EXPECT_EQ(outcome.output, "");
  EXPECT_TRUE(Put(mount / "a", "content"));
  const auto reply = mount.Call({.command = control::Command::kPing});
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->info.volume, mount.volume());
  EXPECT_NE(reply->info.process, 0u);
  EXPECT_EQ(umount2(mount.path().c_str(), 0), 0);
  // The next one waits for the one in the background to be done with the volume.
  ASSERT_TRUE(mount.Start());
  EXPECT_EQ(Get(mount / "a"), "content");
}

TEST(MountTest, TellsTheCallerWhyItIsNotUp) {
  REQUIRE_FUSE();
  Mount mount;
  const Outcome missing = RunProgram({COWFS, mount.volume(), mount.path()});
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.output, HasSubstr(mount.volume()));
  EXPECT_THAT(missing.output, HasSubstr("--create"));
  const Outcome nowhere = RunProgram({COWFS, "--create", mount.volume(), mount / "none"});
  EXPECT_EQ(nowhere.status, 1);
  EXPECT_THAT(nowhere.output, HasSubstr("No such file"));
  EXPECT_FALSE(Exists(mount.volume()));
  EXPECT_EQ(RunProgram({COWFS, mount.volume()}).status, 2);
  EXPECT_EQ(RunProgram({COWFS, mount.volume(), mount.path(), "-o", "nonsense"}).status, 2);
}

TEST(MountTest, NamesTheHolderOfAVolumeThatIsMounted) {
  REQUIRE_FUSE();
  Mount mount;
  ASSERT_TRUE(mount.Start());
  const TemporaryDirectory other;
  const Outcome outcome = RunProgram({COWFS, mount.volume(), other.path()});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.output, HasSubstr(absl::StrCat(mount.pid())));
  EXPECT_THAT(outcome.output, HasSubstr(mount.path()));
}

TEST(MountTest, SaysThatADeadMountIsInTheWay) {
  REQUIRE_FUSE();
  Mount mount;
  ASSERT_TRUE(mount.Start());
  EXPECT_EQ(mount.End(SIGKILL), 128 + SIGKILL);
  const Outcome outcome = RunProgram({COWFS, mount.volume(), mount.path()});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.output, HasSubstr("umount"));
}

TEST(MountTest, SignalsUnmountAndCommit) {
  REQUIRE_FUSE();
  Mount mount;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    ASSERT_TRUE(mount.Start());
    const std::string name = mount / absl::StrCat("after", signal);
    ASSERT_TRUE(Put(name, "content"));
    EXPECT_EQ(mount.End(signal), 0);
    EXPECT_EQ(Names(mount.path()).size(), 0u) << "still mounted";
    ASSERT_TRUE(mount.Start());
    EXPECT_EQ(Get(name), "content");
    ASSERT_EQ(mount.Unmount(), 0);
  }
}

TEST(MountTest, ASignalKeepsWhatWasStoredToMapsOfOpenFiles) {
  REQUIRE_FUSE();
  Mount mount;
  ASSERT_TRUE(mount.Start());
  {
    const Descriptor file(mount / "a", O_RDWR | O_CREAT);
    ASSERT_EQ(ftruncate(file, 8192), 0);
    SharedMap map(file, 8192);
    ASSERT_TRUE(map.ok());
    map.Store(4096, "stored");
    EXPECT_EQ(mount.End(SIGTERM), 0);
  }
  mount.Clear();
  ASSERT_TRUE(mount.Start());
  EXPECT_EQ(Get(mount / "a").substr(4096, 6), "stored");
}

TEST(MountTest, ReadOnlyBesideAWriterShowsWhatWasDurableWhenItWasMounted) {
  REQUIRE_FUSE();
  Mount writer;
  ASSERT_TRUE(writer.Start());
  ASSERT_TRUE(Put(writer / "a", "content"));
  ASSERT_EQ(writer.TakeSnapshot("a", "mon"), absl::OkStatus());
  Mount reader(writer.volume());
  ASSERT_TRUE(reader.Start({"-o", "ro"}));
  ASSERT_TRUE(Put(writer / "a", "later"));
  ASSERT_EQ(writer.TakeSnapshot("a", "tue"), absl::OkStatus());
  EXPECT_EQ(Get(reader / "a"), "content");
  for (const char* path : {"", "a", "a@mon"}) {
    const auto reply = reader.Call({.command = control::Command::kStat, .path = path});
    ASSERT_TRUE(reply.ok()) << reply.status();
    EXPECT_FALSE(reply->entries[0].has_space) << path;
  }
  EXPECT_EQ(reader.Unmount(), 0);
  EXPECT_THAT(RunProgram({COWFS, "--help"}).output, HasSubstr("the volume as it is now"));
}

TEST(MountTest, ReadOnlyRefusesChanges) {
  REQUIRE_FUSE();
  Mount mount;
  ASSERT_TRUE(mount.Start());
  ASSERT_TRUE(Put(mount / "a", "content"));
  ASSERT_EQ(mount.Unmount(), 0);
  ASSERT_TRUE(mount.Start({"-o", "ro"}));
  EXPECT_EQ(Get(mount / "a"), "content");
  EXPECT_FALSE(Put(mount / "a", "other"));
  EXPECT_EQ(errno, EROFS);
  EXPECT_EQ(mount.Unmount(), 0);
}

}  // namespace
}  // namespace cow::test
