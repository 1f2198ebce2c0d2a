#include <sys/stat.h>

#include <set>
#include <thread>

#include "tests/fs/volume.h"

namespace cow::fs {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

TEST(NamesTest, WhatIsMadeIsFoundAlsoAfterAReopen) {
  TestVolume volume;
  volume.MakeDirectory("a");
  volume.MakeFile("a/file", "content");
  volume.Make("a/link", {.type = FileType::kSymlink, .mode = 0777, .target = "../b"});
  const std::string long_target(1000, 't');
  volume.Make("a/long", {.type = FileType::kSymlink, .mode = 0777, .target = long_target});
  volume.Make("a/fifo", {.type = FileType::kFifo, .mode = 0600});
  volume.Make("a/tty", {.type = FileType::kCharacterDevice, .mode = 0600, .rdev = 0x501});
  volume.Reopen();
  EXPECT_EQ(volume.Read("a/file"), "content");
  EXPECT_EQ(volume->ReadLink(volume.Id("a/link")).value(), "../b");
  EXPECT_EQ(volume.Stat("a/link").size, 4u);
  EXPECT_EQ(volume->ReadLink(volume.Id("a/long")).value(), long_target);
  EXPECT_EQ(volume.Stat("a/fifo").type, FileType::kFifo);
  EXPECT_EQ(volume.Stat("a/tty").rdev, 0x501u);
  EXPECT_THAT(volume.List("a"), UnorderedElementsAre("file", "link", "long", "fifo", "tty"));
  EXPECT_EQ(volume->PathOf(volume.Id("a/file")).value(), "a/file");
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(NamesTest, LinkCountsFollowNames) {
  TestVolume volume;
  volume.MakeDirectory("a");
  volume.MakeDirectory("a/b");
  EXPECT_EQ(volume.Stat("").nlink, 3u);
  EXPECT_EQ(volume.Stat("a").nlink, 3u);
  volume.MakeFile("one", "x");
  ASSERT_EQ(volume.Link("one", "a/two"), 0);
  EXPECT_EQ(volume.Stat("one").nlink, 2u);
  EXPECT_EQ(volume.Id("one"), volume.Id("a/two"));
  EXPECT_EQ(volume.Unlink("one"), 0);
  EXPECT_EQ(volume.Stat("a/two").nlink, 1u);
  EXPECT_EQ(volume.Read("a/two"), "x");
  EXPECT_EQ(volume.RemoveDirectory("a"), ENOTEMPTY);
  EXPECT_EQ(volume.Unlink("a/b"), EISDIR);
  EXPECT_EQ(volume.RemoveDirectory("a/two"), ENOTDIR);
  EXPECT_EQ(volume.Link("a", "c"), EPERM);
  EXPECT_EQ(volume.RemoveDirectory("a/b"), 0);
  EXPECT_EQ(volume.Stat("a").nlink, 2u);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(NamesTest, NamesThatCannotBeAreRefused) {
  TestVolume volume;
  const NewNode file = {.type = FileType::kRegular, .mode = 0644};
  EXPECT_EQ(ErrnoOf(volume->Make(kRoot, std::string(256, 'n'), file).status()), ENAMETOOLONG);
  EXPECT_EQ(ErrnoOf(volume->Make(kRoot, "a/b", file).status()), EINVAL);
  EXPECT_EQ(ErrnoOf(volume->Make(kRoot, std::string_view("a\0b", 3), file).status()), EINVAL);
  EXPECT_EQ(ErrnoOf(volume->Make(kRoot, "..", file).status()), EINVAL);
  EXPECT_EQ(ErrnoOf(volume->Make(kRoot, ".snapshots", file).status()), EEXIST);
  EXPECT_EQ(ErrnoOf(volume->Lookup(kRoot, std::string(256, 'n')).status()), ENAMETOOLONG);
  const std::string odd = std::string(250, '\xff') + "\n\t# @";
  EXPECT_TRUE(volume->Make(kRoot, odd, file).ok());
  EXPECT_TRUE(volume->Lookup(kRoot, odd).ok());
  volume.MakeFile("a");
  EXPECT_EQ(ErrnoOf(volume->Make(kRoot, "a", file).status()), EEXIST);
  EXPECT_EQ(volume.Error("a/b"), ENOTDIR);
  EXPECT_EQ(volume.Error("b/c"), ENOENT);
}

TEST(NamesTest, AnOpenFileOutlivesItsLastName) {
  TestVolume volume;
  const Node node = volume.MakeFile("file", "content");
  FileHandle handle = volume->OpenFile(node.id).value();
  ASSERT_EQ(volume.Unlink("file"), 0);
  EXPECT_EQ(volume.Error("file"), ENOENT);
  EXPECT_EQ(TestVolume::Read(handle), "content");
  EXPECT_EQ(handle.Write(7, std::as_bytes(std::span(std::string_view("!")))), absl::OkStatus());
  EXPECT_EQ(handle.GetAttributes()->nlink, 0u);
  EXPECT_EQ(volume->GetAttributes(node.id)->size, 8u);
  { FileHandle closed = std::move(handle); }
  EXPECT_EQ(ErrnoOf(volume->GetAttributes(node.id).status()), ENOENT);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(NamesTest, TimesFollowPosix) {
  TestVolume volume;
  volume.MakeDirectory("d");
  volume.MakeFile("d/f", "x");
  const Attributes file = volume.Stat("d/f");
  const Attributes directory = volume.Stat("d");
  volume.Write("d/f", "xy");
  EXPECT_GT(volume.Stat("d/f").mtime.tv_sec, file.mtime.tv_sec);
  EXPECT_EQ(volume.Stat("d").mtime.tv_sec, directory.mtime.tv_sec);
  const Attributes written = volume.Stat("d/f");
  ASSERT_EQ(volume.Link("d/f", "d/g"), 0);
  EXPECT_GT(volume.Stat("d/f").ctime.tv_sec, written.ctime.tv_sec);
  EXPECT_EQ(volume.Stat("d/f").mtime.tv_sec, written.mtime.tv_sec);
  EXPECT_GT(volume.Stat("d").mtime.tv_sec, directory.mtime.tv_sec);
  const timespec far = {.tv_sec = int64_t{1} << 40, .tv_nsec = 999999999};
  ASSERT_TRUE(volume
                  ->SetAttributes(volume.Id("d/f"),
                                  {.fields = AttributeChange::kMtime | AttributeChange::kMode,
                                   .mode = 04711,
                                   .mtime = far})
                  .ok());
  volume.Reopen();
  EXPECT_EQ(volume.Stat("d/g").mtime.tv_sec, far.tv_sec);
  EXPECT_EQ(volume.Stat("d/g").mtime.tv_nsec, far.tv_nsec);
  EXPECT_EQ(volume.Stat("d/g").mode, 04711u);
}

TEST(NamesTest, SetgidDirectoriesPassTheirGroupOn) {
  TestVolume volume;
  volume.Make("d", {.type = FileType::kDirectory, .mode = 02775, .gid = 7});
  volume.MakeFile("d/f");
  volume.MakeDirectory("d/e");
  EXPECT_EQ(volume.Stat("d/f").gid, 7u);
  EXPECT_EQ(volume.Stat("d/e").gid, 7u);
  EXPECT_NE(volume.Stat("d/e").mode & S_ISGID, 0u);
}

TEST(NamesTest, CookiesStayWhileEntriesComeAndGo) {
  TestVolume volume;
  volume.MakeDirectory("d");
  const NodeId directory = volume.Id("d");
  for (int i = 0; i < 2000; ++i) volume.MakeFile("d/stays" + std::to_string(i));
  std::set<std::string> seen;
  uint64_t cookie = 0;
  for (int round = 0;; ++round) {
    int got = 0;
    ASSERT_EQ(volume->ReadDirectory(directory, cookie,
                                    [&](const DirectoryEntry& entry) {
                                      if (entry.name.starts_with("stays")) {
                                        EXPECT_TRUE(seen.insert(entry.name).second) << entry.name;
                                      }
                                      cookie = entry.cookie;
                                      return ++got < 100;
                                    }),
              absl::OkStatus());
    if (got == 0) break;
    for (int i = 0; i < 60; ++i) {
      volume.MakeFile("d/comes" + std::to_string(round) + "." + std::to_string(i));
      if (i % 2 == 0) volume.Unlink("d/comes" + std::to_string(round) + "." + std::to_string(i));
    }
  }
  EXPECT_EQ(seen.size(), 2000u);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(NamesTest, ADirectoryOfAHundredThousandEntriesIsWhole) {
  TestVolume volume;
  volume.MakeDirectory("d");
  const NodeId directory = volume.Id("d");
  constexpr int kEntries = 100000;
  for (int i = 0; i < kEntries; ++i) {
    ASSERT_TRUE(
        volume->Make(directory, "entry" + std::to_string(i), {.type = FileType::kFifo}).ok());
  }
  EXPECT_EQ(volume.List(directory).size(), size_t{kEntries});
  for (int i = 0; i < kEntries; i += 997) {
    EXPECT_TRUE(volume->Lookup(directory, "entry" + std::to_string(i)).ok());
  }
  volume.Reopen();
  EXPECT_THAT(volume.Damages(), IsEmpty());
  for (int i = 0; i < kEntries; ++i) {
    ASSERT_EQ(volume->Unlink(directory, "entry" + std::to_string(i)), absl::OkStatus());
  }
  EXPECT_EQ(volume.RemoveDirectory("d"), 0);
}

TEST(RenameTest, ReplacesFilesAndEmptyDirectories) {
  TestVolume volume;
  volume.MakeFile("a", "a");
  volume.MakeFile("b", "b");
  volume.MakeDirectory("d");
  volume.MakeDirectory("d/inner");
  volume.MakeDirectory("e");
  const NodeId a = volume.Id("a");
  ASSERT_EQ(volume.Rename("a", "b"), 0);
  EXPECT_EQ(volume.Error("a"), ENOENT);
  EXPECT_EQ(volume.Id("b"), a);
  EXPECT_EQ(volume.Rename("b", "d"), EISDIR);
  EXPECT_EQ(volume.Rename("d", "b"), ENOTDIR);
  EXPECT_EQ(volume.Rename("e", "d"), ENOTEMPTY);
  EXPECT_EQ(volume.Rename("d", "e"), 0);
  EXPECT_EQ(volume.Stat("").nlink, 3u);
  EXPECT_EQ(volume->PathOf(volume.Id("e/inner")).value(), "e/inner");
  EXPECT_EQ(volume.Rename("e", "e/inner/x"), EINVAL);
  EXPECT_EQ(volume.Rename("e", "e"), 0);
  EXPECT_EQ(volume.Rename("none", "x"), ENOENT);
  EXPECT_EQ(volume.Rename("b", "e", RenameMode::kNoReplace), EEXIST);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(RenameTest, TwoNamesOfOneFileBothStay) {
  TestVolume volume;
  volume.MakeFile("a", "a");
  ASSERT_EQ(volume.Link("a", "b"), 0);
  EXPECT_EQ(volume.Rename("a", "b"), 0);
  EXPECT_EQ(volume.Id("a"), volume.Id("b"));
  EXPECT_EQ(volume.Stat("a").nlink, 2u);
}

TEST(RenameTest, ExchangesAFileAndADirectory) {
  TestVolume volume;
  volume.MakeDirectory("d");
  volume.MakeDirectory("d/sub");
  volume.MakeFile("d/sub/f", "f");
  volume.MakeFile("g", "g");
  ASSERT_EQ(volume.Rename("d/sub", "g", RenameMode::kExchange), 0);
  EXPECT_EQ(volume.Read("d/sub"), "g");
  EXPECT_EQ(volume.Read("g/f"), "f");
  EXPECT_EQ(volume.Stat("d").nlink, 2u);
  EXPECT_EQ(volume->Parent(volume.Id("g")).value(), kRoot);
  EXPECT_EQ(volume.Rename("g", "none", RenameMode::kExchange), ENOENT);
  EXPECT_EQ(volume.Rename("d", "d/sub", RenameMode::kExchange), EINVAL);
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

TEST(RenameTest, ManyThreadsLeaveAWholeTree) {
  TestVolume volume;
  for (int i = 0; i < 4; ++i) volume.MakeDirectory("d" + std::to_string(i));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&volume, t] {
      for (int i = 0; i < 300; ++i) {
        const std::string from = "d" + std::to_string(t) + "/f" + std::to_string(i);
        const std::string to =
            "d" + std::to_string((t + i) % 4) + "/shared" + std::to_string(i % 7);
        volume.MakeFile(from, "x");
        volume.Rename(from, to);
        volume.Unlink("d" + std::to_string(i % 4) + "/shared" + std::to_string(t));
        if (i % 50 == t) (void)volume->TakeSnapshot(kRoot, from.substr(3) + std::to_string(t));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(volume.Damages(), IsEmpty());
}

}  // namespace
}  // namespace cow::fs
