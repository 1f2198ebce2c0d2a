// Bringing a file together on a mount.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "cow/base/status.h"
#include "tests/fuse/mount.h"

namespace cow::test {
namespace {

using control::Command;

TEST(DefragmentTest, ItGoesOverAFileInStepsAndChangesNeitherContentNorTimes) {
  REQUIRE_FUSE();
  Mount mount;
  ASSERT_TRUE(mount.Start());
  constexpr int kPages = 3000;
  std::string content(kPages * 4096, '\0');
  {
    const Descriptor file(mount / "a", O_RDWR | O_CREAT, 0644);
    for (int i = 0; i < kPages; ++i) {
      const int page = i * 1013 % kPages;
      content.replace(page * 4096, 4096, 4096, static_cast<char>('a' + i % 26));
      ASSERT_EQ(pwrite(file, content.data() + page * 4096, 4096, page * 4096), 4096);
    }
  }
  struct stat before = {};
  ASSERT_EQ(stat((mount / "a").c_str(), &before), 0);
  control::Request request = {.command = Command::kDefragment, .path = "a"};
  uint64_t before_extents = 0;
  uint64_t after_extents = 0;
  int steps = 0;
  do {
    const auto reply = mount.Call(request);
    ASSERT_TRUE(reply.ok()) << reply.status();
    EXPECT_EQ(reply->defragmented.file_bytes, content.size());
    before_extents += reply->defragmented.extents_before;
    after_extents += reply->defragmented.extents_after;
    request.cursor = reply->next;
    ++steps;
  } while (request.cursor != 0);
  EXPECT_EQ(steps, 3);
  EXPECT_GT(before_extents, kPages / 2u);
  EXPECT_LE(after_extents, 24u);
  struct stat after = {};
  ASSERT_EQ(stat((mount / "a").c_str(), &after), 0);
  EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  EXPECT_EQ(after.st_ctim.tv_nsec, before.st_ctim.tv_nsec);
  // Not what the kernel remembers.
  const Descriptor file(mount / "a", O_RDONLY);
  posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  EXPECT_TRUE(Get(mount / "a") == content);
  EXPECT_EQ(ErrnoOf(mount.Call({.command = Command::kDefragment}).status()), EISDIR);
  ASSERT_EQ(mount.TakeSnapshot("a", "mon"), absl::OkStatus());
  EXPECT_EQ(ErrnoOf(mount.Call({.command = Command::kDefragment, .path = "a@mon"}).status()),
            EROFS);
}

}  // namespace
}  // namespace cow::test
