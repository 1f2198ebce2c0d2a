// A host filesystem that has no space left, though the volume's limit would let it grow.
#include <cerrno>
#include <filesystem>
#include <map>

#include "tests/core/volumes.h"
#include "tests/support/small_filesystem.h"

namespace cow {
namespace {

using test::Content;
using testing::AllOf;
using testing::HasSubstr;

constexpr uint64_t kHost = 64 * kMiB;
constexpr size_t kChunk = 256 * kKiB;

class FullHostTest : public testing::Test {
 protected:
  void SetUp() override {
    REQUIRE_SMALL_FILESYSTEM();
    host_.emplace(kHost);
    volume_.emplace(
        Volume::Open(path(), {.create = true, .max_bytes = kGiB, .commit_seconds = 0}).value());
  }
  void TearDown() override {
    volume_.reset();
    host_.reset();
  }

  std::string path() const { return *host_ / "volume.cow"; }

  void Put(const std::string& name, const std::string& content) {
    MakeFile(*volume_, name, content);
    written_[name] = content;
  }

  void TakeSnapshot(const std::string& name) {
    ASSERT_EQ(volume_->OpenFile(name)->TakeSnapshot("before").status(), absl::OkStatus());
    written_[name + "@before"] = written_[name];
  }

  void Destroy(const std::string& name, const std::string& snapshot) {
    ASSERT_EQ(volume_->OpenSnapshot(name, snapshot)->Destroy(), absl::OkStatus());
    written_.erase(name + "@" + snapshot);
  }

  // Appends until there is no space; returns how many bytes that were.
  size_t Fill(const std::string& name) {
    absl::StatusOr<File> file = volume_->OpenFile(name);
    if (!file.ok()) file = volume_->CreateFile(name);
    EXPECT_EQ(file.status(), absl::OkStatus());
    if (!file.ok()) return 0;
    std::string& content = written_[name];
    for (size_t filled = 0;; filled += kChunk) {
      const std::string chunk = Content(kChunk, static_cast<uint32_t>(content.size()));
      const absl::Status status = file->Write(content.size(), AsBytes(chunk));
      if (!status.ok()) {
        EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
        EXPECT_EQ(ErrnoOf(status), ENOSPC) << status;
        EXPECT_THAT(std::string(status.message()),
                    AllOf(HasSubstr(path()), HasSubstr("the host filesystem is full"),
                          HasSubstr("destroy snapshots, or remove files")));
        EXPECT_EQ(file->size(), content.size()) << "a refused write left something";
        return filled;
      }
      content += chunk;
    }
  }

  void ExpectContents(const Volume& volume) {
    for (const auto& [name, content] : written_) {
      absl::StatusOr<size_t> got = 0;
      std::string found(content.size() + 1, '\0');
      const auto buffer = std::as_writable_bytes(std::span(found.data(), found.size()));
      const size_t at = name.find('@');
      if (at == std::string::npos) {
        absl::StatusOr<File> file = const_cast<Volume&>(volume).OpenFile(name);
        ASSERT_EQ(file.status(), absl::OkStatus()) << name;
        got = file->Read(0, buffer);
      } else {
        absl::StatusOr<Snapshot> snapshot =
            volume.OpenSnapshot(name.substr(0, at), name.substr(at + 1));
        ASSERT_EQ(snapshot.status(), absl::OkStatus()) << name;
        got = snapshot->Read(0, buffer);
      }
      ASSERT_EQ(got.status(), absl::OkStatus()) << name;
      found.resize(*got);
      EXPECT_TRUE(Same(found, content)) << name;
    }
  }

  // What has been written is on the disk now: another reader sees it, beside this writer.
  void ExpectDurable() {
    ASSERT_EQ(volume_->Sync(), absl::OkStatus());
    absl::StatusOr<Volume> reader = Volume::Open(path(), {.read_only = true});
    ASSERT_EQ(reader.status(), absl::OkStatus());
    ExpectContents(*reader);
  }

  void ExpectAllAfterReopening() {
    EXPECT_EQ(volume_->Health(), absl::OkStatus());
    ExpectContents(*volume_);
    ExpectDurable();
    ExpectSound(*volume_);
    volume_.reset();
    volume_.emplace(Volume::Open(path(), {.commit_seconds = 0}).value());
    ExpectContents(*volume_);
    ExpectSound(*volume_);
  }

  std::optional<test::SmallFilesystem> host_;
  std::optional<Volume> volume_;
  std::map<std::string, std::string> written_;  // what must be there, by name
};

TEST_F(FullHostTest, WhatWasAcceptedBeforeTheHostWasFullStaysReadableAndBecomesDurable) {
  Put("/kept", Content(1 * kMiB, 1));
  EXPECT_GT(Fill("/filler"), kHost / 2);
  EXPECT_LT(host_->FreeBytes(), 2 * kMiB);
  EXPECT_EQ(Fill("/filler"), 0u);
  ExpectAllAfterReopening();
  EXPECT_EQ(Fill("/filler"), 0u);
  ExpectAllAfterReopening();
}

TEST_F(FullHostTest, DestroyingASnapshotMakesRoomAgain) {
  constexpr size_t kHeld = 8 * kMiB;
  Put("/kept", Content(kHeld, 1));
  TakeSnapshot("/kept");
  written_["/kept"] = Content(kHeld, 2);
  ASSERT_EQ(volume_->OpenFile("/kept")->Write(0, AsBytes(written_["/kept"])), absl::OkStatus());
  Fill("/filler");
  ExpectDurable();

  Destroy("/kept", "before");
  ASSERT_EQ(volume_->Sync(), absl::OkStatus());
  EXPECT_GE(Fill("/filler"), kHeld - kMiB);
  ExpectAllAfterReopening();
}

TEST_F(FullHostTest, TruncatingAndRemovingMakesRoomAgain) {
  Put("/kept", Content(kMiB, 1));
  Fill("/filler");
  ExpectDurable();
  const size_t size = written_["/filler"].size() / 2;
  ASSERT_EQ(volume_->OpenFile("/filler")->Truncate(size), absl::OkStatus());
  written_["/filler"].resize(size);
  EXPECT_GE(Fill("/kept"), size - kMiB);

  ASSERT_EQ(volume_->Remove("/filler"), absl::OkStatus());
  written_.erase("/filler");
  EXPECT_GE(Fill("/kept"), size - kMiB);
  ExpectAllAfterReopening();
}

TEST_F(FullHostTest, RollingBackWorks) {
  Put("/kept", Content(4 * kMiB, 1));
  TakeSnapshot("/kept");
  Fill("/kept");

  std::string replaced;
  {
    const Snapshot before = volume_->OpenSnapshot("/kept", "before").value();
    const absl::StatusOr<Snapshot> kept = volume_->RollBack(before);
    ASSERT_EQ(kept.status(), absl::OkStatus());
    replaced = kept->name();
  }
  written_["/kept@" + replaced] = written_["/kept"];
  written_["/kept"] = written_["/kept@before"];
  ExpectDurable();

  Destroy("/kept", replaced);
  EXPECT_GT(Fill("/kept"), kHost / 2);
  ExpectAllAfterReopening();
}

TEST_F(FullHostTest, RemovingWhatElseIsOnTheHostMakesRoomAgain) {
  constexpr size_t kForeign = 16 * kMiB;
  Put("/kept", Content(kMiB, 1));
  host_->Fill("foreign", host_->FreeBytes() - kForeign);
  EXPECT_GT(Fill("/kept"), kHost / 4);
  ExpectDurable();
  std::filesystem::remove(*host_ / "foreign");
  EXPECT_GE(Fill("/kept"), kForeign - 2 * kMiB);
  ExpectAllAfterReopening();
}

}  // namespace
}  // namespace cow
