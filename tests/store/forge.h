// Images as an enemy makes them: checksums that match and a content that is nonsense.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "cow/format/superblock.h"
#include "tests/store/image.h"

namespace cow::test {

using FrameBytes = std::array<std::byte, kPageSize>;

// Changes the four bytes at `spare`, which nothing reads, so that the frame's checksum is `wanted`.
void ForgeChecksum(FrameBytes& bytes, FrameNumber frame, Generation birth, size_t spare,
                   uint32_t wanted);

// The newest superblock of an image, and writing both of its copies.
format::Superblock NewestSuperblock(const Image& image, int* slot);
void WriteSuperblock(Image& image, int slot, const format::Superblock& superblock);

}  // namespace cow::test
