#include "cow/control/message.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cow/base/status.h"
#include "cow/control/client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/seed.h"

namespace cow::control {
namespace {

using ::testing::HasSubstr;

Request SomeRequest() {
  return {.command = Command::kClone,
          .path = "db/app.db@mon",
          .name = "mon",
          .target = "db/copy",
          .cursor = 7,
          .check_id = 1ull << 63,
          .space = true,
          .unshare = true,
          .rate = uint64_t{100} << 20};
}

Entry SomeEntry(int i) {
  return {.path = "data/file" + std::to_string(i),
          .name = "snapshot" + std::to_string(i),
          .kind = static_cast<Kind>(i % 5),
          .removed = i % 2 == 0,
          .has_space = i % 3 == 0,
          .size = uint64_t{1} << (i % 50),
          .created_ns = -5 + i,
          .referenced = 4096ull * i,
          .exclusive = 512ull * i,
          .snapshots = static_cast<uint64_t>(i)};
}

Reply SomeReply() {
  Reply reply;
  reply.next = 99;
  reply.check = {.id = 3, .finished = true, .done = 10, .total = 20};
  reply.info = {.volume = "/srv/app.cow",
                .uuid = "00000000-1111-2222-3333-444444444444",
                .process = 321,
                .total_bytes = 1 << 30,
                .used_bytes = 1 << 20,
                .available_bytes = 1 << 29,
                .features = {"userfaultfd: yes", "pagemap scan: no"}};
  reply.defragmented = {.extents_before = 1ull << 41,
                        .extents_after = 2,
                        .moved_bytes = 3ull << 40,
                        .shared_bytes = 4,
                        .file_bytes = 5ull << 50};
  uint64_t value = uint64_t{1} << 40;
  for (const StatisticsField& field : kStatisticsFields) reply.statistics.*field.value = value++;
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(reply.Add(SomeEntry(i)));
  EXPECT_TRUE(reply.Add(Damage{"tree 1, object 7, page 12", "checksum"}));
  return reply;
}

std::unique_ptr<Message> Encoded(const Reply& reply) {
  auto message = std::make_unique<Message>();
  EncodeReply(reply, message->bytes);
  return message;
}

TEST(ControlMessage, RequestsSurviveEncoding) {
  for (uint8_t command = 1; command <= static_cast<uint8_t>(Command::kDefragment); ++command) {
    Request request = SomeRequest();
    request.command = static_cast<Command>(command);
    Message message;
    ASSERT_TRUE(EncodeRequest(request, message.bytes).ok());
    auto decoded = DecodeRequest(message.bytes);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(*decoded, request);
  }
}

TEST(ControlMessage, RepliesSurviveEncoding) {
  const Reply reply = SomeReply();
  auto decoded = DecodeReply(Encoded(reply)->bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_TRUE(decoded->status.ok());
  EXPECT_EQ(decoded->next, reply.next);
  EXPECT_EQ(decoded->check, reply.check);
  EXPECT_EQ(decoded->info, reply.info);
  EXPECT_EQ(decoded->statistics, reply.statistics);
  EXPECT_EQ(decoded->defragmented, reply.defragmented);
  EXPECT_EQ(decoded->entries, reply.entries);
  EXPECT_EQ(decoded->damages, reply.damages);
}

TEST(ControlMessage, ErrorsKeepTheirNumberAndWords) {
  Reply reply;
  reply.status = MakeError(absl::StatusCode::kFailedPrecondition, EXDEV, "two trees");
  auto decoded = DecodeReply(Encoded(reply)->bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrnoOf(decoded->status), EXDEV);
  EXPECT_EQ(decoded->status.message(), "two trees");
}

TEST(ControlMessage, LongErrorIsCutNotLost) {
  Reply reply;
  reply.status = MakeError(absl::StatusCode::kDataLoss, EIO, std::string(50000, 'x'));
  auto decoded = DecodeReply(Encoded(reply)->bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(ErrnoOf(decoded->status), EIO);
  EXPECT_EQ(decoded->status.message().size(), kMaxText);
}

TEST(ControlMessage, LongestPathsFitARequest) {
  Request request{.command = Command::kClone,
                  .path = std::string(kMaxPath, 'a'),
                  .name = std::string(kMaxName, 'b'),
                  .target = std::string(kMaxPath, 'c')};
  Message message;
  ASSERT_TRUE(EncodeRequest(request, message.bytes).ok());
  EXPECT_EQ(*DecodeRequest(message.bytes), request);
  request.path += 'a';
  EXPECT_EQ(ErrnoOf(EncodeRequest(request, message.bytes)), ENAMETOOLONG);
}

TEST(ControlMessage, EntriesAreAddedAsLongAsTheyFitAndAllArrive) {
  Reply reply;
  reply.info.volume = std::string(kMaxPath, 'v');
  reply.info.features.assign(40, std::string(1000, 'f'));
  int added = 0;
  while (reply.Add(SomeEntry(added))) ++added;
  EXPECT_GT(added, 10);
  auto decoded = DecodeReply(Encoded(reply)->bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  ASSERT_TRUE(decoded->status.ok()) << decoded->status;
  EXPECT_EQ(decoded->entries, reply.entries);
}

TEST(ControlMessage, FirstEntryAlwaysFits) {
  Reply reply;
  Entry entry = SomeEntry(1);
  entry.path = std::string(20000, 'p') + "/end";
  entry.name = std::string(1000, 'n');
  ASSERT_TRUE(reply.Add(entry));
  auto decoded = DecodeReply(Encoded(reply)->bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  ASSERT_EQ(decoded->entries.size(), 1u);
  EXPECT_EQ(decoded->entries[0].path.size(), kMaxPath);
  EXPECT_TRUE(decoded->entries[0].path.starts_with("...")) << decoded->entries[0].path;
  EXPECT_TRUE(decoded->entries[0].path.ends_with("/end")) << decoded->entries[0].path;
}

TEST(ControlMessage, ReplyThatDoesNotFitBecomesAnError) {
  Reply reply;
  for (int i = 0; i < 2000; ++i) reply.entries.push_back(SomeEntry(i));
  auto decoded = DecodeReply(Encoded(reply)->bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(ErrnoOf(decoded->status), EMSGSIZE);
}

TEST(ControlMessage, OtherVersionIsRefusedWithAClearMessage) {
  Message message;
  ASSERT_TRUE(EncodeRequest(SomeRequest(), message.bytes).ok());
  message.bytes[4] = std::byte{kVersion + 1};
  const absl::Status status = DecodeRequest(message.bytes).status();
  EXPECT_EQ(ErrnoOf(status), EPROTONOSUPPORT);
  EXPECT_THAT(std::string(status.message()), HasSubstr("different versions"));
}

TEST(ControlMessage, TextWithAZeroByteIsRefused) {
  Request request = SomeRequest();
  request.path = std::string("a\0b", 3);
  Message message;
  ASSERT_TRUE(EncodeRequest(request, message.bytes).ok());
  EXPECT_EQ(ErrnoOf(DecodeRequest(message.bytes).status()), EINVAL);
}

TEST(ControlMessage, UnknownCommandIsRefused) {
  Message message;
  ASSERT_TRUE(EncodeRequest(SomeRequest(), message.bytes).ok());
  for (int command : {0, static_cast<int>(Command::kDefragment) + 1, 255}) {
    message.bytes[7] = static_cast<std::byte>(command);
    EXPECT_EQ(ErrnoOf(DecodeRequest(message.bytes).status()), EOPNOTSUPP) << command;
  }
}

TEST(ControlMessage, EveryTruncationOfARequestIsAnError) {
  Message message;
  ASSERT_TRUE(EncodeRequest(SomeRequest(), message.bytes).ok());
  size_t length = 0;
  while (!DecodeRequest(std::span(message.bytes).first(length)).ok()) ++length;
  EXPECT_EQ(length, 8u + 2 + 13 + 2 + 3 + 2 + 7 + 8 + 8 + 1 + 1 + 8);
}

TEST(ControlMessage, RandomBytesNeverCrash) {
  std::mt19937_64 random(test::Seed(20261124));
  Message request;
  ASSERT_TRUE(EncodeRequest(SomeRequest(), request.bytes).ok());
  const std::unique_ptr<Message> reply = Encoded(SomeReply());
  for (int round = 0; round < 20000; ++round) {
    // On the heap and of the exact length, so that the address sanitizer sees a read past its end.
    std::vector<std::byte> bytes(random() % (round % 10 == 0 ? kMessageBytes : 400));
    const auto& valid = round % 2 == 0 ? request.bytes : reply->bytes;
    if (round % 3 == 0) {
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    } else {
      std::copy_n(valid.begin(), bytes.size(), bytes.begin());
      for (int flips = random() % 8; flips > 0 && !bytes.empty(); --flips) {
        bytes[random() % bytes.size()] = static_cast<std::byte>(random());
      }
    }
    if (auto decoded = DecodeRequest(bytes); decoded.ok()) {
      EXPECT_LE(decoded->path.size(), kMaxPath);
      EXPECT_LE(decoded->name.size(), kMaxName);
      Message again;
      EXPECT_TRUE(EncodeRequest(*decoded, again.bytes).ok());
    }
    if (auto decoded = DecodeReply(bytes); decoded.ok()) Encoded(*decoded);
  }
}

TEST(ControlClient, FileOfAnotherFilesystemIsToldApart) {
  for (const char* path : {"/", "/proc/self/status", "/dev/null"}) {
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    ASSERT_GE(descriptor, 0) << path;
    EXPECT_EQ(ErrnoOf(Call(descriptor, Request{}).status()), ENOTTY) << path;
    close(descriptor);
  }
}

}  // namespace
}  // namespace cow::control
