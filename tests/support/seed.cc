#include "tests/support/seed.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace cow::test {

uint64_t Seed(uint64_t fallback) {
  const char* text = std::getenv("COW_SEED");
  uint64_t seed = text == nullptr ? fallback : std::strtoull(text, nullptr, 0);
  std::printf("COW_SEED=%llu\n", static_cast<unsigned long long>(seed));
  ::testing::Test::RecordProperty("seed", std::to_string(seed));
  return seed;
}

}  // namespace cow::test
