#include "tests/store/image.h"

#include <algorithm>
#include <cstring>

namespace cow::test {
namespace {

// Calls `part(frame number, offset in it, bytes, bytes done before)` for each frame of a range.
template <typename Part>
void ForEachFrame(uint64_t offset, uint64_t length, Part part) {
  for (uint64_t done = 0; done < length;) {
    const uint64_t within = (offset + done) % kPageSize;
    const uint64_t bytes = std::min(kPageSize - within, length - done);
    part((offset + done) / kPageSize, within, bytes, done);
    done += bytes;
  }
}

}  // namespace

Image::Frame& Image::Mutable(uint64_t number) {
  std::shared_ptr<Frame>& frame = frames_[number];
  if (frame == nullptr) {
    frame = std::make_shared<Frame>();
  } else if (frame.use_count() > 1) {
    frame = std::make_shared<Frame>(*frame);
  }
  return *frame;
}

void Image::Read(uint64_t offset, std::span<std::byte> buffer) const {
  ForEachFrame(offset, buffer.size(),
               [&](uint64_t number, uint64_t within, uint64_t bytes, uint64_t done) {
                 auto it = frames_.find(number);
                 if (it == frames_.end()) {
                   std::memset(buffer.data() + done, 0, bytes);
                 } else {
                   std::memcpy(buffer.data() + done, it->second->data() + within, bytes);
                 }
               });
}

void Image::Write(uint64_t offset, std::span<const std::byte> bytes) {
  ForEachFrame(offset, bytes.size(),
               [&](uint64_t number, uint64_t within, uint64_t length, uint64_t done) {
                 std::memcpy(Mutable(number).data() + within, bytes.data() + done, length);
               });
  if (!bytes.empty()) size_ = std::max(size_, offset + bytes.size());
}

void Image::Punch(uint64_t offset, uint64_t length) {
  if (offset >= size_) return;
  const uint64_t end = offset + std::min(length, size_ - offset);
  auto it = frames_.lower_bound(offset / kPageSize);
  while (it != frames_.end() && it->first * kPageSize < end) {
    const uint64_t begin = it->first * kPageSize;
    const uint64_t frame_end = std::min(begin + kPageSize, size_);
    if (begin >= offset && frame_end <= end) {
      it = frames_.erase(it);
      continue;
    }
    const uint64_t from = std::max(offset, begin);
    std::memset(Mutable(it->first).data() + (from - begin), 0,
                std::min(end, begin + kPageSize) - from);
    ++it;
  }
}

void Image::Resize(uint64_t size) {
  if (size < size_) Punch(size, size_ - size);
  size_ = size;
}

bool operator==(const Image& a, const Image& b) {
  if (a.size_ != b.size_) return false;
  static constexpr Image::Frame kZeroes = {};
  auto i = a.frames_.begin();
  auto j = b.frames_.begin();
  while (i != a.frames_.end() || j != b.frames_.end()) {
    const bool in_a = j == b.frames_.end() || (i != a.frames_.end() && i->first <= j->first);
    const bool in_b = i == a.frames_.end() || (j != b.frames_.end() && j->first <= i->first);
    const Image::Frame& left = in_a ? *i->second : kZeroes;
    const Image::Frame& right = in_b ? *j->second : kZeroes;
    if (&left != &right && left != right) return false;
    if (in_a) ++i;
    if (in_b) ++j;
  }
  return true;
}

}  // namespace cow::test
