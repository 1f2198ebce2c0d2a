#include "tests/store/forge.h"

#include <cstring>
#include <vector>

#include "cow/base/checksum.h"
#include "cow/format/geometry.h"

namespace cow::test {

// A CRC is linear: each bit of the spare bytes flips the same bits of it, whatever the others are.
// So which bits to flip is a system of 32 equations, solved by elimination.
void ForgeChecksum(FrameBytes& bytes, FrameNumber frame, Generation birth, size_t spare,
                   uint32_t wanted) {
  struct Equation {
    uint32_t effect;
    uint32_t bits;
  };
  const auto flip = [&](FrameBytes& target, uint32_t bits) {
    for (size_t bit = 0; bit < 32; ++bit) {
      if ((bits >> bit & 1) != 0) target[spare + bit / 8] ^= std::byte(1 << (bit % 8));
    }
  };
  const uint32_t base = FrameChecksum(frame, birth, bytes);
  std::vector<Equation> equations;
  for (size_t bit = 0; bit < 32; ++bit) {
    FrameBytes changed = bytes;
    flip(changed, uint32_t{1} << bit);
    equations.push_back({FrameChecksum(frame, birth, changed) ^ base, uint32_t{1} << bit});
  }
  uint32_t missing = base ^ wanted;
  uint32_t solution = 0;
  for (int bit = 31; bit >= 0; --bit) {
    for (size_t i = 0; i < equations.size(); ++i) {
      if ((equations[i].effect >> bit & 1) == 0) continue;
      const Equation chosen = equations[i];
      equations.erase(equations.begin() + static_cast<ptrdiff_t>(i));
      for (Equation& other : equations) {
        if ((other.effect >> bit & 1) == 0) continue;
        other.effect ^= chosen.effect;
        other.bits ^= chosen.bits;
      }
      if ((missing >> bit & 1) != 0) {
        missing ^= chosen.effect;
        solution ^= chosen.bits;
      }
      break;
    }
  }
  flip(bytes, solution);
}

format::Superblock NewestSuperblock(const Image& image, int* slot) {
  format::Superblock newest;
  for (const int candidate : {0, 1}) {
    FrameBytes bytes;
    const FrameNumber frame = format::SuperblockFrame(candidate, 0);
    image.Read(OffsetOf(frame), bytes);
    const auto read = format::DecodeSuperblock(bytes, frame);
    if (!read.ok() || read->generation < newest.generation) continue;
    newest = *read;
    *slot = candidate;
  }
  return newest;
}

void WriteSuperblock(Image& image, int slot, const format::Superblock& superblock) {
  for (const int copy : {0, 1}) {
    const FrameNumber frame = format::SuperblockFrame(slot, copy);
    image.Write(OffsetOf(frame), format::EncodeSuperblock(superblock, frame));
  }
}

FrameNumber CountLeafOf(const Image& image, format::Entry* entry) {
  int slot = 0;
  const format::Superblock superblock = NewestSuperblock(image, &slot);
  FrameBytes root;
  image.Read(OffsetOf(superblock.counts.frame()), root);
  std::memcpy(entry, root.data(), sizeof(*entry));
  return entry->frame();
}

void SetCounts(Image& image, const std::vector<std::pair<uint64_t, uint32_t>>& counts) {
  format::Entry entry;
  const FrameNumber leaf = CountLeafOf(image, &entry);
  FrameBytes bytes;
  image.Read(OffsetOf(leaf), bytes);
  for (const auto& [frame, count] : counts) {
    std::memcpy(bytes.data() + frame * sizeof(uint32_t), &count, sizeof(count));
  }
  // Headers have no counts: that of frame 0 is never looked at.
  ForgeChecksum(bytes, leaf, entry.birth(), 0, entry.checksum());
  image.Write(OffsetOf(leaf), bytes);
}

uint32_t CountOf(const Image& image, uint64_t frame) {
  format::Entry entry;
  uint32_t count = 0;
  image.Read(OffsetOf(CountLeafOf(image, &entry)) + frame * sizeof(count),
             std::as_writable_bytes(std::span(&count, 1)));
  return count;
}

std::vector<uint64_t> FramesWith(const Image& image, uint32_t count) {
  std::vector<uint64_t> frames;
  for (uint64_t frame = format::kZoneHeader; frame < image.size() / kPageSize; ++frame) {
    if (frame < format::kCountsPerLeaf && CountOf(image, frame) == count) frames.push_back(frame);
  }
  return frames;
}

}  // namespace cow::test
