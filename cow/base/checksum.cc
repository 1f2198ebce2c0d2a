#include "cow/base/checksum.h"

#include <isa-l/crc.h>

namespace cow {

uint32_t Crc32c(uint32_t seed, std::span<const std::byte> bytes) {
  // isa-l does not write to the buffer; its signature merely lacks the const.
  auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
  return ~crc32_iscsi(data, static_cast<int>(bytes.size()), ~seed);
}

uint32_t FrameChecksum(FrameNumber frame, Generation birth, std::span<const std::byte> bytes) {
  uint64_t seed[2] = {frame.value(), birth.value()};
  return Crc32c(Crc32c(0, std::as_bytes(std::span(seed))), bytes);
}

}  // namespace cow
