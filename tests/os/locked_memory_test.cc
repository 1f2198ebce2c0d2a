// Address ranges of a process that locks its memory (mlockall).
#include "tests/support/locked_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "cow/base/types.h"
#include "cow/os/address_range.h"
#include "cow/os/features.h"
#include "cow/os/file.h"
#include "cow/os/pagemap.h"
#include "gtest/gtest.h"

namespace cow::os {
namespace {

constexpr uint64_t kPages = 16384;
constexpr uint64_t kInFile = 64;

class LockedMemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::vector<std::byte> content(kInFile * kPageSize, std::byte{7});
    ASSERT_TRUE(file_->Write(0, content).ok());
  }
  // A range with a map of the file at its start; the rest is a hole.
  AddressRange Range() {
    auto range = AddressRange::Reserve(kPages * kPageSize, 2 << 20, Protection::kReadWrite).value();
    EXPECT_TRUE(
        range.MapFile(0, kInFile * kPageSize, file_->descriptor(), 0, Protection::kReadWrite).ok());
    return range;
  }

  static void WriteDropAndRead(AddressRange& range) {
    auto* const memory = reinterpret_cast<volatile std::byte*>(range.data());
    for (const uint64_t page : {uint64_t{1}, kInFile + 1}) memory[page * kPageSize] = std::byte{99};
    ASSERT_TRUE(range.Drop(0, range.size()).ok());
    EXPECT_EQ(std::byte{memory[1 * kPageSize]}, std::byte{7});
    EXPECT_EQ(std::byte{memory[(kInFile + 1) * kPageSize]}, std::byte{0});
  }

  const std::unique_ptr<File> file_ = OpenMemoryFile("locked").value();
};

TEST_F(LockedMemoryTest, WhatIsReservedLaterIsNeitherFilledNorCopied) {
  const test::LockedMemory locked;
  if (!locked.may()) GTEST_SKIP() << "may not lock memory";
  AddressRange range = Range();
  std::vector<unsigned char> resident(kPages);
  ASSERT_EQ(mincore(range.data(), range.size(), resident.data()), 0);
  EXPECT_EQ(std::count(resident.begin() + kInFile, resident.end(), 1), 0) << "memory for a hole";
  if (UsableFeatures().pagemap) {
    MemoryRuns found;
    ASSERT_TRUE(Pagemap::Open()->FindPrivate({range.data(), kInFile * kPageSize}, found).ok());
    EXPECT_TRUE(found.empty()) << "pages of the file were copied";
  }
  WriteDropAndRead(range);
}

TEST_F(LockedMemoryTest, WhatIsLockedAfterwardsCanBeDropped) {
  AddressRange range = Range();
  if (mlock(range.data(), (kInFile + 2) * kPageSize) != 0) GTEST_SKIP() << "may not lock memory";
  WriteDropAndRead(range);
}

}  // namespace
}  // namespace cow::os
