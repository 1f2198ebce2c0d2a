// CRC32C (Castagnoli), computed by isa-l.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "cow/base/types.h"

namespace cow {

// CRC32C of `bytes`, continued from `seed`.
uint32_t Crc32c(uint32_t seed, std::span<const std::byte> bytes);

// Checksum of a frame's 4 KiB. Seeded with the frame's number and its generation of birth, so that
// a stale or misplaced frame does not match.
uint32_t FrameChecksum(FrameNumber frame, Generation birth, std::span<const std::byte> bytes);

}  // namespace cow
