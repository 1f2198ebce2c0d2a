// What cowctl asks of a mount: answers, and who may ask.
#include <fcntl.h>
#include <grp.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/control/client.h"
#include "gmock/gmock.h"
#include "tests/fuse/mount.h"

namespace cow::test {
namespace {

using control::Command;

class ControlTest : public ::testing::Test {
 protected:
  void SetUp() override {
    REQUIRE_FUSE();
    ASSERT_TRUE(mount_.Start());
    root_ = open(mount_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ASSERT_GE(root_, 0);
  }
  void TearDown() override {
    if (root_ >= 0) close(root_);
  }

  // What `action` answers when another user does it, who gets our descriptors.
  static int As(uid_t user, const std::function<int()>& action) {
    const pid_t child = fork();
    if (child == 0) {
      if (setgroups(0, nullptr) != 0 || setgid(user) != 0 || setuid(user) != 0) _exit(255);
      _exit(action());
    }
    int status = -1;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
  }
  // The errno of a request that another user makes.
  int ErrnoAs(uid_t user, const control::Request& request) const {
    return As(user, [&] { return ErrnoOf(control::Call(root_, request).status()); });
  }
  static int OpenErrnoAs(uid_t user, const std::string& path) {
    return As(user, [&] { return open(path.c_str(), O_RDONLY) >= 0 ? 0 : errno; });
  }

  Mount mount_;
  int root_ = -1;
};

TEST_F(ControlTest, StatCountsTheBytesThatOnlyASnapshotHolds) {
  ASSERT_TRUE(Put(mount_ / "a", std::string(1 << 20, 'a')));
  ASSERT_EQ(mount_.TakeSnapshot("a", "mon"), absl::OkStatus());
  const Descriptor file(mount_ / "a", O_WRONLY);
  ASSERT_EQ(pwrite(file, std::string(65536, 'b').data(), 65536, 0), 65536);
  const auto reply = mount_.Call({.command = Command::kStat, .path = "a@mon"});
  ASSERT_TRUE(reply.ok()) << reply.status();
  ASSERT_EQ(reply->entries.size(), 1u);
  const control::Entry& entry = reply->entries[0];
  EXPECT_EQ(entry.path, "a");
  EXPECT_EQ(entry.name, "mon");
  EXPECT_TRUE(entry.has_space);
  EXPECT_EQ(entry.size, 1u << 20);
  EXPECT_GE(entry.referenced, 1u << 20);
  EXPECT_GE(entry.exclusive, 65536u);
  EXPECT_LT(entry.exclusive, 65536u + 65536);
  const auto head = mount_.Call({.command = Command::kStat, .path = "a"});
  ASSERT_TRUE(head.ok()) << head.status();
  EXPECT_EQ(head->entries[0].snapshots, 1u);
}

TEST_F(ControlTest, ListsMoreThanAMessageHolds) {
  ASSERT_EQ(mkdir((mount_ / "d").c_str(), 0755), 0);
  ASSERT_TRUE(Put(mount_ / "d/a", "a"));
  ASSERT_TRUE(Put(mount_ / "b", "b"));
  constexpr int kCount = 400;
  for (int i = 0; i < kCount; ++i) {
    ASSERT_EQ(mount_.TakeSnapshot("d/a", absl::StrCat("snapshot-number-", i)), absl::OkStatus());
  }
  ASSERT_EQ(mount_.TakeSnapshot("b", "one"), absl::OkStatus());
  std::vector<std::string> names;
  control::Request request = {.command = Command::kList, .path = "d"};
  int messages = 0;
  do {
    const auto reply = mount_.Call(request);
    ASSERT_TRUE(reply.ok()) << reply.status();
    for (const control::Entry& entry : reply->entries) {
      EXPECT_EQ(entry.path, "d/a");
      names.push_back(entry.name);
    }
    request.cursor = reply->next;
    ++messages;
  } while (request.cursor != 0);
  ASSERT_EQ(names.size(), static_cast<size_t>(kCount));
  for (int i = 0; i < kCount; ++i) EXPECT_EQ(names[i], absl::StrCat("snapshot-number-", i));
  EXPECT_GT(messages, 1);
  EXPECT_EQ(ErrnoOf(mount_.Call({.command = Command::kList, .path = "none"}).status()), ENOENT);
}

TEST_F(ControlTest, OnlyOwnersChangeSnapshots) {
  ASSERT_TRUE(Put(mount_ / "mine", "m"));
  ASSERT_TRUE(Put(mount_ / "theirs", "t"));
  ASSERT_EQ(chown((mount_ / "theirs").c_str(), 1000, 1000), 0);
  ASSERT_EQ(mount_.TakeSnapshot("mine", "mon"), absl::OkStatus());
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kSnapshot, .path = "mine", .name = "tue"}), EPERM);
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kDestroy, .path = "mine", .name = "mon"}), EPERM);
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kRollBack, .path = "mine", .name = "mon"}), EPERM);
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kSnapshot, .path = "theirs", .name = "tue"}), 0);
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kDestroy, .path = "theirs", .name = "tue"}), 0);
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kClone, .path = "mine", .target = "copy"}), EACCES);
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kCreateTree, .path = "tree"}), EACCES);
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kStartCheck}), EPERM);
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kDefragment, .path = "mine"}), EPERM);
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kDefragment, .path = "theirs"}), 0);
}

TEST_F(ControlTest, PathsAreWalkedWithTheRightsOfTheCaller) {
  ASSERT_EQ(mkdir((mount_ / "closed").c_str(), 0700), 0);
  ASSERT_TRUE(Put(mount_ / "closed/a", "secret"));
  ASSERT_EQ(chown((mount_ / "closed/a").c_str(), 1000, 1000), 0);
  ASSERT_EQ(mkdir((mount_ / "open").c_str(), 0755), 0);
  ASSERT_EQ(chmod((mount_ / "open").c_str(), 0777), 0);
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kStat, .path = "closed/a"}), EACCES);
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kClone, .path = "closed/a", .target = "open/a"}),
            EACCES);
  EXPECT_FALSE(Exists(mount_ / "open/a"));
}

TEST_F(ControlTest, ACloneBelongsToWhoMadeIt) {
  ASSERT_TRUE(Put(mount_ / "program", "p"));
  ASSERT_EQ(chmod((mount_ / "program").c_str(), 04755), 0);
  ASSERT_EQ(mkdir((mount_ / "open").c_str(), 0755), 0);
  ASSERT_EQ(chmod((mount_ / "open").c_str(), 0777), 0);
  ASSERT_EQ(ErrnoAs(1000, {.command = Command::kClone, .path = "program", .target = "open/p"}), 0);
  struct stat info;
  ASSERT_EQ(stat((mount_ / "open/p").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, 1000u);
  EXPECT_EQ(info.st_mode & 07777, 0755u);
}

TEST_F(ControlTest, AClonedProgramHasNoCapabilitiesUnlessRootMadeIt) {
  ASSERT_TRUE(Put(mount_ / "program", "p"));
  ASSERT_EQ(mkdir((mount_ / "open").c_str(), 0755), 0);
  ASSERT_EQ(chmod((mount_ / "open").c_str(), 0777), 0);
  // cap_setuid in the permitted and effective sets.
  const std::string capability("\1\0\0\2\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  ASSERT_EQ(setxattr((mount_ / "program").c_str(), "security.capability", capability.data(),
                     capability.size(), 0),
            0);
  ASSERT_EQ(setxattr((mount_ / "program").c_str(), "user.a", "1", 1, 0), 0);
  ASSERT_EQ(mount_.TakeSnapshot("program", "mon"), absl::OkStatus());
  ASSERT_EQ(ErrnoAs(1000, {.command = Command::kClone, .path = "program", .target = "open/live"}),
            0);
  ASSERT_EQ(
      ErrnoAs(1000, {.command = Command::kClone, .path = "program@mon", .target = "open/snapshot"}),
      0);
  ASSERT_EQ(mount_.Clone("program", "open/roots"), absl::OkStatus());
  const auto size = [&](const std::string& path, const char* name) {
    return getxattr((mount_ / path).c_str(), name, nullptr, 0);
  };
  for (const std::string path : {"open/live", "open/snapshot"}) {
    EXPECT_EQ(size(path, "security.capability"), -1) << path;
    EXPECT_EQ(errno, ENODATA) << path;
    EXPECT_EQ(size(path, "user.a"), 1) << path;
  }
  EXPECT_EQ(size("open/roots", "security.capability"), 20);
}

TEST_F(ControlTest, OnlyItsOwnerClonesATree) {
  ASSERT_EQ(mount_.CreateTree("t"), absl::OkStatus());
  ASSERT_TRUE(Put(mount_ / "t/program", "p"));
  ASSERT_EQ(chmod((mount_ / "t/program").c_str(), 04755), 0);
  ASSERT_EQ(mkdir((mount_ / "open").c_str(), 0755), 0);
  ASSERT_EQ(chmod((mount_ / "open").c_str(), 0777), 0);
  ASSERT_EQ(chown((mount_ / "t").c_str(), 1000, 1000), 0);
  ASSERT_EQ(mount_.TakeSnapshot("t", "mon"), absl::OkStatus());
  ASSERT_EQ(ErrnoAs(1000, {.command = Command::kClone, .path = "t", .target = "open/own"}), 0);
  ASSERT_EQ(chown((mount_ / "t").c_str(), 0, 0), 0);
  // It was theirs when the snapshot was taken; it is not any more.
  for (const char* path : {"t", "t@mon"}) {
    EXPECT_EQ(ErrnoAs(1000, {.command = Command::kClone, .path = path, .target = "open/other"}),
              EPERM)
        << path;
  }
  EXPECT_FALSE(Exists(mount_ / "open/other"));
}

TEST_F(ControlTest, AFileThatAppearsIsOpenedWithItsOwnRightsOnly) {
  ASSERT_TRUE(Put(mount_ / "secret", "s"));
  ASSERT_EQ(chmod((mount_ / "secret").c_str(), 0600), 0);
  ASSERT_EQ(mkdir((mount_ / "tmp").c_str(), 0755), 0);
  ASSERT_EQ(chmod((mount_ / "tmp").c_str(), 0777), 0);
  for (int round = 0; round < 20; ++round) {
    const std::string name = absl::StrCat("tmp/f", round);
    // The kernel comes to know that it is not there.
    ASSERT_FALSE(Exists(mount_ / name));
    std::thread cloner([&] { EXPECT_EQ(mount_.Clone("secret", name), absl::OkStatus()); });
    // As soon as the server has it, the user opens it, while the kernel may not know yet.
    EXPECT_EQ(As(1000,
                 [&] {
                   const control::Request not_theirs = {
                       .command = Command::kSnapshot, .path = name, .name = "s"};
                   while (ErrnoOf(control::Call(root_, not_theirs).status()) == ENOENT) {
                   }
                   const int file = open((mount_ / name).c_str(), O_RDWR | O_CREAT, 0644);
                   return file >= 0 ? 0 : errno;
                 }),
              EACCES);
    cloner.join();
  }
}

TEST_F(ControlTest, WhatIsUnderDeletedIsItsOwnersAndRoots) {
  ASSERT_EQ(mkdir((mount_ / "closed").c_str(), 0700), 0);
  for (const char* name : {"closed/roots", "closed/theirs", "closed/alive"}) {
    ASSERT_TRUE(Put(mount_ / name, "secret"));
    ASSERT_EQ(mount_.TakeSnapshot(name, "early"), absl::OkStatus());
  }
  ASSERT_EQ(chown((mount_ / "closed/theirs").c_str(), 1000, 1000), 0);
  ASSERT_EQ(mount_.TakeSnapshot("closed/theirs", "mon"), absl::OkStatus());
  struct stat info;
  ASSERT_EQ(stat((mount_ / "closed/alive").c_str(), &info), 0);
  EXPECT_FALSE(Exists(mount_ / absl::StrCat(".snapshots/@deleted/#1.", info.st_ino, "@early")));
  ASSERT_EQ(RunProgram({"rm", "-r", mount_ / "closed"}).status, 0);
  EXPECT_EQ(Names(mount_ / ".snapshots/@deleted").size(), 4u);
  EXPECT_EQ(Get(mount_ / ".snapshots/@deleted/roots@early"), "secret");
  const std::string deleted = mount_ / ".snapshots/@deleted";
  EXPECT_EQ(As(1000, [&] { return static_cast<int>(Names(deleted).size()); }), 1);
  EXPECT_EQ(OpenErrnoAs(1000, deleted + "/theirs@mon"), 0);
  EXPECT_EQ(OpenErrnoAs(1000, deleted + "/theirs@early"), ENOENT);
  EXPECT_EQ(OpenErrnoAs(1000, deleted + "/roots@early"), ENOENT);
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kStat, .path = ".snapshots/@deleted/roots@early"}),
            ENOENT);
  EXPECT_EQ(
      ErrnoAs(1000,
              {.command = Command::kDestroy, .path = ".snapshots/@deleted/roots", .name = "early"}),
      ENOENT);
}

TEST_F(ControlTest, AnotherUsersSnapshotsAreListedWhereTheyCanBeRead) {
  ASSERT_EQ(mkdir((mount_ / "closed").c_str(), 0700), 0);
  for (const char* name : {"public", "private", "closed/public"}) {
    ASSERT_TRUE(Put(mount_ / name, "x"));
    ASSERT_EQ(chmod((mount_ / name).c_str(), std::string(name) == "private" ? 0600 : 0644), 0);
    ASSERT_EQ(mount_.TakeSnapshot(name, "mon"), absl::OkStatus());
  }
  ASSERT_EQ(mount_.TakeSnapshot("", "all"), absl::OkStatus());
  EXPECT_EQ(mount_.Call({.command = Command::kList})->entries.size(), 4u);
  EXPECT_EQ(As(1000,
               [&] {
                 const auto reply = control::Call(root_, {.command = Command::kList});
                 if (!reply.ok() || reply->entries.size() != 2) return 1;
                 return reply->entries[0].name == "all" && reply->entries[1].path == "public" ? 0
                                                                                              : 2;
               }),
            0);
}

TEST_F(ControlTest, AnEmptyListIsOneOfWhatMayBeRead) {
  ASSERT_EQ(mkdir((mount_ / "closed").c_str(), 0711), 0);
  ASSERT_TRUE(Put(mount_ / "closed/theirs", "a"));
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kList, .path = "closed"}), EACCES);
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kList, .path = ""}), 0);
  ASSERT_EQ(chown((mount_ / "closed/theirs").c_str(), 1000, 1000), 0);
  ASSERT_EQ(mount_.TakeSnapshot("closed/theirs", "mon"), absl::OkStatus());
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kList, .path = "closed"}), 0) << "they own one";
  ASSERT_EQ(chmod((mount_ / "closed").c_str(), 0700), 0);
  ASSERT_EQ(chown((mount_ / "closed/theirs").c_str(), 0, 0), 0);
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kList, .path = "closed"}), EACCES);
  // Nor does a list tell what was removed.
  ASSERT_TRUE(Put(mount_ / "gone", "a"));
  ASSERT_EQ(chmod((mount_ / "gone").c_str(), 0600), 0);
  ASSERT_EQ(mount_.TakeSnapshot("gone", "mon"), absl::OkStatus());
  ASSERT_EQ(unlink((mount_ / "gone").c_str()), 0);
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kList, .path = "gone"}), ENOENT);
}

TEST_F(ControlTest, ACommandDoesNotFallThroughToAFileThatIsGone) {
  ASSERT_TRUE(Put(mount_ / "h", "first"));
  ASSERT_EQ(mount_.TakeSnapshot("h", "d"), absl::OkStatus());
  ASSERT_EQ(unlink((mount_ / "h").c_str()), 0);
  ASSERT_TRUE(Put(mount_ / "h", "second"));
  ASSERT_EQ(mount_.TakeSnapshot("h", "d"), absl::OkStatus());
  ASSERT_EQ(mount_.Destroy("h", "d"), absl::OkStatus());
  const absl::Status again = mount_.Destroy("h", "d");
  EXPECT_EQ(ErrnoOf(again), ENOENT);
  const std::string text(again.message());
  const size_t at = text.find(".snapshots/@deleted/h#");
  ASSERT_NE(at, std::string::npos) << text;
  const std::string path = text.substr(at, text.rfind('@') - at);
  EXPECT_EQ(Get(mount_ / "h@d"), "first");
  const absl::Status back = mount_.RollBack("h", "d");
  EXPECT_EQ(ErrnoOf(back), ENOENT);
  EXPECT_THAT(std::string(back.message()), ::testing::HasSubstr("copy the snapshot over it"));
  EXPECT_EQ(Get(mount_ / (path + "@d")), "first");
  ASSERT_EQ(mount_.Destroy(path, "d"), absl::OkStatus());
  EXPECT_FALSE(Exists(mount_ / "h@d"));
  EXPECT_EQ(Get(mount_ / "h"), "second");
}

TEST_F(ControlTest, OnlyRootRollsAFileBackToAnotherOwner) {
  ASSERT_TRUE(Put(mount_ / "program", "p"));
  ASSERT_EQ(chmod((mount_ / "program").c_str(), 04755), 0);
  ASSERT_EQ(mount_.TakeSnapshot("program", "roots"), absl::OkStatus());
  ASSERT_EQ(chown((mount_ / "program").c_str(), 1000, 1000), 0);
  EXPECT_EQ(ErrnoAs(1000, {.command = Command::kRollBack, .path = "program", .name = "roots"}),
            EPERM);
  EXPECT_EQ(mount_.RollBack("program", "roots"), absl::OkStatus());
}

TEST_F(ControlTest, NamesOfTrustedAttributesAreRoots) {
  ASSERT_TRUE(Put(mount_ / "a", "a"));
  ASSERT_EQ(setxattr((mount_ / "a").c_str(), "trusted.t", "1", 1, 0), 0);
  ASSERT_EQ(setxattr((mount_ / "a").c_str(), "user.u", "1", 1, 0), 0);
  const auto size = [&] { return static_cast<int>(listxattr((mount_ / "a").c_str(), nullptr, 0)); };
  EXPECT_EQ(size(), 17);
  EXPECT_EQ(As(1000, size), 7);
}

TEST_F(ControlTest, RefusesWhatIsNoRequest) {
  auto message = std::make_unique<control::Message>();
  EXPECT_EQ(ioctl(root_, control::kIoctl, message.get()), 0);
  const auto reply = control::DecodeReply(message->bytes);
  ASSERT_TRUE(reply.ok());
  EXPECT_FALSE(reply->status.ok());
  int value = 0;
  EXPECT_EQ(ioctl(root_, FIONREAD + 4711, &value), -1);
  EXPECT_EQ(errno, ENOTTY);
  EXPECT_EQ(ErrnoOf(mount_.TakeSnapshot("none", "mon")), ENOENT);
  EXPECT_EQ(mkdir((mount_ / "d").c_str(), 0755), 0);
  EXPECT_EQ(ErrnoOf(mount_.TakeSnapshot("d", "mon")), EISDIR);
  EXPECT_EQ(ErrnoOf(mount_.TakeSnapshot("d/../d", "mon")), EINVAL);
}

TEST_F(ControlTest, ChecksTheVolumeWhileItIsUsed) {
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(Put(mount_ / absl::StrCat("f", i), std::string(10000, 'x')));
  }
  ASSERT_EQ(mount_.TakeSnapshot("", "mon"), absl::OkStatus());
  EXPECT_EQ(mount_.Check(), "");
  EXPECT_EQ(ErrnoOf(mount_.Call({.command = Command::kPollCheck, .check_id = 99}).status()),
            ENOENT);
}

TEST_F(ControlTest, ASlowCheckHoldsNobodyUpAndEndsWithTheMount) {
  ASSERT_TRUE(Put(mount_ / "a", std::string(1 << 20, 'a')));
  // A frame takes an hour.
  const auto slow = mount_.Call({.command = Command::kStartCheck, .rate = 1});
  ASSERT_TRUE(slow.ok()) << slow.status();
  const auto finished = [&](uint64_t id) {
    const auto reply = mount_.Call({.command = Command::kPollCheck, .check_id = id});
    EXPECT_TRUE(reply.ok()) << reply.status();
    return !reply.ok() || reply->check.finished;
  };
  ASSERT_TRUE(Put(mount_ / "a", std::string(1 << 20, 'b')));
  EXPECT_EQ(mount_.TakeSnapshot("a", "mon"), absl::OkStatus());
  ASSERT_TRUE(Put(mount_ / "a", "c"));
  EXPECT_EQ(mount_.Destroy("a", "mon"), absl::OkStatus());
  EXPECT_EQ(unlink((mount_ / "a").c_str()), 0);
  EXPECT_FALSE(finished(slow->check.id));
  // Who joins it sets its rate: here, none.
  EXPECT_EQ(mount_.Check(), "");
  EXPECT_TRUE(finished(slow->check.id));

  const auto again = mount_.Call({.command = Command::kStartCheck, .rate = 1});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_NE(again->check.id, slow->check.id);
  EXPECT_FALSE(finished(again->check.id));
  close(root_);
  root_ = -1;
  EXPECT_EQ(mount_.Unmount(), 0);
}

}  // namespace
}  // namespace cow::test
