// Rolling back under open files, maps and directories in use.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/fuse/mount.h"

namespace cow::test {
namespace {

using ::testing::ElementsAre;

class RollBackTest : public ::testing::Test {
 protected:
  void SetUp() override {
    REQUIRE_FUSE();
    ASSERT_TRUE(mount_.Start());
  }
  Mount mount_;
};

TEST_F(RollBackTest, AFileThatWasRemovedWhileOpenIsNotTheRestoredOne) {
  ASSERT_TRUE(Put(mount_ / "a", "restored"));
  ASSERT_EQ(mount_.TakeSnapshot("", "mon"), absl::OkStatus());
  const Descriptor file(mount_ / "a", O_RDWR);
  ASSERT_EQ(unlink((mount_ / "a").c_str()), 0);
  ASSERT_EQ(mount_.RollBack("", "mon"), absl::OkStatus());
  EXPECT_EQ(Get(mount_ / "a"), "restored");
  ASSERT_EQ(pwrite(file, "removed and longer", 18, 0), 18);
  struct stat removed;
  struct stat restored;
  ASSERT_EQ(fstat(file, &removed), 0);
  EXPECT_EQ(removed.st_size, 18);
  EXPECT_EQ(removed.st_nlink, 0u);
  ASSERT_EQ(ftruncate(file, 3), 0);
  ASSERT_EQ(fstat(file, &removed), 0);
  EXPECT_EQ(removed.st_size, 3);
  char buffer[16] = {};
  EXPECT_EQ(pread(file, buffer, sizeof(buffer), 0), 3);
  EXPECT_STREQ(buffer, "rem");
  EXPECT_EQ(fchmod(file, 0600), -1);
  EXPECT_EQ(errno, ESTALE);
  EXPECT_EQ(Get(mount_ / "a"), "restored");
  ASSERT_EQ(stat((mount_ / "a").c_str(), &restored), 0);
  EXPECT_EQ(restored.st_size, 8);
  EXPECT_EQ(restored.st_mode & 07777, 0644u);
  EXPECT_EQ(mount_.Check(), "");
}

TEST_F(RollBackTest, ADirectoryThatWasRemovedWhileInUseIsNotTheRestoredOne) {
  ASSERT_EQ(mkdir((mount_ / "d").c_str(), 0755), 0);
  ASSERT_TRUE(Put(mount_ / "d/a", "a"));
  ASSERT_EQ(mount_.TakeSnapshot("", "mon"), absl::OkStatus());
  const Descriptor directory(mount_ / "d", O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(RunProgram({"rm", "-r", mount_ / "d"}).status, 0);
  ASSERT_EQ(mount_.RollBack("", "mon"), absl::OkStatus());
  EXPECT_THAT(Names(mount_ / "d"), ElementsAre("a"));
  EXPECT_EQ(Get(mount_ / "d/a"), "a");
  EXPECT_EQ(openat(directory, "b", O_WRONLY | O_CREAT, 0644), -1);
  EXPECT_TRUE(Put(mount_ / "d/b", "b"));
  EXPECT_THAT(Names(mount_ / "d"), ElementsAre("a", "b"));
  EXPECT_EQ(mount_.Check(), "");
}

TEST_F(RollBackTest, AppendsGoToTheEndOfWhatWasRestored) {
  const Descriptor file(mount_ / "a", O_RDWR | O_CREAT | O_APPEND);
  ASSERT_EQ(write(file, "short", 5), 5);
  ASSERT_EQ(mount_.TakeSnapshot("a", "short"), absl::OkStatus());
  const std::string more(10000, 'm');
  ASSERT_EQ(write(file, more.data(), more.size()), 10000);
  ASSERT_EQ(mount_.TakeSnapshot("a", "long"), absl::OkStatus());
  ASSERT_EQ(mount_.RollBack("a", "short"), absl::OkStatus());
  ASSERT_EQ(write(file, "+1", 2), 2);
  ASSERT_EQ(write(file, "+2", 2), 2);
  EXPECT_EQ(Get(mount_ / "a"), "short+1+2");
  ASSERT_EQ(mount_.RollBack("a", "long"), absl::OkStatus());
  ASSERT_EQ(write(file, "+3", 2), 2);
  EXPECT_EQ(Get(mount_ / "a"), absl::StrCat("short", more, "+3"));
}

TEST_F(RollBackTest, AMapReachesWhatWasRestoredBehindTheEnd) {
  ASSERT_TRUE(Put(mount_ / "a", std::string(16384, 'o')));
  const Descriptor file(mount_ / "a", O_RDWR);
  SharedMap map(file, 16384);
  ASSERT_TRUE(map.ok());
  ASSERT_EQ(mount_.TakeSnapshot("a", "mon"), absl::OkStatus());
  ASSERT_EQ(ftruncate(file, 0), 0);
  ASSERT_EQ(mount_.RollBack("a", "mon"), absl::OkStatus());
  // A system call tells what a load would be killed for.
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const Descriptor out(absl::StrCat("/proc/self/fd/", ends[0]), O_RDONLY);
  const ssize_t written = write(ends[1], const_cast<char*>(map.data()) + 12288, 1);
  const int error = errno;
  close(ends[0]);
  close(ends[1]);
  ASSERT_EQ(written, 1) << strerror(error);
  char byte = 0;
  EXPECT_EQ(read(out, &byte, 1), 1);
  EXPECT_EQ(byte, 'o');
}

TEST_F(RollBackTest, StoresDuringItDoNotBringOldPagesBack) {
  constexpr size_t kSize = 1 << 20;
  ASSERT_TRUE(Put(mount_ / "a", std::string(kSize, 'o')));
  ASSERT_EQ(mount_.TakeSnapshot("a", "mon"), absl::OkStatus());
  for (int round = 0; round < 5; ++round) {
    ASSERT_TRUE(Put(mount_ / "a", std::string(kSize, 'n')));
    const Descriptor file(mount_ / "a", O_RDWR);
    SharedMap map(file, kSize);
    ASSERT_TRUE(map.ok());
    std::atomic<bool> stop = false;
    std::thread writer([&] {
      for (size_t i = 0; !stop; ++i) map.Store(i % 256 * 4096, "stored");
    });
    EXPECT_EQ(mount_.RollBack("a", "mon"), absl::OkStatus());
    stop = true;
    writer.join();
    const std::string content = Get(mount_ / "a");
    ASSERT_EQ(content.size(), kSize);
    for (size_t page = 0; page < kSize; page += 4096) {
      ASSERT_EQ(content.substr(page + 6, 4090), std::string(4090, 'o')) << page / 4096;
    }
    // What the kernel shows is what the server has.
    ASSERT_EQ(mount_.TakeSnapshot("a", absl::StrCat("after", round)), absl::OkStatus());
    EXPECT_TRUE(Get(mount_ / absl::StrCat("a@after", round)) == content) << round;
  }
}

}  // namespace
}  // namespace cow::test
