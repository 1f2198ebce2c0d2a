// A volume whose frames a test reads and destroys, and what salvage makes of it.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cow/format/geometry.h"
#include "cow/format/record.h"
#include "cow/format/superblock.h"
#include "cow/move/salvage.h"
#include "tests/fs/volume.h"
#include "tests/move/host_tree.h"
#include "tests/support/temporary_directory.h"

namespace cow::move {

using fs::TestVolume;

inline std::string ReadFrame(const os::File& disk, FrameNumber frame) {
  std::string bytes(kPageSize, '\0');
  EXPECT_TRUE(disk.Read(OffsetOf(frame), std::as_writable_bytes(std::span(bytes))).ok());
  return bytes;
}

inline std::vector<std::string> Lines(const SalvageResult& result) {
  std::vector<std::string> lines;
  for (const Loss& loss : result.losses) {
    lines.push_back(absl::StrCat(loss.path, ": ", loss.part, " lost: ", loss.cause));
  }
  return lines;
}

class SalvageOfNodesTest : public ::testing::Test {
 protected:
  // What is on the disk of a volume, which may go on.
  void Take(TestVolume& volume) {
    const auto disk = volume.Disk();
    file_ = os::OpenMemoryFile("copy").value();
    std::string bytes(disk->Size().value(), '\0');
    ASSERT_TRUE(disk->Read(0, std::as_writable_bytes(std::span(bytes))).ok());
    ASSERT_TRUE(file_->Write(0, std::as_bytes(std::span(bytes))).ok());
    // As after a commit of very many frames; what another lacks is taken for a crash.
    format::Superblock newest = Superblock();
    newest.flushed = Generation(0);
    for (const int copy : {0, 1}) {
      const FrameNumber frame = format::SuperblockFrame(slot_, copy);
      ASSERT_TRUE(file_->Write(OffsetOf(frame), format::EncodeSuperblock(newest, frame)).ok());
    }
  }

  // The newest.
  format::Superblock Superblock() {
    format::Superblock newest;
    for (const int slot : {0, 1}) {
      const FrameNumber frame = format::SuperblockFrame(slot, 0);
      const std::string bytes = ReadFrame(*file_, frame);
      const auto read = format::DecodeSuperblock(std::as_bytes(std::span(bytes)), frame);
      if (!read.ok() || read->generation < newest.generation) continue;
      newest = *read;
      slot_ = slot;
    }
    return newest;
  }

  // Record `number` of the first leaf of a table.
  format::Record RecordIn(format::Entry at, uint64_t number) const {
    while (at.level() > 0) {
      std::memcpy(&at, ReadFrame(*file_, at.frame()).data(), sizeof(at));
    }
    const std::string bytes = ReadFrame(*file_, at.frame());
    format::Record record;
    std::memcpy(&record, bytes.data() + number * sizeof(record), sizeof(record));
    return record;
  }

  format::Entry RootOfTree(uint64_t number) {
    return RecordIn(Superblock().trees.root, number).root;
  }

  // The frame becomes something else.
  void Destroy(FrameNumber frame) {
    const std::string rot(kPageSize, '!');
    ASSERT_TRUE(file_->Write(OffsetOf(frame), std::as_bytes(std::span(rot))).ok());
  }

  SalvageResult Run() {
    auto result = Salvage(std::make_unique<fs::LastingFile>(file_), directory_ / "out", {});
    EXPECT_TRUE(result.ok()) << result.status();
    found_ = ReadHostTree(directory_ / "out");
    std::filesystem::remove_all(directory_ / "out");
    return result.ok() ? *std::move(result) : SalvageResult();
  }

  std::string Content(const std::string& path) const {
    return found_.contains(path) ? found_.at(path).content : "nothing at " + path;
  }

  test::TemporaryDirectory directory_;
  std::shared_ptr<os::File> file_;
  int slot_ = 0;  // of the newest superblock
  HostTree found_;
};

}  // namespace cow::move
