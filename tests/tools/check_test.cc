// cowctl check and its repair, of volumes that are damaged.
#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cow/volume.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"
#include "tests/tools/fake_target.h"

namespace cow::ctl {
namespace {

using ::testing::HasSubstr;

class CheckCommand : public ::testing::Test {
 protected:
  CheckCommand() : volume_(directory_ / "v.cow") {}

  // A file of `count` pages of a letter.
  void Fill(const std::string& path, size_t count, char letter) {
    auto volume = Volume::Open(volume_);
    ASSERT_TRUE(volume.ok()) << volume.status();
    auto file = volume->CreateFile(path);
    ASSERT_TRUE(file.ok()) << file.status();
    const std::vector<std::byte> bytes(count * 4096, static_cast<std::byte>(letter));
    ASSERT_TRUE(file->Write(0, bytes).ok());
    ASSERT_TRUE(volume->Sync().ok());
  }

  test::TemporaryDirectory directory_;
  const std::string volume_;
};

// Writes one byte of the volume file over.
void Damage(const std::string& volume, off_t at) {
  const int file = open(volume.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(file, 0);
  unsigned char byte = 0;
  ASSERT_EQ(pread(file, &byte, 1, at), 1);
  byte ^= 0x10;
  ASSERT_EQ(pwrite(file, &byte, 1, at), 1);
  close(file);
}

TEST_F(CheckCommand, CheckNamesWhatIsDamagedAndRepairMendsCounts) {
  Do({"create", volume_});
  Fill("/data.bin", 40, 'a');
  EXPECT_THAT(Do({"check", "--repair", volume_}), HasSubstr("no damage"));
  // The counts of the first frames: one of each pair of frames is current.
  for (const off_t frame : {8, 9}) Damage(volume_, frame * 4096 + 40);
  const Ran found = RunCowctl({"check", volume_});
  EXPECT_EQ(found.status, kFailed);
  EXPECT_THAT(found.out, HasSubstr("count"));
  const std::string mended = Do({"check", "--repair", volume_});
  EXPECT_THAT(mended, HasSubstr("mended"));
  EXPECT_THAT(mended, HasSubstr("no damage left"));
  const auto json = nlohmann::json::parse(Do({"check", "--json", "--repair", volume_}));
  EXPECT_EQ(json["repaired"]["found"], 0);
  EXPECT_EQ(json["damaged"], false);
}

TEST_F(CheckCommand, CheckNamesTheFileAndThePageOfRot) {
  Do({"create", volume_});
  Fill("/data.bin", 40, 'b');
  // The page is found by what is in it.
  const int file = open(volume_.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(file, 0);
  char byte = 0;
  off_t at = 536 * 4096;  // behind the header
  while (pread(file, &byte, 1, at) == 1 && byte != 'b') at += 4096;
  close(file);
  ASSERT_EQ(byte, 'b');
  Damage(volume_, at + 3 * 4096 + 7);
  const Ran found = RunCowctl({"check", volume_});
  EXPECT_EQ(found.status, kFailed);
  EXPECT_THAT(found.out, HasSubstr("/data.bin, page 3 (at byte 12288): frame "));
  const Ran repaired = RunCowctl({"check", "--repair", volume_});
  EXPECT_EQ(repaired.status, kFailed);
  EXPECT_THAT(repaired.out, HasSubstr("1 damage left"));
}

TEST_F(CheckCommand, RepairIsNotForAMount) {
  const Ran ran = RunCowctl({"check", "--repair", "/"});
  EXPECT_EQ(ran.status, kUsage);
  EXPECT_THAT(ran.err, HasSubstr("not mounted"));
}

}  // namespace
}  // namespace cow::ctl
