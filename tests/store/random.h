// Random numbers that are the same everywhere: the standard distributions differ between libraries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace cow::test {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {  // splitmix64
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  // In [0, bound).
  uint64_t Below(uint64_t bound) { return bound == 0 ? 0 : Next() % bound; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

  std::vector<std::byte> Bytes(size_t size) {
    std::vector<std::byte> bytes(size);
    for (size_t i = 0; i < size; i += 8) {
      const uint64_t word = Next();
      std::memcpy(bytes.data() + i, &word, size - i < 8 ? size - i : 8);
    }
    return bytes;
  }

 private:
  uint64_t state_;
};

}  // namespace cow::test
