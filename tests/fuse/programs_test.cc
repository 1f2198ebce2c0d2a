// Programs that people run, on a mount.
#include <sys/stat.h>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/fuse/mount.h"

namespace cow::test {
namespace {

using ::testing::HasSubstr;

class ProgramsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    REQUIRE_FUSE();
    ASSERT_TRUE(mount_.Start());
  }
  bool Has(const std::string& program) const {
    return Shell(absl::StrCat("command -v ", program)).status == 0;
  }
  // Runs in the mount; "" or what went wrong.
  std::string Failure(const std::string& line) const {
    const Outcome outcome = Shell(line, mount_.path());
    return outcome.status == 0 ? "" : absl::StrCat(outcome.status, ": ", outcome.output);
  }
  Mount mount_;
};

// A tree of files to copy: 200 files in ten directories, links among them.
constexpr char kMakeTree[] =
    "set -e; for d in 0 1 2 3 4 5 6 7 8 9; do mkdir -p src/$d; "
    "for f in $(seq 20); do head -c $((f * 1000)) /dev/urandom > src/$d/$f; done; "
    "ln -s ../$d/1 src/$d/link; ln src/$d/2 src/$d/hard; done";

TEST_F(ProgramsTest, SqliteWritesADatabaseWhoseSnapshotIsWhole) {
  if (!Has("sqlite3")) GTEST_SKIP() << "no sqlite3";
  for (const char* mode : {"delete", "wal"}) {
    const std::string name = absl::StrCat(mode, ".db");
    ASSERT_EQ(Failure(absl::StrCat(
                  "sqlite3 ", name, " 'pragma journal_mode=", mode,
                  "; create table t(a integer primary key, b text);"
                  " with recursive n(i) as (select 1 union all select i+1 from n where i<5000)"
                  " insert into t select i, hex(randomblob(40)) from n;'")),
              "");
    ASSERT_EQ(mount_.TakeSnapshot(name, "full"), absl::OkStatus());
    ASSERT_EQ(Failure(absl::StrCat("sqlite3 ", name, " 'delete from t where a > 100; vacuum;'")),
              "");
    EXPECT_THAT(
        Shell(absl::StrCat("sqlite3 ", name, " 'pragma integrity_check; select count(*) from t;'"),
              mount_.path())
            .output,
        HasSubstr("ok\n100\n"));
    EXPECT_THAT(
        Shell(absl::StrCat("sqlite3 'file:", name,
                           "@full?immutable=1' 'pragma integrity_check; select count(*) from t;'"),
              mount_.path())
            .output,
        HasSubstr("ok\n5000\n"));
  }
}

TEST_F(ProgramsTest, GitKeepsARepository) {
  if (!Has("git")) GTEST_SKIP() << "no git";
  ASSERT_EQ(Failure(kMakeTree), "");
  EXPECT_EQ(
      Failure(
          "set -e; export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1; cd src; git init -q;"
          "git config user.email a@b; git config user.name n; git add .; git commit -q -m one;"
          "echo more >> 1/1; git commit -q -a -m two; git fsck --strict; git gc -q;"
          "git checkout -q HEAD~1; test -z \"$(git status --porcelain)\""),
      "");
}

TEST_F(ProgramsTest, TarAndCpAndRsyncCopyTrees) {
  ASSERT_EQ(Failure(kMakeTree), "");
  EXPECT_EQ(Failure("tar cf t.tar src && mkdir x && tar xf t.tar -C x && diff -r src x/src"), "");
  EXPECT_EQ(Failure("cp -a src copy && diff -r src copy"), "");
  ASSERT_EQ(mount_.TakeSnapshot("", "mon"), absl::OkStatus());
  EXPECT_EQ(Failure("cp -a .snapshots/mon/src old && diff -r src old"), "");
  EXPECT_EQ(Failure("rm -r src x && diff -r copy .snapshots/mon/src"), "");
  if (!Has("rsync")) return;
  EXPECT_EQ(
      Failure("rsync -aH copy/ synced && diff -r copy synced && rsync -aH --delete old/ synced"),
      "");
}

}  // namespace
}  // namespace cow::test
