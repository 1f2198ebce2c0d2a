// Checks of names beside changes of names.
#include <atomic>
#include <thread>

#include "tests/fs/volume.h"

namespace cow::fs {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> TextsOf(const absl::StatusOr<CheckResult>& checked) {
  if (!checked.ok()) return {checked.status().ToString()};
  std::vector<std::string> texts;
  for (const Damage& damage : checked->damages) {
    texts.push_back(damage.where + ": " + damage.what);
  }
  return texts;
}

// Changes names in `directory` (with a slash at its end) in every way, and leaves it as it was.
void ChangeNames(TestVolume& volume, const std::string& directory) {
  const auto in = [&](const std::string& name) { return directory + name; };
  volume.MakeFile(in("new"), "content");
  volume.Snapshot(in("new"), "one");
  EXPECT_EQ(volume->SetXattr(volume.Id(in("new")), "user.a", "value"), absl::OkStatus());
  EXPECT_EQ(volume.Link(in("new"), in("link")), 0);
  EXPECT_EQ(volume.Rename(in("new"), in("old")), 0);
  volume.MakeDirectory(in("dir"));
  EXPECT_EQ(volume.Rename(in("link"), in("dir/link")), 0);
  volume.MakeTree(in("tree"));
  volume.MakeFile(in("tree/file"), "more");
  volume.Snapshot(in("tree"), "one");
  volume.Write(in("tree/file"), "other");
  std::string kept;
  EXPECT_EQ(volume.RollBack(in("tree"), "one", &kept), 0);
  EXPECT_EQ(volume.Destroy(in("tree"), kept), 0);
  EXPECT_EQ(volume.Destroy(in("tree"), "one"), 0);
  EXPECT_EQ(volume.Unlink(in("tree/file")), 0);
  EXPECT_EQ(volume.RemoveDirectory(in("tree")), 0);
  EXPECT_EQ(volume.Destroy(in("old"), "one"), 0);
  EXPECT_EQ(volume.Unlink(in("old")), 0);
  EXPECT_EQ(volume.Unlink(in("dir/link")), 0);
  EXPECT_EQ(volume.RemoveDirectory(in("dir")), 0);
}

TEST(CheckTest, NamesMayChangeAtEveryStepOfIt) {
  TestVolume volume;
  for (int i = 0; i < 40; ++i) {
    volume.MakeDirectory("d" + std::to_string(i));
    volume.MakeFile("d" + std::to_string(i) + "/f", std::string(20000, 'x'));
  }
  volume.Snapshot("", "mon");
  int calls = 0;
  // No call comes while a name cannot be changed.
  EXPECT_THAT(TextsOf(volume->Check([&](uint64_t, uint64_t) {
                ChangeNames(volume, "");
                const std::string gone = "d" + std::to_string(calls++);
                if (calls <= 40) {
                  EXPECT_EQ(volume.Unlink(gone + "/f"), 0);
                  EXPECT_EQ(volume.RemoveDirectory(gone), 0);
                }
                return true;
              })),
              IsEmpty());
  EXPECT_GT(calls, 100);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(CheckTest, NamesMayBeChangedConcurrently) {
  TestVolume volume;
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> rounds = 0;
  std::vector<std::thread> threads;
  for (const std::string directory : {"a", "b"}) {
    volume.MakeDirectory(directory);
    threads.emplace_back([&, directory] {
      for (; !stop; ++rounds) {
        ChangeNames(volume, directory + "/");
        // Frees what was removed: else checks have ever more to look at.
        EXPECT_EQ(volume->Sync(), absl::OkStatus());
      }
    });
  }
  for (int i = 0; i < 4; ++i) {
    uint64_t seen = rounds;
    // Reads no more before something has happened.
    EXPECT_THAT(TextsOf(volume->Check([&](uint64_t, uint64_t) {
                  while (rounds == seen) std::this_thread::yield();
                  seen = rounds;
                  return true;
                })),
                IsEmpty());
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(CheckTest, DamageGoesByTheNameThatItHadThen) {
  TestVolume volume;
  volume.MakeFile("f", std::string(3 * kPageSize, 'q'));
  ASSERT_EQ(volume->Sync(), absl::OkStatus());
  const std::unique_ptr<os::File> disk = volume.Disk();
  std::byte byte = {};
  uint64_t at = 0;
  for (; at < disk->Size().value() && byte != std::byte{'q'}; at += kPageSize) {
    ASSERT_EQ(disk->Read(at, {&byte, 1}), absl::OkStatus());
  }
  ASSERT_EQ(byte, std::byte{'q'});
  // `at` is past the first page.
  byte = std::byte{'r'};
  ASSERT_EQ(disk->Write(at + 5, {&byte, 1}), absl::OkStatus());
  EXPECT_THAT(TextsOf(volume->Check([&](uint64_t, uint64_t) {
                EXPECT_THAT(volume.Rename("f", "g"), testing::AnyOf(0, ENOENT));
                return true;
              })),
              ElementsAre(testing::StartsWith("/f, page 1 (at byte 4096): frame ")));
}

}  // namespace
}  // namespace cow::fs
