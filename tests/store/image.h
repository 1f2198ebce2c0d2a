// Bytes that are mostly zero, by frames of 4 KiB; copies share frames until one of them changes.
// The disks of the fakes and the files of the model are made of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>

#include "cow/base/types.h"

namespace cow::test {

class Image {
 public:
  using Frame = std::array<std::byte, kPageSize>;
  using Frames = std::map<uint64_t, std::shared_ptr<Frame>>;

  uint64_t size() const { return size_; }
  // What was written and not punched; anything else is zero.
  const Frames& frames() const { return frames_; }

  // Past the end there are zeroes.
  void Read(uint64_t offset, std::span<std::byte> buffer) const;
  // Grows as needed.
  void Write(uint64_t offset, std::span<const std::byte> bytes);
  // Makes a range zero; frames that are whole in it are gone.
  void Punch(uint64_t offset, uint64_t length);
  // What is cut off is gone, what is added is zero.
  void Resize(uint64_t size);

  friend bool operator==(const Image& a, const Image& b);

 private:
  Frame& Mutable(uint64_t number);

  uint64_t size_ = 0;
  Frames frames_;
};

}  // namespace cow::test
