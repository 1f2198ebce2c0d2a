// A file that keeps a log of what is done to it, and the disks that a crash could leave.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "tests/store/fake_file.h"
#include "tests/store/random.h"

namespace cow::test {

struct Event {
  enum class Kind { kWrite, kAllocate, kPunch, kResize, kFlush };
  Kind kind;
  uint64_t offset = 0;
  uint64_t length = 0;
  std::vector<std::byte> bytes;
};

// The log, and what the disk held before its first event.
struct Recording {
  Image before;
  std::vector<Event> events;
  // For tests of the harness: flushes for which this is true are lost, as by a disk that lies.
  std::function<bool(size_t flush)> lose_flush;
  size_t flushes = 0;
  // Called before each flush: what happens beside a commit happens while it waits for the disk.
  std::function<void()> before_flush;
  // The process is killed when there are so many events: what it still tries fails. What it wrote
  // stays in the page cache, so a process that comes after it sees it, flushed or not.
  size_t killed_at = SIZE_MAX;
  bool killed() const { return events.size() >= killed_at; }
};

// For one thread.
class RecordingFile : public MemoryFile {
 public:
  // A recording that is empty starts from what `disk` holds; another goes on.
  RecordingFile(std::shared_ptr<Disk> disk, std::shared_ptr<Recording> recording);

  absl::Status Write(uint64_t offset, std::span<const std::byte> buffer) override;
  absl::Status WriteVector(uint64_t offset, std::span<const iovec> buffers) override;
  absl::Status Flush() override;
  absl::Status Allocate(uint64_t offset, uint64_t length) override;
  absl::Status Punch(uint64_t offset, uint64_t length) override;
  absl::Status Resize(uint64_t size) override;

 private:
  absl::Status Record(Event event);

  const std::shared_ptr<Recording> recording_;
};

// Walks a recording, and makes disks that a crash between two of its events could leave: with all
// that came before the last flush, and of what came after it any part: an event or not, and of a
// write any of its sectors of 512 bytes. Some sectors that were on their way come out
// as neither what they were nor what they should be.
class CrashDisk {
 public:
  explicit CrashDisk(const Recording& recording);

  // The crash is after the first `events` events; only forward.
  void Advance(size_t events);
  // Variant 0 loses all that was not flushed, 1 keeps all, 2 all but one sector or event, others
  // keep a random part.
  Image Make(uint64_t variant, Random& random) const;
  // Events since the last flush.
  size_t unflushed() const { return position_ - flushed_; }

 private:
  const Recording& recording_;
  Image durable_;
  size_t flushed_ = 0;  // events up to here are in durable_
  size_t position_ = 0;
};

}  // namespace cow::test
