#include "tests/fuzz/base_volume.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cow/format/geometry.h"
#include "cow/format/log_frame.h"
#include "cow/fs/filesystem.h"
#include "tests/fuzz/fuzz.h"
#include "tests/store/fake_file.h"
#include "tests/store/forge.h"

namespace cow::fuzz {
namespace {

using fs::FileHandle;
using fs::FileSystem;
using fs::FileType;
using fs::kRoot;
using fs::NodeId;

fs::OpenOptions Options() {
  fs::OpenOptions options;
  options.store.commit_seconds = 0;
  options.clock = [] { return timespec{.tv_sec = 1'000'000'000, .tv_nsec = 0}; };
  return options;
}

template <typename T>
T Must(absl::StatusOr<T> result) {
  Require(result.ok());
  return *std::move(result);
}
void Must(const absl::Status& status) { Require(status.ok()); }

std::unique_ptr<FileSystem> Open(const std::shared_ptr<test::Disk>& disk) {
  return Must(FileSystem::Open(std::make_unique<test::MemoryFile>(disk), Options()));
}

void Write(FileSystem& fs, NodeId id, uint64_t offset, std::string_view text) {
  FileHandle handle = Must(fs.OpenFile(id));
  Must(handle.Write(offset, std::as_bytes(std::span(text))));
}

NodeId MakeFile(FileSystem& fs, NodeId directory, std::string_view name, size_t size) {
  const NodeId id = Must(fs.Make(directory, name, {.type = FileType::kRegular, .mode = 0644})).id;
  if (size > 0) Write(fs, id, 0, std::string(size, name.front()));
  return id;
}

NodeId MakeLink(FileSystem& fs, std::string_view name, std::string target) {
  return Must(fs.Make(kRoot, name,
                      {.type = FileType::kSymlink, .mode = 0777, .target = std::move(target)}))
      .id;
}

// UUIDs are random, and the order of names in a directory depends on it.
void FixUuid(test::Disk& disk) {
  absl::MutexLock lock(&disk.mu);
  int slot = 0;
  format::Superblock superblock = test::NewestSuperblock(disk.image, &slot);
  superblock.uuid.fill(7);
  for (const int each : {0, 1}) test::WriteSuperblock(disk.image, each, superblock);
}

void MakeNames(FileSystem& fs) {
  const NodeId directory =
      Must(fs.Make(kRoot, "dir", {.type = FileType::kDirectory, .mode = 0755})).id;
  // Long names, so that the index has two levels.
  for (int i = 0; i < 20; ++i) {
    MakeFile(fs, directory, absl::StrCat("n", i, std::string(200, 'x')), 0);
  }
  const NodeId file = MakeFile(fs, kRoot, "file", 3 * kPageSize);
  Must(fs.SetXattr(file, "user.a", "small"));
  Must(fs.Link(file, directory, "hard"));
  const NodeId sparse = MakeFile(fs, kRoot, "sparse", 10);
  Write(fs, sparse, uint64_t{1} << 30, "far");
  Must(fs.SetXattr(sparse, "user.big", std::string(300, 'v')));
  MakeLink(fs, "short", "file");
  MakeLink(fs, "long", std::string(500, 'l'));
}

void MakeVersions(FileSystem& fs) {
  const NodeId file = Must(fs.Resolve("file")).id;
  const NodeId tree = Must(fs.CreateTree(kRoot, "tree")).id;
  const NodeId inside = MakeFile(fs, tree, "inside", 2 * kPageSize);
  Must(fs.CreateTree(tree, "nested"));
  Must(fs.TakeSnapshot(file, "s1"));
  Must(fs.TakeSnapshot(kRoot, "r1"));
  Must(fs.TakeSnapshot(tree, "t1"));
  Write(fs, file, kPageSize + 5, "changed");
  Write(fs, inside, 0, "changed");
  Must(fs.TakeSnapshot(file, "s2"));
  Must(fs.Clone(tree, kRoot, "clone"));
  const NodeId moved = MakeFile(fs, kRoot, "moved", 100);
  Must(fs.TakeSnapshot(moved, "m1"));
  Must(fs.Rename(kRoot, "moved", kRoot, "away"));
  const NodeId doomed = MakeFile(fs, kRoot, "doomed", 100);
  Must(fs.TakeSnapshot(doomed, "d1"));
  Must(fs.Unlink(kRoot, "doomed"));
}

// Two references to count that come to nothing, in a frame of the count log of its own.
void AddPendingCounts(test::Image& image) {
  int slot = 0;
  format::Superblock superblock = test::NewestSuperblock(image, &slot);
  format::LogFrame log;
  log.generation = superblock.generation;
  log.first = superblock.count_log.end;
  log.previous = superblock.count_log.tail;
  for (const auto operation : {format::CountOperation::kAdd, format::CountOperation::kDrop}) {
    log.items.push_back(superblock.trees.root.With(operation));
  }
  const FrameNumber frame(superblock.total_frames - 1);
  image.Write(OffsetOf(frame), format::EncodeLogFrame(log));
  superblock.count_log.tail = format::Entry(frame, superblock.generation, 0, 0, /*table=*/false);
  superblock.count_log.end += log.items.size();
  test::WriteSuperblock(image, slot, superblock);
}

}  // namespace

test::Image BaseVolume() {
  auto disk = std::make_shared<test::Disk>();
  Must(FileSystem::Create(std::make_unique<test::MemoryFile>(disk), {}, Options()));
  FixUuid(*disk);
  std::unique_ptr<FileSystem> fs = Open(disk);
  MakeNames(*fs);
  MakeVersions(*fs);
  Must(fs->Sync());
  const NodeId open = MakeFile(*fs, kRoot, "open", 2 * kPageSize);
  std::optional<FileHandle> handle = Must(fs->OpenFile(open));
  Must(fs->Unlink(kRoot, "open"));
  Must(fs->DestroySnapshot(Must(fs->FindSnapshot("file", "s1")).number));
  Must(fs->Sync());
  test::Image image = disk->Copy();
  handle.reset();
  AddPendingCounts(image);
  return image;
}

std::vector<uint64_t> FramesOf(const test::Image& image) {
  std::vector<uint64_t> frames;
  for (const auto& [number, frame] : image.frames()) {
    if (FrameNumber(number) != format::kHolderFrame) frames.push_back(number);
  }
  return frames;
}

}  // namespace cow::fuzz
