// Messages: what was tried, on what, why it failed, what can be done.
#include "tests/core/volumes.h"

namespace cow {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }
template <typename T>
std::string MessageOf(const absl::StatusOr<T>& result) {
  return MessageOf(result.status());
}

class MessageTest : public testing::Test {
 protected:
  const test::TemporaryDirectory directory_;
  Volume volume_ = Volume::InMemory({.max_bytes = 16 * kMiB}).value();
};

TEST_F(MessageTest, NameTheOperationThePathAndTheCause) {
  File file = MakeFile(volume_, "/a", "text");
  Snapshot snapshot = file.TakeSnapshot("s").value();
  EXPECT_THAT(MessageOf(volume_.OpenFile("/x")), StartsWith("open /x: "));
  EXPECT_THAT(MessageOf(volume_.CreateFile("a")), StartsWith("create /a: "));
  EXPECT_THAT(MessageOf(volume_.Remove("/x")), StartsWith("remove /x: "));
  EXPECT_THAT(MessageOf(volume_.Rename("/x", "/y")), StartsWith("rename /x: to /y: "));
  EXPECT_THAT(MessageOf(file.TakeSnapshot("s")), StartsWith("take snapshot /a@s: "));
  EXPECT_THAT(MessageOf(file.OpenSnapshot("t")), StartsWith("open snapshot /a@t: "));
  EXPECT_THAT(MessageOf(volume_.OpenSnapshot("/a", "t")), StartsWith("open snapshot /a@t: "));
  EXPECT_THAT(MessageOf(volume_.Clone(snapshot, "/a")), StartsWith("clone to /a: "));
  EXPECT_THAT(MessageOf(volume_.Stat("/x")), StartsWith("stat /x: "));
  EXPECT_THAT(MessageOf(volume_.List("/x")), StartsWith("list /x: "));
  EXPECT_THAT(MessageOf(Volume::Open(directory_ / "x")),
              AllOf(StartsWith("open volume: "), HasSubstr(directory_ / "x")));
  ASSERT_EQ(snapshot.Destroy(), absl::OkStatus());
  EXPECT_THAT(MessageOf(snapshot.Destroy()), StartsWith("destroy snapshot /a@s: "));
}

TEST_F(MessageTest, SayWhatCanBeDone) {
  File file = MakeFile(volume_, "/a", "text");
  const Snapshot snapshot = file.TakeSnapshot("s").value();
  EXPECT_THAT(MessageOf(volume_.OpenFile("/a@s")->Write(0, AsBytes("x"))), HasSubstr("clone it"));
  EXPECT_THAT(MessageOf(snapshot.Map(Access::kWrite)), HasSubstr("clone it"));
  EXPECT_THAT(MessageOf(volume_.OpenTree("/a")), StartsWith("open tree /a: "));
  ASSERT_EQ(volume_.CreateDirectory("/d"), absl::OkStatus());
  EXPECT_THAT(MessageOf(volume_.OpenTree("/d")), HasSubstr("CreateTree"));
  EXPECT_THAT(MessageOf(volume_.CloneTree(snapshot, "/x")), HasSubstr("use Clone"));
  Tree tree = volume_.CreateTree("/t").value();
  EXPECT_THAT(MessageOf(volume_.Clone(tree.TakeSnapshot("s").value(), "/x")),
              AllOf(StartsWith("clone to /x: the snapshot is of a tree"), HasSubstr("CloneTree")));
  const Mapping live = file.Map(Access::kWrite).value();
  EXPECT_THAT(MessageOf(file.Write(0, AsBytes("x"))),
              AllOf(StartsWith("write /a: "), HasSubstr("mapped for writing"),
                    HasSubstr("destroy the mapping")));
  EXPECT_THAT(MessageOf(volume_.CreateFile("/b")->Write(0, Bytes(32 * kMiB))),
              AllOf(StartsWith("write /b: "), HasSubstr("destroy snapshots")));
}

TEST_F(MessageTest, SayItOnce) {
  File file = volume_.CreateFile("/a", 32 * kMiB).value();
  const Mapping live = file.Map(Access::kWrite).value();
  std::ranges::fill(live.bytes(), std::byte{1});
  const std::string message = MessageOf(file.TakeSnapshot("s"));
  const size_t advice = message.find("destroy snapshots");
  ASSERT_NE(advice, std::string::npos) << message;
  EXPECT_EQ(message.find("destroy snapshots", advice + 1), std::string::npos) << message;
}

TEST_F(MessageTest, OfARenameNameTheTarget) {
  MakeFile(volume_, "/a", "text");
  EXPECT_THAT(MessageOf(volume_.Rename("/a", "/x/b")), StartsWith("rename /a: to /x/b: "));
  EXPECT_THAT(MessageOf(volume_.Rename("/a", "/./b")), StartsWith("rename /a: to /./b: "));
  EXPECT_THAT(MessageOf(volume_.Rename("/x/a", "/b")), StartsWith("rename /x/a: no such file"));
}

}  // namespace
}  // namespace cow
