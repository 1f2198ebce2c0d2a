// What POSIX says of files, on a mount.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <functional>
#include <set>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/fuse/mount.h"

namespace cow::test {
namespace {

using ::testing::ElementsAre;

class FilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    REQUIRE_FUSE();
    ASSERT_TRUE(mount_.Start());
  }
  struct stat Stat(const std::string& name) const {
    struct stat info = {};
    EXPECT_EQ(lstat((mount_ / name).c_str(), &info), 0) << name;
    return info;
  }
  Mount mount_;
};

TEST_F(FilesTest, RenameObeysItsFlags) {
  ASSERT_TRUE(Put(mount_ / "a", "A"));
  ASSERT_TRUE(Put(mount_ / "b", "B"));
  const std::string a = mount_ / "a";
  const std::string b = mount_ / "b";
  EXPECT_NE(renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_NOREPLACE), 0);
  EXPECT_EQ(errno, EEXIST);
  EXPECT_EQ(renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE), 0);
  EXPECT_EQ(Get(a), "B");
  EXPECT_EQ(Get(b), "A");
  EXPECT_EQ(rename(a.c_str(), b.c_str()), 0);
  EXPECT_EQ(Get(b), "B");
  EXPECT_FALSE(Exists(a));
}

TEST_F(FilesTest, LinksShareAFileAndSymbolicLinksNameOne) {
  ASSERT_TRUE(Put(mount_ / "a", "one"));
  ASSERT_EQ(link((mount_ / "a").c_str(), (mount_ / "b").c_str()), 0);
  ASSERT_EQ(symlink("a", (mount_ / "s").c_str()), 0);
  ASSERT_TRUE(Put(mount_ / "b", "two"));
  EXPECT_EQ(Get(mount_ / "s"), "two");
  EXPECT_EQ(Stat("a").st_nlink, 2u);
  EXPECT_EQ(Stat("a").st_ino, Stat("b").st_ino);
  EXPECT_EQ(Stat("s").st_size, 1);
  ASSERT_EQ(unlink((mount_ / "a").c_str()), 0);
  EXPECT_EQ(Get(mount_ / "b"), "two");
  EXPECT_EQ(Stat("b").st_nlink, 1u);
  EXPECT_THAT(Names(mount_.path()), ElementsAre("b", "s"));
}

TEST_F(FilesTest, MakesDevicesFifosAndSockets) {
  ASSERT_EQ(mknod((mount_ / "null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
  ASSERT_EQ(mkfifo((mount_ / "fifo").c_str(), 0600), 0);
  ASSERT_EQ(mknod((mount_ / "socket").c_str(), S_IFSOCK | 0600, 0), 0);
  EXPECT_EQ(Stat("null").st_rdev, makedev(1, 3));
  EXPECT_TRUE(S_ISCHR(Stat("null").st_mode));
  EXPECT_TRUE(S_ISFIFO(Stat("fifo").st_mode));
  EXPECT_TRUE(S_ISSOCK(Stat("socket").st_mode));
  EXPECT_TRUE(Put(mount_ / "null", "goes nowhere"));
  EXPECT_EQ(Get(mount_ / "null"), "");
}

TEST_F(FilesTest, KeepsModesOwnersAndTimesToTheNanosecond) {
  ASSERT_TRUE(Put(mount_ / "a", "x"));
  const std::string a = mount_ / "a";
  ASSERT_EQ(chmod(a.c_str(), 04751), 0);
  EXPECT_EQ(Stat("a").st_mode & 07777, 04751u);
  ASSERT_EQ(chown(a.c_str(), 1234, 5678), 0);
  const timespec times[2] = {{.tv_sec = 1, .tv_nsec = 123456789}, {.tv_sec = -5, .tv_nsec = 7}};
  ASSERT_EQ(utimensat(AT_FDCWD, a.c_str(), times, 0), 0);
  ASSERT_EQ(mount_.Unmount(), 0);
  ASSERT_TRUE(mount_.Start());
  const struct stat info = Stat("a");
  EXPECT_EQ(info.st_uid, 1234u);
  EXPECT_EQ(info.st_gid, 5678u);
  EXPECT_EQ(info.st_atim.tv_sec, 1);
  EXPECT_EQ(info.st_atim.tv_nsec, 123456789);
  EXPECT_EQ(info.st_mtim.tv_sec, -5);
  EXPECT_EQ(info.st_mtim.tv_nsec, 7);
  const timespec now[2] = {{.tv_sec = 0, .tv_nsec = UTIME_NOW},
                           {.tv_sec = 0, .tv_nsec = UTIME_OMIT}};
  ASSERT_EQ(utimensat(AT_FDCWD, a.c_str(), now, 0), 0);
  EXPECT_GT(Stat("a").st_atim.tv_sec, 1'000'000'000);
  EXPECT_EQ(Stat("a").st_mtim.tv_sec, -5);
}

// Runs `body` as another user; whether it answered true.
bool AsAnotherUser(const std::function<bool()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(setgid(1000) == 0 && setuid(1000) == 0 && body() ? 0 : 1);
  int status = -1;
  return waitpid(child, &status, 0) == child && status == 0;
}

TEST_F(FilesTest, AChangeByAnotherUserClearsSetuid) {
  ASSERT_TRUE(Put(mount_ / "a", "content"));
  const std::string a = mount_ / "a";
  const std::vector<std::pair<const char*, std::function<bool(int)>>> changes = {
      {"write", [](int file) { return write(file, "y", 1) == 1; }},
      {"second write", [](int file) { return write(file, "y", 1) == 1; }},
      {"truncate", [](int file) { return ftruncate(file, 3) == 0; }},
      {"fallocate", [](int file) { return fallocate(file, 0, 0, 100) == 0; }},
      {"punch", [](int file) {
         return fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 100) == 0;
       }}};
  const Descriptor held(a, O_RDWR);
  for (const auto& [name, change] : changes) {
    ASSERT_EQ(chmod(a.c_str(), 06777), 0);
    ASSERT_EQ(pwrite(held, "r", 1, 0), 1);
    EXPECT_EQ(Stat("a").st_mode & 07777, 06777u) << "root keeps it";
    EXPECT_TRUE(AsAnotherUser([&, &change = change] {
      const Descriptor file(a, O_RDWR);
      return file >= 0 && change(file);
    })) << name;
    EXPECT_EQ(Stat("a").st_mode & 07777, 0777u) << name;
  }
  ASSERT_EQ(chmod(a.c_str(), 06777), 0);
  EXPECT_TRUE(AsAnotherUser([&] { return open(a.c_str(), O_WRONLY | O_TRUNC) >= 0; }));
  EXPECT_EQ(Stat("a").st_mode & 07777, 0777u) << "O_TRUNC";
  ASSERT_EQ(chmod(a.c_str(), 06777), 0);
  ASSERT_EQ(chown(a.c_str(), 1, 1), 0);
  EXPECT_EQ(Stat("a").st_mode & 07777, 0777u) << "chown, also by root";
}

TEST_F(FilesTest, AnyChangeTakesCapabilitiesAway) {
  ASSERT_TRUE(Put(mount_ / "a", "content"));
  const std::string a = mount_ / "a";
  // cap_net_raw+ep, as setcap writes it.
  const std::string capability(
      "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00"
      "\x00\x00\x00\x00\x00\x00\x00\x00",
      20);
  const Descriptor file(a, O_RDWR);
  const auto grant = [&] {
    return setxattr(a.c_str(), "security.capability", capability.data(), capability.size(), 0) == 0;
  };
  const auto has = [&] { return getxattr(a.c_str(), "security.capability", nullptr, 0) > 0; };
  ASSERT_EQ(pwrite(file, "x", 1, 0), 1);
  ASSERT_TRUE(grant());
  EXPECT_TRUE(has());
  ASSERT_EQ(pwrite(file, "x", 1, 0), 1);
  EXPECT_FALSE(has());
  ASSERT_TRUE(grant());
  ASSERT_EQ(ftruncate(file, 3), 0);
  EXPECT_FALSE(has());
  ASSERT_TRUE(grant());
  ASSERT_EQ(chown(a.c_str(), 1, 1), 0);
  EXPECT_FALSE(has());
}

TEST_F(FilesTest, TruncateCutsAndGrowsWithZeros) {
  ASSERT_TRUE(Put(mount_ / "a", std::string(10000, 'x')));
  const std::string a = mount_ / "a";
  ASSERT_EQ(truncate(a.c_str(), 5000), 0);
  ASSERT_EQ(truncate(a.c_str(), 10000), 0);
  EXPECT_EQ(Get(a), std::string(5000, 'x') + std::string(5000, '\0'));
  const Descriptor cut(a, O_WRONLY | O_TRUNC);
  EXPECT_EQ(Stat("a").st_size, 0);
}

TEST_F(FilesTest, AppendsWhereTheEndIs) {
  const Descriptor one(mount_ / "a", O_WRONLY | O_CREAT | O_APPEND);
  const Descriptor two(mount_ / "a", O_WRONLY | O_APPEND);
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(write(one, "1", 1), 1);
    ASSERT_EQ(write(two, "2", 1), 1);
  }
  EXPECT_EQ(Get(mount_ / "a"), "121212");
}

TEST_F(FilesTest, ExtendedAttributesAreKeptListedAndRemoved) {
  ASSERT_TRUE(Put(mount_ / "a", "x"));
  const std::string a = mount_ / "a";
  const std::string large(20000, 'v');
  ASSERT_EQ(setxattr(a.c_str(), "user.one", "1", 1, 0), 0);
  ASSERT_EQ(setxattr(a.c_str(), "user.large", large.data(), large.size(), XATTR_CREATE), 0);
  EXPECT_NE(setxattr(a.c_str(), "user.one", "2", 1, XATTR_CREATE), 0);
  EXPECT_EQ(errno, EEXIST);
  EXPECT_NE(setxattr(a.c_str(), "user.none", "2", 1, XATTR_REPLACE), 0);
  EXPECT_EQ(errno, ENODATA);
  ASSERT_EQ(mount_.Unmount(), 0);
  ASSERT_TRUE(mount_.Start());
  std::string value(65536, '\0');
  EXPECT_EQ(getxattr(a.c_str(), "user.large", nullptr, 0), 20000);
  ASSERT_EQ(getxattr(a.c_str(), "user.large", value.data(), value.size()), 20000);
  EXPECT_EQ(value.substr(0, 20000), large);
  EXPECT_EQ(getxattr(a.c_str(), "user.large", value.data(), 5), -1);
  EXPECT_EQ(errno, ERANGE);
  const ssize_t listed = listxattr(a.c_str(), value.data(), value.size());
  ASSERT_GT(listed, 0);
  const std::string list = value.substr(0, listed);
  EXPECT_NE(list.find(std::string("user.one\0", 9)), std::string::npos);
  EXPECT_NE(list.find(std::string("user.large\0", 11)), std::string::npos);
  ASSERT_EQ(removexattr(a.c_str(), "user.one"), 0);
  EXPECT_EQ(getxattr(a.c_str(), "user.one", value.data(), value.size()), -1);
  EXPECT_EQ(errno, ENODATA);
}

TEST_F(FilesTest, FallocateReservesPunchesAndZeroes) {
  const Descriptor file(mount_ / "a", O_RDWR | O_CREAT);
  ASSERT_EQ(fallocate(file, 0, 0, 65536), 0);
  EXPECT_EQ(Stat("a").st_size, 65536);
  ASSERT_EQ(pwrite(file, std::string(65536, 'x').data(), 65536, 0), 65536);
  ASSERT_EQ(fallocate(file, FALLOC_FL_KEEP_SIZE, 65536, 65536), 0);
  EXPECT_EQ(Stat("a").st_size, 65536);
  ASSERT_EQ(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192), 0);
  ASSERT_EQ(fallocate(file, FALLOC_FL_ZERO_RANGE, 20000, 100), 0);
  std::string expected(65536, 'x');
  expected.replace(4096, 8192, 8192, '\0').replace(20000, 100, 100, '\0');
  EXPECT_EQ(Get(mount_ / "a"), expected);
  EXPECT_EQ(lseek(file, 0, SEEK_HOLE), 4096);
  EXPECT_EQ(lseek(file, 4096, SEEK_DATA), 4096 + 8192);
}

TEST_F(FilesTest, SeekFindsWhatWasStoredToAMap) {
  const Descriptor file(mount_ / "a", O_RDWR | O_CREAT);
  ASSERT_EQ(ftruncate(file, 1 << 20), 0);
  EXPECT_EQ(lseek(file, 0, SEEK_DATA), -1);
  EXPECT_EQ(errno, ENXIO);
  SharedMap map(file, 1 << 20);
  ASSERT_TRUE(map.ok());
  map.Store(65536, "stored");
  EXPECT_EQ(lseek(file, 0, SEEK_DATA), 65536);
  EXPECT_EQ(lseek(file, 65536, SEEK_HOLE), 65536 + 4096);
}

TEST_F(FilesTest, CopyFileRangeOfAWholeFileTakesNoSpace) {
  const std::string content(8 << 20, 'c');
  ASSERT_TRUE(Put(mount_ / "a", content));
  sync();
  struct statvfs before;
  struct statvfs after;
  ASSERT_EQ(statvfs(mount_.path().c_str(), &before), 0);
  const Descriptor from(mount_ / "a", O_RDONLY);
  const Descriptor to(mount_ / "b", O_WRONLY | O_CREAT);
  ASSERT_EQ(copy_file_range(from, nullptr, to, nullptr, 1 << 30, 0), 8 << 20);
  EXPECT_EQ(Get(mount_ / "b"), content);
  ASSERT_EQ(statvfs(mount_.path().c_str(), &after), 0);
  EXPECT_LT(after.f_blocks - after.f_bfree, before.f_blocks - before.f_bfree + 256);
}

TEST_F(FilesTest, CopyFileRangeCopiesAnyRange) {
  std::string content;
  for (int i = 0; i < 5000; ++i) absl::StrAppend(&content, i, ",");
  ASSERT_TRUE(Put(mount_ / "a", content));
  ASSERT_TRUE(Put(mount_ / "b", std::string(30000, 'b')));
  const Descriptor from(mount_ / "a", O_RDONLY);
  const Descriptor to(mount_ / "b", O_RDWR);
  std::string expected(30000, 'b');
  const struct {
    off_t source, target;
    size_t size;
  } kRanges[] = {{4096, 8192, 8192}, {1, 20001, 5000}, {100, 100, 7}};
  for (const auto& range : kRanges) {
    off_t in = range.source;
    off_t out = range.target;
    ASSERT_EQ(copy_file_range(from, &in, to, &out, range.size, 0),
              static_cast<ssize_t>(range.size));
    expected.replace(range.target, range.size, content.substr(range.source, range.size));
  }
  EXPECT_EQ(Get(mount_ / "b"), expected);
}

TEST_F(FilesTest, ACopySeesWhatWasStoredToAMapOfTheSource) {
  ASSERT_TRUE(Put(mount_ / "a", std::string(16384, 'a')));
  const Descriptor file(mount_ / "a", O_RDWR);
  SharedMap map(file, 16384);
  ASSERT_TRUE(map.ok());
  map.Store(8192, "stored");
  ASSERT_EQ(RunProgram({"cp", mount_ / "a", mount_ / "b"}).status, 0);
  EXPECT_EQ(Get(mount_ / "b").substr(8192, 6), "stored");
}

TEST_F(FilesTest, AnUnlinkedFileLivesWhileItIsOpen) {
  const Descriptor file(mount_ / "a", O_RDWR | O_CREAT);
  ASSERT_EQ(write(file, "hello", 5), 5);
  ASSERT_EQ(unlink((mount_ / "a").c_str()), 0);
  EXPECT_FALSE(Exists(mount_ / "a"));
  ASSERT_EQ(write(file, " there", 6), 6);
  char buffer[16] = {};
  EXPECT_EQ(pread(file, buffer, sizeof(buffer), 0), 11);
  EXPECT_STREQ(buffer, "hello there");
  ASSERT_EQ(fchmod(file, 0600), 0);
  ASSERT_EQ(ftruncate(file, 5), 0);
  struct stat info;
  ASSERT_EQ(fstat(file, &info), 0);
  EXPECT_EQ(info.st_nlink, 0u);
  EXPECT_EQ(info.st_size, 5);
}

TEST_F(FilesTest, ListsEveryEntryOfALargeDirectoryOnce) {
  ASSERT_EQ(mkdir((mount_ / "d").c_str(), 0755), 0);
  std::vector<std::string> expected;
  for (int i = 0; i < 3000; ++i) {
    expected.push_back(absl::StrCat("entry-", i));
    ASSERT_EQ(mknod((mount_ / ("d/" + expected.back())).c_str(), S_IFREG | 0644, 0), 0);
  }
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(Names(mount_ / "d"), expected);
  EXPECT_EQ(RunProgram({"rm", "-r", mount_ / "d"}).status, 0);
  EXPECT_FALSE(Exists(mount_ / "d"));
}

TEST_F(FilesTest, SharedMapsAndReadsSeeEachOther) {
  const Descriptor file(mount_ / "a", O_RDWR | O_CREAT);
  ASSERT_EQ(ftruncate(file, 8192), 0);
  SharedMap map(file, 8192);
  ASSERT_TRUE(map.ok());
  map.Store(100, "by map");
  EXPECT_EQ(Get(mount_ / "a").substr(100, 6), "by map");
  ASSERT_EQ(pwrite(file, "by call", 7, 5000), 7);
  EXPECT_EQ(map.Text(5000, 7), "by call");
  ASSERT_EQ(msync(const_cast<char*>(map.data()), 8192, MS_SYNC), 0);
}

TEST_F(FilesTest, LocksExcludeEachOther) {
  const Descriptor one(mount_ / "a", O_RDWR | O_CREAT);
  const Descriptor two(mount_ / "a", O_RDWR);
  ASSERT_EQ(flock(one, LOCK_EX), 0);
  EXPECT_NE(flock(two, LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(errno, EWOULDBLOCK);
}

TEST_F(FilesTest, StatfsCountsWhatIsUsed) {
  struct statvfs info;
  ASSERT_EQ(statvfs(mount_.path().c_str(), &info), 0);
  EXPECT_EQ(info.f_bsize, 4096u);
  EXPECT_EQ(info.f_namemax, 255u);
  EXPECT_GT(info.f_bavail, 0u);
  EXPECT_GE(info.f_blocks, info.f_bfree);
  EXPECT_EQ(mkdir((mount_ / std::string(256, 'n')).c_str(), 0755), -1);
  EXPECT_EQ(errno, ENAMETOOLONG);
}

TEST_F(FilesTest, DirectIoReadsAndWrites) {
  const Descriptor file(mount_ / "a", O_RDWR | O_CREAT | O_DIRECT);
  ASSERT_GE(file, 0);
  alignas(4096) static char buffer[8192];
  std::fill(std::begin(buffer), std::end(buffer), 'd');
  ASSERT_EQ(pwrite(file, buffer, sizeof(buffer), 4096), 8192);
  std::fill(std::begin(buffer), std::end(buffer), 0);
  ASSERT_EQ(pread(file, buffer, sizeof(buffer), 4096), 8192);
  EXPECT_EQ(std::string(buffer, 8192), std::string(8192, 'd'));
}

}  // namespace
}  // namespace cow::test
