// Bringing a scattered file together: its content, what it shares, and the space that it takes.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <thread>

#include "cow/base/status.h"
#include "cow/store/allocator.h"
#include "tests/store/volume.h"

namespace cow::test {
namespace {

constexpr uint64_t kPages = 2048;  // 8 MiB: eight nodes

std::vector<store::Extent> ExtentsOf(const ObjectPointer& file) {
  return file->Extents(PageNumber(0), PageNumber(PagesFor(file->size())), false).value();
}

store::DefragmentResult Defragment(Volume& volume, const ObjectPointer& file,
                                   bool unshare = false) {
  const absl::StatusOr<store::DefragmentResult> result =
      volume->Defragment(*file, PageNumber(0), PageNumber(kPages), unshare);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.value_or(store::DefragmentResult());
}

// A file whose pages were written in random order.
ObjectPointer Scattered(Volume& volume, uint64_t pages = kPages, store::Table* table = nullptr) {
  ObjectPointer file = volume.CreateFile({}, table);
  std::vector<uint64_t> order(pages);
  std::iota(order.begin(), order.end(), 0);
  Random random(1);
  for (uint64_t i = pages; i > 1; --i) std::swap(order[i - 1], order[random.Below(i)]);
  for (uint64_t page : order) {
    volume.Write(file, page * kPageSize, RandomBytes(kPageSize, page));
  }
  volume.Commit();
  return file;
}

TEST(DefragmentTest, AScatteredFileComesToLieInLongExtents) {
  Volume volume;
  ObjectPointer file = Scattered(volume);
  volume.Settle();
  const Bytes content = ContentOf(*file);
  const size_t before = ExtentsOf(file).size();
  ASSERT_GT(before, kPages / 2);
  const uint64_t used = volume->space().used_frames;

  const store::DefragmentResult result = Defragment(volume, file);
  EXPECT_EQ(result.extents_before, before);
  EXPECT_EQ(result.extents_after, ExtentsOf(file).size());
  EXPECT_LE(result.extents_after, kPages / store::kLongExtent + 1);
  EXPECT_EQ(result.moved_pages, kPages);
  EXPECT_EQ(result.shared_pages, 0);
  EXPECT_EQ(ContentOf(*file), content);

  volume.Settle();
  EXPECT_LE(volume->space().used_frames, used + 8);
  volume.ExpectClean();
  file.reset();
  volume.Reopen();
  EXPECT_EQ(ContentOf(*volume.Open(1)), content);
  // Again, there is nothing to do.
  EXPECT_EQ(Defragment(volume, volume.Open(1)).moved_pages, 0);
}

TEST(DefragmentTest, WhatASnapshotHasStaysSharedUnlessItIsAskedFor) {
  Volume volume;
  ObjectPointer file = Scattered(volume);
  ObjectPointer snapshot = volume.Snapshot(file);
  // The second half is the file's own.
  for (uint64_t page = kPages - 1; page >= kPages / 2; --page) {
    volume.Write(file, page * kPageSize, RandomBytes(kPageSize, page + 1));
  }
  volume.Settle();
  const Bytes content = ContentOf(*file);
  const Bytes kept = ContentOf(*snapshot);
  const std::vector<store::Extent> kept_extents = ExtentsOf(snapshot);
  const uint64_t used = volume->space().used_frames;

  store::DefragmentResult result = Defragment(volume, file);
  EXPECT_EQ(result.moved_pages, kPages / 2);
  EXPECT_EQ(result.shared_pages, kPages / 2);
  volume.Settle();
  EXPECT_LE(volume->space().used_frames, used + 8);
  EXPECT_EQ(ContentOf(*file), content);

  result = Defragment(volume, file, /*unshare=*/true);
  EXPECT_EQ(result.moved_pages, kPages / 2);
  EXPECT_EQ(result.shared_pages, 0);
  EXPECT_LE(result.extents_after, kPages / store::kLongExtent + 2);
  volume.Settle();
  EXPECT_GE(volume->space().used_frames, used + kPages / 2);
  EXPECT_EQ(ContentOf(*file), content);
  EXPECT_EQ(ContentOf(*snapshot), kept);
  EXPECT_EQ(ExtentsOf(snapshot), kept_extents);
  volume.ExpectClean();
}

TEST(DefragmentTest, WhatASnapshotOfTheTreeHasStaysShared) {
  Volume volume;
  ObjectPointer tree = volume.CreateTree();
  TablePointer table = volume.OpenTree(tree);
  ObjectPointer file = Scattered(volume, kPages, table.get());
  ObjectPointer snapshot = volume.Snapshot(tree);
  const std::vector<store::Extent> extents = ExtentsOf(file);
  EXPECT_EQ(Defragment(volume, file).shared_pages, kPages);
  EXPECT_EQ(ExtentsOf(file), extents);
  volume.Remove(snapshot);
  snapshot.reset();
  EXPECT_EQ(Defragment(volume, file).moved_pages, kPages);
  volume.ExpectClean();
}

TEST(DefragmentTest, PagesBetweenHolesStayWhereTheyAre) {
  Volume volume;
  ObjectPointer file = volume.CreateFile();
  for (uint64_t page = 0; page < kPages; page += 2) {
    volume.Write(file, page * kPageSize, RandomBytes(kPageSize, page));
  }
  const std::vector<store::Extent> extents = ExtentsOf(file);
  EXPECT_EQ(Defragment(volume, file).moved_pages, 0);
  EXPECT_EQ(ExtentsOf(file), extents);
}

TEST(DefragmentTest, OnAFullVolumeItFailsAndLosesNothing) {
  Volume volume({.max_bytes = 12 << 20});
  ObjectPointer file = Scattered(volume, 1024);
  ObjectPointer other = volume.CreateFile();
  const Bytes bytes = RandomBytes(kPageSize, 7);
  for (uint64_t page = 0;; ++page) {
    auto transaction = volume->Begin(store::FramesToWrite(kPageSize));
    if (!transaction.ok()) break;
    ASSERT_TRUE(other->Write(*transaction, page * kPageSize, bytes).ok());
  }
  const Bytes content = ContentOf(*file);
  const absl::Status status =
      volume->Defragment(*file, PageNumber(0), PageNumber(1024), false).status();
  EXPECT_EQ(ErrnoOf(status), ENOSPC) << status;
  EXPECT_TRUE(volume->health().ok());
  EXPECT_EQ(ContentOf(*file), content);
  volume.Remove(other);
  other.reset();
  volume.Settle();
  EXPECT_GT(Defragment(volume, file).moved_pages, 0);
  EXPECT_EQ(ContentOf(*file), content);
  volume.ExpectClean();
}

TEST(DefragmentTest, APageThatCannotBeReadIsNotWrittenAnew) {
  Volume volume;
  ObjectPointer file = Scattered(volume);
  const FrameNumber frame = ExtentsOf(file)[100].frame;
  file.reset();
  volume.Close();
  {
    absl::MutexLock lock(&volume.disk()->mu);
    volume.disk()->image.Write(OffsetOf(frame), RandomBytes(1, 3));
  }
  volume.Reopen();
  file = volume.Open(1);
  EXPECT_TRUE(absl::IsDataLoss(
      volume->Defragment(*file, PageNumber(0), PageNumber(kPages), false).status()));
  EXPECT_TRUE(volume->health().ok());
  file.reset();
}

TEST(DefragmentTest, ConcurrentWritesAndSnapshotsAreAsWithoutIt) {
  Volume volume({}, {.commit_seconds = 1});
  ObjectPointer file = Scattered(volume);
  std::atomic<bool> stop = false;
  std::thread defragmenter([&] {
    while (!stop) Defragment(volume, file);
  });
  // Each page begins with how often it was written.
  std::vector<uint64_t> written(kPages);
  std::vector<std::pair<ObjectPointer, std::vector<uint64_t>>> snapshots;
  Random random(2);
  const auto stamp = [](const store::Object& object, uint64_t page) {
    uint64_t value = 0;
    EXPECT_TRUE(object.Read(page * kPageSize, std::as_writable_bytes(std::span(&value, 1))).ok());
    return value;
  };
  for (uint64_t page = 0; page < kPages; ++page) {
    volume.Write(file, page * kPageSize, std::as_bytes(std::span(&written[page], 1)));
  }
  for (uint64_t i = 1; i <= 4000; ++i) {
    const uint64_t page = random.Below(kPages);
    written[page] = i;
    volume.Write(file, page * kPageSize, std::as_bytes(std::span(&i, 1)));
    const uint64_t seen = random.Below(kPages);
    ASSERT_EQ(stamp(*file, seen), written[seen]);
    if (i % 500 == 0) snapshots.emplace_back(volume.Snapshot(file), written);
  }
  stop = true;
  defragmenter.join();
  snapshots.emplace_back(file, written);
  for (const auto& [object, stamps] : snapshots) {
    for (uint64_t page = 0; page < kPages; ++page) ASSERT_EQ(stamp(*object, page), stamps[page]);
  }
  volume.ExpectClean();
  snapshots.clear();
  file.reset();
}

}  // namespace
}  // namespace cow::test
