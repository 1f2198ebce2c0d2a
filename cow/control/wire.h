// Writing and reading fields of a message, least significant byte first.
//
// Invariant: neither ever touches a byte outside its span. The first field that does not fit, or
// that is out of its bounds, makes ok() false for good; from then on nothing is written, and
// everything reads as zero or empty. So a sequence of fields needs one test, at its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace cow::control {

class Writer {
 public:
  explicit Writer(std::span<std::byte> bytes) : bytes_(bytes) {}

  bool ok() const { return ok_; }
  size_t position() const { return position_; }

  template <typename T>
  void Unsigned(T value) {
    if (!Take(sizeof(T))) return;
    for (size_t i = 0; i < sizeof(T); ++i) {
      bytes_[position_ - sizeof(T) + i] = static_cast<std::byte>(value >> (8 * i));
    }
  }

  void Bool(bool value) { Unsigned<uint8_t>(value ? 1 : 0); }

  void Text(std::string_view text, size_t limit) {
    if (text.size() > limit) ok_ = false;
    Unsigned(static_cast<uint16_t>(text.size()));
    if (!Take(text.size()) || text.empty()) return;
    std::memcpy(&bytes_[position_ - text.size()], text.data(), text.size());
  }

 private:
  bool Take(size_t count) {
    ok_ = ok_ && count <= bytes_.size() - position_;
    if (ok_) position_ += count;
    return ok_;
  }

  std::span<std::byte> bytes_;
  size_t position_ = 0;
  bool ok_ = true;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool ok() const { return ok_; }
  size_t remaining() const { return bytes_.size() - position_; }

  template <typename T>
  T Unsigned() {
    if (!Take(sizeof(T))) return 0;
    T value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) {
      value |= static_cast<T>(static_cast<T>(bytes_[position_ - sizeof(T) + i]) << (8 * i));
    }
    return value;
  }

  bool Bool() {
    const uint8_t value = Unsigned<uint8_t>();
    if (value > 1) ok_ = false;
    return ok_ && value == 1;
  }

  // Texts hold no zero byte: they are paths, names and messages, and end up as C strings.
  std::string Text(size_t limit) {
    const uint16_t size = Unsigned<uint16_t>();
    if (size > limit) ok_ = false;
    if (!Take(size) || size == 0) return {};
    std::string text(reinterpret_cast<const char*>(&bytes_[position_ - size]), size);
    if (text.find('\0') != std::string::npos) {
      ok_ = false;
      return {};
    }
    return text;
  }

 private:
  bool Take(size_t count) {
    ok_ = ok_ && count <= bytes_.size() - position_;
    if (ok_) position_ += count;
    return ok_;
  }

  std::span<const std::byte> bytes_;
  size_t position_ = 0;
  bool ok_ = true;
};

}  // namespace cow::control
