// Images as an enemy makes them: checksums that match and a content that is nonsense.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

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

// The only count leaf of a small volume, in the frame of its pair that is current.
FrameNumber CountLeafOf(const Image& image, format::Entry* entry);
// Gives frames of such a volume other counts, so that no checksum shows it.
void SetCounts(Image& image, const std::vector<std::pair<uint64_t, uint32_t>>& counts);
uint32_t CountOf(const Image& image, uint64_t frame);
std::vector<uint64_t> FramesWith(const Image& image, uint32_t count);

}  // namespace cow::test
