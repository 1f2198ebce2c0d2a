// A filesystem of a test's own, to be filled up: an ext4 (or other) in an image in memory, which needs root.
//
// Only this process and its children see it, and nothing but its mount holds the loop device and the
// image. So the kernel takes all of it away with the process, however that ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tests/support/temporary_directory.h"

namespace cow::test {

// Skips the running test where there can be none.
#define REQUIRE_SMALL_FILESYSTEM() \
  if (const std::string why = cow::test::WhyNoFilesystem(); !why.empty()) GTEST_SKIP() << why

std::string WhyNoFilesystem(const std::string& type = "ext4");

// Bytes to fill it with, which follow from the seed.
std::string Content(size_t size, uint32_t seed);

class SmallFilesystem {
 public:
  // Fails the test where it cannot be made. Threads of this process that run already do not see it.
  explicit SmallFilesystem(uint64_t bytes, const std::string& type = "ext4");
  ~SmallFilesystem();
  SmallFilesystem(const SmallFilesystem&) = delete;
  SmallFilesystem& operator=(const SmallFilesystem&) = delete;

  // Path of `name` in it.
  std::string operator/(std::string_view name) const;
  uint64_t FreeBytes() const;
  // A file that takes all space but `left` bytes.
  void Fill(std::string_view name, uint64_t left = 0);

 private:
  TemporaryDirectory directory_;
  const std::string mountpoint_;
};

}  // namespace cow::test
