#include "cow/base/checksum.h"

#include <gtest/gtest.h>

#include <array>
#include <string_view>

namespace cow {
namespace {

uint32_t Checksum(std::string_view text) { return Crc32c(0, std::as_bytes(std::span(text))); }

std::array<std::byte, 32> Thirtytwo(uint8_t first, int step) {
  std::array<std::byte, 32> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(first + static_cast<int>(i) * step);
  }
  return bytes;
}

// The vectors of RFC 3720, B.4: what is on disk must not depend on the library that computed it.
TEST(ChecksumTest, MatchesThePublishedVectors) {
  EXPECT_EQ(Checksum("123456789"), 0xE3069283u);
  EXPECT_EQ(Checksum(""), 0u);
  EXPECT_EQ(Crc32c(0, Thirtytwo(0, 0)), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(0, Thirtytwo(0xFF, 0)), 0x62A8AB43u);
  EXPECT_EQ(Crc32c(0, Thirtytwo(0, 1)), 0x46DD794Eu);
  EXPECT_EQ(Crc32c(0, Thirtytwo(31, -1)), 0x113FDB5Cu);
}

TEST(ChecksumTest, CanBeContinued) {
  std::string_view text = "123456789";
  EXPECT_EQ(Crc32c(Checksum(text.substr(0, 4)), std::as_bytes(std::span(text.substr(4)))),
            Checksum(text));
}

TEST(ChecksumTest, AFrameElsewhereOrOfAnotherGenerationDoesNotMatch) {
  std::array<std::byte, kPageSize> frame = {};
  uint32_t checksum = FrameChecksum(FrameNumber(7), Generation(3), frame);
  EXPECT_EQ(FrameChecksum(FrameNumber(7), Generation(3), frame), checksum);
  EXPECT_NE(FrameChecksum(FrameNumber(8), Generation(3), frame), checksum);
  EXPECT_NE(FrameChecksum(FrameNumber(7), Generation(4), frame), checksum);
  EXPECT_NE(FrameChecksum(FrameNumber(3), Generation(7), frame), checksum);
}

TEST(ChecksumTest, EveryFlippedBitShows) {
  std::array<std::byte, kPageSize> frame = {};
  uint32_t checksum = FrameChecksum(FrameNumber(1), Generation(1), frame);
  for (size_t bit = 0; bit < kPageSize * 8; ++bit) {
    frame[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_NE(FrameChecksum(FrameNumber(1), Generation(1), frame), checksum) << "bit " << bit;
    frame[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

}  // namespace
}  // namespace cow
