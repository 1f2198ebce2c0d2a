#include "cow/base/checksum.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace cow {

uint32_t Crc32c(uint32_t seed, std::span<const std::byte> bytes) {
  // isa-l does not write to the buffer; its signature merely lacks the const.
  auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
  uint32_t state = ~seed;
  // isa-l counts in int.
  for (size_t done = 0; done < bytes.size();) {
    size_t length = std::min(bytes.size() - done, size_t{1} << 30);
    state = crc32_iscsi(data + done, static_cast<int>(length), state);
    done += length;
  }
  return ~state;
}

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
// A fuzzer cannot guess checksums; so that what it damages is looked at, all frames have the same.
uint32_t FrameChecksum(FrameNumber, Generation, std::span<const std::byte>) { return 0; }
#else
uint32_t FrameChecksum(FrameNumber frame, Generation birth, std::span<const std::byte> bytes) {
  uint64_t seed[2] = {frame.value(), birth.value()};
  return Crc32c(Crc32c(0, std::as_bytes(std::span(seed))), bytes);
}
#endif

}  // namespace cow
