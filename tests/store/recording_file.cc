#include "tests/store/recording_file.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "cow/base/status.h"

namespace cow::test {
namespace {

constexpr uint64_t kSector = 512;

void Apply(const Event& event, Image& image) {
  switch (event.kind) {
    case Event::Kind::kWrite:
      image.Write(event.offset, event.bytes);
      break;
    case Event::Kind::kAllocate:
      image.Resize(std::max(image.size(), event.offset + event.length));
      break;
    case Event::Kind::kPunch:
      image.Punch(event.offset, event.length);
      break;
    case Event::Kind::kResize:
      image.Resize(event.length);
      break;
    case Event::Kind::kFlush:
      break;
  }
}

// Each sector of a write, or frame of a punch, with the same chance.
void ApplyTorn(const Event& event, Image& image, Random& random) {
  if (event.kind != Event::Kind::kWrite && event.kind != Event::Kind::kPunch) {
    return Apply(event, image);
  }
  const bool write = event.kind == Event::Kind::kWrite;
  const uint64_t unit = write ? kSector : kPageSize;
  const uint64_t length = write ? event.bytes.size() : event.length;
  for (uint64_t at = 0; at < length; at += unit) {
    if (random.OneIn(2)) continue;
    const uint64_t bytes = std::min(unit, length - at);
    if (write && random.OneIn(16)) {
      image.Write(event.offset + at, random.Bytes(bytes));
    } else if (write) {
      image.Write(event.offset + at, std::span(event.bytes).subspan(at, bytes));
    } else {
      image.Punch(event.offset + at, bytes);
    }
  }
}

// All but one sector of a write; nothing of any other event.
void ApplyButOne(const Event& event, Image& image, Random& random) {
  if (event.kind != Event::Kind::kWrite) return;
  const uint64_t lost = random.Below((event.bytes.size() + kSector - 1) / kSector) * kSector;
  const std::span<const std::byte> bytes(event.bytes);
  image.Write(event.offset, bytes.first(lost));
  const uint64_t after = std::min<uint64_t>(lost + kSector, bytes.size());
  image.Write(event.offset + after, bytes.subspan(after));
}

}  // namespace

RecordingFile::RecordingFile(std::shared_ptr<Disk> disk, std::shared_ptr<Recording> recording)
    : MemoryFile(disk), recording_(std::move(recording)) {
  if (recording_->events.empty()) recording_->before = disk->Copy();
}

absl::Status RecordingFile::Record(Event event) {
  if (recording_->killed()) return ErrnoStatus(EIO, "killed");
  recording_->events.push_back(std::move(event));
  return absl::OkStatus();
}

absl::Status RecordingFile::Write(uint64_t offset, std::span<const std::byte> buffer) {
  COW_RETURN_IF_ERROR(Record({.kind = Event::Kind::kWrite,
                              .offset = offset,
                              .length = buffer.size(),
                              .bytes = {buffer.begin(), buffer.end()}}));
  return MemoryFile::Write(offset, buffer);
}

absl::Status RecordingFile::WriteVector(uint64_t offset, std::span<const iovec> buffers) {
  std::vector<std::byte> bytes;
  for (const iovec& part : buffers) {
    const auto* begin = static_cast<const std::byte*>(part.iov_base);
    bytes.insert(bytes.end(), begin, begin + part.iov_len);
  }
  return Write(offset, bytes);
}

absl::Status RecordingFile::Flush() {
  if (recording_->before_flush) recording_->before_flush();
  const size_t number = recording_->flushes++;
  if (recording_->lose_flush && recording_->lose_flush(number)) return absl::OkStatus();
  return Record({.kind = Event::Kind::kFlush, .bytes = {}});
}

absl::Status RecordingFile::Allocate(uint64_t offset, uint64_t length) {
  COW_RETURN_IF_ERROR(
      Record({.kind = Event::Kind::kAllocate, .offset = offset, .length = length, .bytes = {}}));
  return MemoryFile::Allocate(offset, length);
}

absl::Status RecordingFile::Punch(uint64_t offset, uint64_t length) {
  COW_RETURN_IF_ERROR(
      Record({.kind = Event::Kind::kPunch, .offset = offset, .length = length, .bytes = {}}));
  return MemoryFile::Punch(offset, length);
}

absl::Status RecordingFile::Resize(uint64_t size) {
  COW_RETURN_IF_ERROR(Record({.kind = Event::Kind::kResize, .length = size, .bytes = {}}));
  return MemoryFile::Resize(size);
}

CrashDisk::CrashDisk(const Recording& recording)
    : recording_(recording), durable_(recording.before) {}

void CrashDisk::Advance(size_t events) {
  for (; position_ < events; ++position_) {
    if (recording_.events[position_].kind != Event::Kind::kFlush) continue;
    for (; flushed_ <= position_; ++flushed_) Apply(recording_.events[flushed_], durable_);
  }
}

Image CrashDisk::Make(uint64_t variant, Random& random) const {
  Image image = durable_;
  if (variant == 0) return image;
  // Some crashes lose much, some little, some tear all.
  const uint64_t kept = random.Below(5);
  const uint64_t torn = random.Below(5);
  const uint64_t but_one = flushed_ + random.Below(std::max<size_t>(1, unflushed()));
  for (size_t i = flushed_; i < position_; ++i) {
    const Event& event = recording_.events[i];
    if (variant == 2 && i == but_one) {
      ApplyButOne(event, image, random);
    } else if (variant <= 2) {
      Apply(event, image);
    } else if (random.Below(4) < torn) {
      ApplyTorn(event, image, random);
    } else if (random.Below(4) < kept) {
      Apply(event, image);
    }
  }
  return image;
}

}  // namespace cow::test
