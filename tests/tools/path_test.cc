// How arguments are taken apart, and how names and numbers are written.
#include "tools/cowctl/path.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"
#include "tools/cowctl/mountinfo.h"
#include "tools/cowctl/output.h"
#include "tools/cowctl/progress.h"
#include "tools/cowctl/target.h"

namespace cow::ctl {
namespace {

constexpr char kMountinfo[] =
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "36 22 0:45 / /mnt/with\\040space rw,nosuid - fuse.cowfs /srv/app.cow rw,user_id=0\n"
    "37 22 0:45 /sub /srv/bind rw - fuse.cowfs /srv/app.cow rw,user_id=0\n";

TEST(Mountinfo, FindsTheMountByItsNumberAndUnescapesIt) {
  const auto mount = FindMount(kMountinfo, 36);
  ASSERT_TRUE(mount.ok()) << mount.status();
  EXPECT_EQ(mount->point, "/mnt/with space");
  EXPECT_EQ(mount->root, "/");
  EXPECT_EQ(FindMount(kMountinfo, 37)->root, "/sub");
  EXPECT_FALSE(FindMount(kMountinfo, 3).ok());
  EXPECT_FALSE(FindMount("", 3).ok());
}

TEST(Mountinfo, FindsWhereAVolumeIsMounted) {
  EXPECT_EQ(FindMountOfVolume(kMountinfo, "/srv/app.cow")->point, "/mnt/with space");
  EXPECT_FALSE(FindMountOfVolume(kMountinfo, "/srv/app").has_value());
  EXPECT_FALSE(FindMountOfVolume(kMountinfo, "/srv/app.cow")->read_only);
  // Rather where it is written.
  const std::string twice =
      "35 22 0:44 / /mnt/old rw,nosuid - fuse.cowfs /srv/app.cow ro,user_id=0\n";
  EXPECT_EQ(FindMountOfVolume(twice + kMountinfo, "/srv/app.cow")->point, "/mnt/with space");
  EXPECT_EQ(FindMountOfVolume(twice, "/srv/app.cow")->point, "/mnt/old");
  EXPECT_TRUE(FindMountOfVolume(twice, "/srv/app.cow")->read_only);
  // Of another kind of filesystem.
  EXPECT_FALSE(FindMountOfVolume(kMountinfo, "/dev/sda1").has_value());
}

TEST(Mountinfo, PathsGoIntoTheFilesystemAndBack) {
  const Mount whole{.point = "/mnt", .root = "/"};
  EXPECT_EQ(InFilesystem(whole, "/mnt"), "");
  EXPECT_EQ(InFilesystem(whole, "/mnt/a/b"), "a/b");
  EXPECT_EQ(InMount(whole, ""), "/mnt");
  EXPECT_EQ(InMount(whole, "a/b"), "/mnt/a/b");

  const Mount bind{.point = "/srv/bind", .root = "/sub"};
  EXPECT_EQ(InFilesystem(bind, "/srv/bind"), "sub");
  EXPECT_EQ(InFilesystem(bind, "/srv/bind/a"), "sub/a");
  EXPECT_EQ(InMount(bind, "sub/a"), "/srv/bind/a");
  EXPECT_EQ(InMount(bind, "subway"), "/srv/bind:/subway");

  const Mount root{.point = "/", .root = "/"};
  EXPECT_EQ(InFilesystem(root, "/a"), "a");
  EXPECT_EQ(InMount(root, "a"), "/a");
}

TEST(Mountinfo, KnowsTheMountOfARealPath) {
  const auto mount = MountOf("/proc/self");
  ASSERT_TRUE(mount.ok()) << mount.status();
  EXPECT_EQ(mount->point, "/proc");
  EXPECT_FALSE(MountOf("/no/such/path").ok());
}

TEST(Arguments, LastAtOfTheLastComponentSplits) {
  std::string_view path;
  std::string_view name;
  ASSERT_TRUE(SplitName("dir/a@b@mon", path, name));
  EXPECT_EQ(path, "dir/a@b");
  EXPECT_EQ(name, "mon");
  EXPECT_FALSE(SplitName("dir@mon/a", path, name));
  EXPECT_FALSE(SplitName("dir/a", path, name));
}

TEST(Arguments, VolumeIsToldFromAPathOfTheHost) {
  test::TemporaryDirectory directory;
  std::ofstream(directory / "v.cow") << "x";
  std::filesystem::create_directories(directory / "odd:/here");
  std::string_view volume;
  std::string_view path;

  ASSERT_TRUE(SplitVolume(directory / "v.cow:/a:/b", volume, path));
  EXPECT_FALSE(SplitVolume(directory / "odd:/here", volume, path));
  EXPECT_FALSE(SplitVolume(directory.path() + ":/x", volume, path));
  EXPECT_FALSE(SplitVolume("plain/path", volume, path));
  EXPECT_FALSE(SplitVolume(":/x", volume, path));
  const std::string absent = directory / "no.cow:/a:/b";
  ASSERT_TRUE(SplitVolume(absent, volume, path));
  EXPECT_EQ(volume, directory / "no.cow");
  EXPECT_EQ(path, "/a:/b");
}

TEST(Arguments, CanonicalPathFollowsLinksAndAllowsAMissingEnd) {
  test::TemporaryDirectory directory;
  const std::string real = std::filesystem::canonical(directory.path());
  std::filesystem::create_directory(directory / "d");
  std::filesystem::create_symlink("d", directory / "link");

  auto path = Canonical(directory / "link/");
  ASSERT_TRUE(path.ok()) << path.status();
  EXPECT_EQ(path->whole, real + "/d");
  EXPECT_EQ(path->existing, real + "/d");
  path = Canonical(directory / "link/new");
  ASSERT_TRUE(path.ok()) << path.status();
  EXPECT_EQ(path->whole, real + "/d/new");
  EXPECT_EQ(path->existing, real + "/d");
  EXPECT_FALSE(Canonical(directory / "none/new").ok());
  EXPECT_FALSE(Canonical("").ok());
}

TEST(Output, BytesAreShortForPeopleAndExactForScripts) {
  EXPECT_EQ(Bytes(0, false), "0B");
  EXPECT_EQ(Bytes(1023, false), "1023B");
  EXPECT_EQ(Bytes(1024, false), "1.0K");
  EXPECT_EQ(Bytes(10'188, false), "9.9K");
  EXPECT_EQ(Bytes(10'189, false), "10K");
  EXPECT_EQ(Bytes(1023 * 1024, false), "1023K");
  EXPECT_EQ(Bytes(1024 * 1024 - 1, false), "1.0M");
  EXPECT_EQ(Bytes(uint64_t{1} << 40, false), "1.0T");
  EXPECT_EQ(Bytes(UINT64_MAX, false), "16E");
  EXPECT_EQ(Bytes(UINT64_MAX, true), "18446744073709551615");
}

TEST(Output, NamesStayOnOneLineAndInOneField) {
  EXPECT_EQ(Escaped("a\tb\nc\\d\x1b[1m"), "a\\011b\\012c\\134d\\033[1m");
  EXPECT_EQ(Escaped("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
}

TEST(Output, ProgressTellsShareRateAndTimeLeft) {
  using std::chrono::milliseconds;
  EXPECT_EQ(ProgressText(0, 0, milliseconds(0)), "0B");
  EXPECT_EQ(ProgressText(50 << 20, 100 << 20, milliseconds(500)),
            "50%  50M of 100M  100M/s  1 s left");
  EXPECT_EQ(ProgressText(1 << 20, 601 << 20, milliseconds(1000)),
            "0%  1.0M of 601M  1.0M/s  10 min 0 s left");
  EXPECT_EQ(ProgressText(100, 100, milliseconds(1000)), "100%  100B of 100B  100B/s");
}

}  // namespace
}  // namespace cow::ctl
