// A volume as small as a mapping can do with: frames in a file, and versions that are plain tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/base/types.h"
#include "cow/os/file.h"
#include "cow/vm/mapping.h"

namespace cow::vm {

using PageTable = std::map<PageNumber, FrameNumber>;

// A page whose bytes follow from `seed`.
std::vector<std::byte> PageOfBytes(uint64_t seed);

// Maps of this process that begin in `bytes`, as the kernel lists them.
size_t CountMaps(std::span<const std::byte> bytes);

class FakeVolume {
 public:
  explicit FakeVolume(std::unique_ptr<os::File> file) : file_(std::move(file)) {}

  os::File& file() { return *file_; }
  // A fresh frame with this content; shorter content ends in zeros. `apart` leaves a frame unused
  // before it, so that the extents do not join.
  FrameNumber Write(std::span<const std::byte> bytes, bool apart = false);
  // The bytes of a page of a version.
  std::vector<std::byte> Read(const PageTable& version, PageNumber page);

 private:
  std::unique_ptr<os::File> file_;
  uint64_t next_frame_ = 1;
};

// One version of a fake volume.
class FakeSource : public Source {
 public:
  FakeSource(FakeVolume& volume, PageTable version)
      : volume_(volume), version_(std::move(version)) {}

  absl::StatusOr<std::vector<Extent>> Extents(PageNumber begin, PageNumber end) override;
  absl::StatusOr<PageNumber> NextData(PageNumber begin) override;
  int descriptor() const override { return volume_.file().descriptor(); }

 private:
  FakeVolume& volume_;
  const PageTable version_;
};

// Publishes into a head: a table that changes.
class FakeSink : public Sink {
 public:
  explicit FakeSink(FakeVolume& volume) : volume_(volume) {}

  absl::Status Publish(std::span<const PageNumber> pages,
                       std::span<const std::byte> bytes) override;

  // Numbers of the pages published since the last call, in the order they came; without those of
  // unchanged().
  std::vector<uint64_t> TakePublished();
  // Pages that came again with the content they had come with before. The kernel may name a written
  // page once more when it was moving it in memory while it was taken (compaction).
  uint64_t unchanged() const { return unchanged_; }

  PageTable head;
  uint64_t last_bytes = 0;  // of the last call
  // Asked about each page before a call is served.
  std::function<absl::Status(PageNumber)> before = [](PageNumber) { return absl::OkStatus(); };

 private:
  FakeVolume& volume_;
  std::vector<uint64_t> published_;
  std::set<PageNumber> ever_published_;
  uint64_t unchanged_ = 0;
};

}  // namespace cow::vm
