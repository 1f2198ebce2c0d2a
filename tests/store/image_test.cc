// The disk and the model of the other tests, against a plain vector of bytes.
#include "tests/store/image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "tests/store/random.h"
#include "tests/support/seed.h"

namespace cow::test {
namespace {

TEST(ImageTest, IsAVectorOfBytes) {
  Random random(Seed(1));
  Image image;
  std::vector<std::byte> plain;
  std::vector<std::pair<Image, std::vector<std::byte>>> copies;
  for (int step = 0; step < 5000; ++step) {
    const uint64_t offset = random.Below(30000);
    const uint64_t length = random.Below(12000) + 1;
    switch (random.Below(4)) {
      case 0: {
        const std::vector<std::byte> bytes = random.Bytes(length);
        image.Write(offset, bytes);
        plain.resize(std::max<uint64_t>(plain.size(), offset + length));
        std::copy(bytes.begin(), bytes.end(), plain.begin() + offset);
        break;
      }
      case 1:
        image.Punch(offset, length);
        for (uint64_t i = offset; i < std::min<uint64_t>(offset + length, plain.size()); ++i) {
          plain[i] = std::byte{0};
        }
        break;
      case 2:
        image.Resize(offset);
        plain.resize(offset);
        break;
      default:
        if (copies.size() < 20) copies.emplace_back(image, plain);
        break;
    }
    ASSERT_EQ(image.size(), plain.size());
    std::vector<std::byte> got(plain.size(), std::byte{1});
    image.Read(0, got);
    ASSERT_EQ(got, plain) << "step " << step;
  }
  for (const auto& [copy, expected] : copies) {
    std::vector<std::byte> got(copy.size(), std::byte{1});
    copy.Read(0, got);
    EXPECT_EQ(got, expected) << "a copy changed";
  }
}

TEST(ImageTest, ComparesByContent) {
  Image a;
  Image b;
  a.Resize(10000);
  b.Resize(10000);
  b.Write(0, std::vector<std::byte>(5000));  // zeroes are as good as nothing
  EXPECT_TRUE(a == b);
  b.Write(9999, std::vector<std::byte>(1, std::byte{1}));
  EXPECT_FALSE(a == b);
  b.Punch(9000, 5000);
  EXPECT_TRUE(a == b);
  b.Resize(10001);
  EXPECT_FALSE(a == b);
}

}  // namespace
}  // namespace cow::test
