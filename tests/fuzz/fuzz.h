// What the fuzz targets share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace cow::fuzz {

// What must hold whatever the input is; libFuzzer reports the trap and keeps the input.
inline void Require(bool holds) {
  if (!holds) __builtin_trap();
}

// Takes an input apart; past its end there are zeroes, so that every input means something.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : bytes_(std::as_bytes(std::span(data, size))) {}

  bool empty() const { return bytes_.empty(); }
  std::span<const std::byte> rest() const { return bytes_; }

  template <typename T>
  T Take() {
    T value = {};
    const size_t length = bytes_.size() < sizeof(T) ? bytes_.size() : sizeof(T);
    if (length > 0) std::memcpy(&value, bytes_.data(), length);
    bytes_ = bytes_.subspan(length);
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace cow::fuzz
