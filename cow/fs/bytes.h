// Numbers and strings in bytes, little-endian, one after the other.
#pragma once

#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "cow/base/status.h"

namespace cow::fs {

static_assert(std::endian::native == std::endian::little, "the volume format is little-endian");

class ByteWriter {
 public:
  template <typename T>
  ByteWriter& Put(T number) {
    char bytes[sizeof(T)];
    std::memcpy(bytes, &number, sizeof(T));
    bytes_.append(bytes, sizeof(T));
    return *this;
  }
  ByteWriter& PutTime(const timespec& time) {
    return Put<int64_t>(time.tv_sec).Put(static_cast<uint32_t>(time.tv_nsec));
  }
  // Its length in two bytes, then the bytes.
  ByteWriter& PutString(std::string_view text) {
    return Put(static_cast<uint16_t>(text.size())).PutBytes(text);
  }
  ByteWriter& PutBytes(std::string_view text) {
    bytes_.append(text);
    return *this;
  }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Reads what ByteWriter wrote. Past the end it reads zeroes and empty strings, and ok() is false
// from there on.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  T Get() {
    T number = 0;
    if (bytes_.size() < sizeof(T)) {
      ok_ = false;
      bytes_ = {};
      return number;
    }
    std::memcpy(&number, bytes_.data(), sizeof(T));
    bytes_.remove_prefix(sizeof(T));
    return number;
  }
  timespec GetTime() {
    timespec time = {};
    time.tv_sec = Get<int64_t>();
    time.tv_nsec = Get<uint32_t>();
    if (time.tv_nsec >= 1000000000) ok_ = false;
    return time;
  }
  std::string_view GetBytes(size_t length) {
    if (bytes_.size() < length) {
      ok_ = false;
      bytes_ = {};
      return {};
    }
    const std::string_view bytes = bytes_.substr(0, length);
    bytes_.remove_prefix(length);
    return bytes;
  }
  std::string_view GetString() { return GetBytes(Get<uint16_t>()); }

  bool ok() const { return ok_; }
  bool at_end() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

// Something on disk is not what it must be, though its checksum is right.
inline absl::Status Malformed(std::string_view what) {
  return MakeError(absl::StatusCode::kDataLoss, EIO, what);
}

}  // namespace cow::fs
