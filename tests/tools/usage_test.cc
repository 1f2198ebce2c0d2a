// Mistakes in the arguments: each names its culprit, and shows how the command is called.
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/tools/fake_target.h"

namespace cow::ctl {
namespace {

class Usage : public ::testing::Test {
 protected:
  // What is said to the person; nothing is asked of the volume.
  std::string Mistake(const std::vector<std::string>& arguments) {
    const Ran ran = RunOn(volume_, arguments);
    EXPECT_EQ(ran.status, kUsage) << ::testing::PrintToString(arguments) << ran.err;
    EXPECT_EQ(ran.out, "");
    EXPECT_TRUE(volume_.requests.empty());
    return ran.err;
  }

  FakeVolume volume_;
};

TEST_F(Usage, EmptyNameOfASnapshotIsAMistake) {
  EXPECT_EQ(Mistake({"snapshot", "v.cow:/a@"}),
            "cowctl snapshot: \"\" is no name for a snapshot: 1 to 255 bytes without / and @\n"
            "usage: cowctl snapshot PATH@NAME\n");
}

TEST_F(Usage, CheckOfAPathInAVolumeIsAMistake) {
  EXPECT_EQ(Mistake({"check", "v.cow:/a"}),
            "cowctl check: v.cow:/a: a check is of a whole volume: leave the path away\n"
            "usage: cowctl check VOLUME|MOUNT\n");
  EXPECT_EQ(RunOn(volume_, {"check", "v.cow:/"}).status, kDone);
}

}  // namespace
}  // namespace cow::ctl
