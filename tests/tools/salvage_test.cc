// cowctl salvage, of a volume on disk.
#include "cow/salvage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "cow/volume.h"
#include "tests/support/temporary_directory.h"
#include "tests/tools/fake_target.h"

namespace cow::ctl {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class SalvageCommand : public ::testing::Test {
 protected:
  // A volume with a file of three pages and a snapshot of it.
  SalvageCommand() : volume_(directory_ / "v.cow"), out_(directory_ / "out") {
    auto volume = Volume::Open(volume_, {.create = true});
    EXPECT_TRUE(volume.ok()) << volume.status();
    auto file = volume->CreateFile("/f");
    for (int page = 0; page < 3; ++page) {
      const std::string text(4096, static_cast<char>('p' + page));
      EXPECT_TRUE(file->Write(page * 4096, std::as_bytes(std::span(text))).ok());
    }
    EXPECT_TRUE(file->TakeSnapshot("mon").ok());
    EXPECT_TRUE(volume->Sync().ok());
  }

  static std::string Read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  // The frame that the second page is in gets another byte.
  void Rot() {
    const size_t at = Read(volume_).find(std::string(4096, 'q'));
    ASSERT_NE(at, std::string::npos);
    std::fstream disk(volume_, std::ios::binary | std::ios::in | std::ios::out);
    disk.seekp(static_cast<std::streamoff>(at) + 100);
    disk.put('!');
  }

  test::TemporaryDirectory directory_;
  const std::string volume_;
  const std::string out_;
};

TEST_F(SalvageCommand, CopiesASoundVolumeAndSaysThatNothingIsLost) {
  const Ran ran = RunCowctl({"salvage", volume_, out_});
  EXPECT_EQ(ran.status, kDone) << ran.err;
  EXPECT_EQ(ran.out, "salvaged 1 file, 1 snapshot, 24K; lost nothing\n");
  EXPECT_EQ(Read(out_ + "/live/f"), Read(out_ + "/snapshots/f@mon"));
  EXPECT_EQ(Read(out_ + "/live/f").size(), 3 * 4096u);
  EXPECT_EQ(RunCowctl({"salvage", "-H", volume_, out_ + "2"}).out, "");
}

TEST_F(SalvageCommand, OfAVolumeThatIsWrittenIsTheCommitThatWasLastInTheBeginning) {
  constexpr int kFiles = 20;
  auto writer = Volume::Open(volume_);
  ASSERT_TRUE(writer.ok()) << writer.status();
  const auto write_all = [&](char letter) {
    const std::string text(3 * 4096, letter);
    for (int i = 0; i < kFiles; ++i) {
      const std::string path = "/f" + std::to_string(i);
      auto file = letter == 'a' ? writer->CreateFile(path) : writer->OpenFile(path);
      ASSERT_TRUE(file->Write(0, std::as_bytes(std::span(text))).ok());
    }
    ASSERT_TRUE(writer->Sync().ok());
  };
  write_all('a');
  char letter = 'a';
  const auto result = Salvage(volume_, out_, [&](uint64_t) {
    // Each commit would take the place of what the one before the last has freed.
    if (letter < 'f') write_all(++letter);
  });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(letter, 'f');
  EXPECT_TRUE(result->losses.empty());
  for (int i = 0; i < kFiles; ++i) {
    EXPECT_EQ(Read(out_ + "/live/f" + std::to_string(i)), std::string(3 * 4096, 'a')) << i;
  }
}

TEST_F(SalvageCommand, NamesWhatIsLostAndCopiesTheRest) {
  Rot();
  const Ran ran = RunCowctl({"salvage", volume_, out_});
  EXPECT_EQ(ran.status, kFailed);
  EXPECT_EQ(ran.err, "");
  EXPECT_THAT(ran.out, StartsWith("/f: bytes 4096 to 8192 lost: frame "));
  EXPECT_THAT(ran.out, HasSubstr("checksum does not match\n"
                                 "/f@mon: bytes 4096 to 8192 lost: frame "));
  EXPECT_THAT(ran.out,
              HasSubstr("\nsalvaged 1 file, 1 snapshot, 16K; lost 2 parts, 8.0K of content\n"));
  EXPECT_EQ(Read(out_ + "/live/f"),
            std::string(4096, 'p') + std::string(4096, '\0') + std::string(4096, 'r'));
}

TEST_F(SalvageCommand, LossesAsJsonAndForScripts) {
  Rot();
  const nlohmann::json result =
      nlohmann::json::parse(RunCowctl({"salvage", "--json", volume_, out_}).out);
  EXPECT_EQ(result["volume"], volume_);
  EXPECT_EQ(result["directory"], out_);
  EXPECT_EQ(result["files"], 1);
  EXPECT_EQ(result["snapshots"], 1);
  EXPECT_EQ(result["bytes"], 4 * 4096);
  ASSERT_EQ(result["losses"].size(), 2u);
  EXPECT_EQ(result["losses"][1]["path"], "/f@mon");
  EXPECT_EQ(result["losses"][1]["part"], "bytes 4096 to 8192");
  EXPECT_EQ(result["losses"][1]["begin"], 4096);
  EXPECT_EQ(result["losses"][1]["end"], 8192);
  EXPECT_THAT(std::string(result["losses"][1]["cause"]), HasSubstr("checksum"));
  EXPECT_THAT(RunCowctl({"salvage", "-H", volume_, out_ + "2"}).out,
              StartsWith("/f\tbytes 4096 to 8192\tframe "));
}

TEST_F(SalvageCommand, ErrorsNameTheVolumeOrTheDirectory) {
  std::filesystem::create_directory(out_);
  std::ofstream(out_ + "/mine") << "kept";
  Ran ran = RunCowctl({"salvage", volume_, out_});
  EXPECT_EQ(ran.status, kFailed);
  EXPECT_THAT(ran.err, StartsWith("cowctl salvage: " + out_ + ": Directory not empty"));
  ran = RunCowctl({"salvage", volume_ + ".none", out_ + "2"});
  EXPECT_EQ(ran.status, kFailed);
  EXPECT_THAT(ran.err, HasSubstr(volume_ + ".none: open: No such file"));
  ran = RunCowctl({"salvage", out_ + "/mine", out_ + "2"});
  EXPECT_EQ(ran.status, kFailed);
  EXPECT_THAT(ran.err, HasSubstr("not a cow volume"));
  EXPECT_FALSE(std::filesystem::exists(out_ + "2"));
  EXPECT_EQ(RunCowctl({"salvage", volume_}).status, kUsage);
}

TEST_F(SalvageCommand, VolumeWithoutASuperblockIsAnErrorThatSaysSo) {
  std::fstream disk(volume_, std::ios::binary | std::ios::in | std::ios::out);
  for (const int frame : {0, 1, 530, 531}) {
    disk.seekp(frame * 4096 + 100);
    disk.put('!');
  }
  disk.close();
  const Ran ran = RunCowctl({"salvage", volume_, out_});
  EXPECT_EQ(ran.status, kFailed);
  EXPECT_THAT(ran.err, HasSubstr("superblock"));
}

}  // namespace
}  // namespace cow::ctl
