// Mistakes in the arguments: each names its culprit, and shows how the command is called.
#include <cerrno>
#include <string>
#include <vector>

#include "cow/base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/fake_target.h"
#include "tools/cowctl/commands.h"
#include "tools/cowctl/size.h"

namespace cow::ctl {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

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

TEST_F(Usage, UnknownCommandIsNamedAndTheHelpPointedTo) {
  EXPECT_EQ(Mistake({"lst", "m"}),
            "cowctl: unknown command \"lst\"; cowctl --help shows the commands\n"
            "usage: cowctl COMMAND [OPTIONS] [ARGUMENTS]\n");
  EXPECT_EQ(Mistake({"tree", "creat", "v.cow:/t"}),
            "cowctl tree: unknown command \"creat\"; cowctl tree --help shows the commands\n"
            "usage: cowctl tree COMMAND [OPTIONS] [ARGUMENTS]\n");
  EXPECT_THAT(Mistake({"lst", "list", "v.cow:/"}), StartsWith("cowctl: unknown command \"lst\";"));
  EXPECT_THAT(Mistake({}), StartsWith("cowctl: a command is missing;"));
  EXPECT_THAT(Mistake({"tree"}), StartsWith("cowctl tree: a command is missing;"));
  EXPECT_THAT(Mistake({"a\nb"}), StartsWith("cowctl: unknown command \"a\\012b\";"));
}

TEST_F(Usage, SurplusOperandIsNamedAlsoWhereItIsACommand) {
  EXPECT_EQ(Mistake({"snapshot", "v.cow:/a@m", "more"}),
            "cowctl snapshot: \"more\" is one argument too many: it takes one PATH@NAME at a time\n"
            "usage: cowctl snapshot PATH@NAME\n");
  EXPECT_THAT(Mistake({"list", "v.cow:/a", "v.cow:/b"}), HasSubstr("it takes one PATH at a time"));
  EXPECT_THAT(Mistake({"check", "v.cow", "w.cow"}),
              HasSubstr("it takes one VOLUME|MOUNT at a time"));
  EXPECT_THAT(Mistake({"rename", "v.cow:/a@m", "n", "list"}), HasSubstr("\"list\" is one"));
  EXPECT_THAT(Mistake({"tree", "create", "v.cow:/t", "list"}), HasSubstr("\"list\" is one"));
}

TEST_F(Usage, DestroyTakesSeveralAndBeginsWhenAllAreNames) {
  const Ran ran = RunOn(volume_, {"destroy", "v.cow:/a@1", "v.cow:/b@2", "--json"});
  EXPECT_EQ(ran.status, kDone) << ran.err;
  ASSERT_EQ(volume_.requests.size(), 2u);
  EXPECT_EQ(volume_.requests[1].path, "b");
  EXPECT_EQ(RunOn(volume_, {"destroy", "v.cow:/a@1", "v.cow:/b@2"}).out,
            "destroyed v.cow:/a@1\ndestroyed v.cow:/b@2\n");
  volume_.requests.clear();
  EXPECT_EQ(Mistake({"destroy", "v.cow:/a@1", "v.cow:/b"}),
            "cowctl destroy: v.cow:/b: not of the form PATH@NAME\n"
            "usage: cowctl destroy PATH@NAME...\n");
  EXPECT_THAT(Mistake({"destroy"}), StartsWith("cowctl destroy: PATH@NAME is required\n"));
  volume_.failure = MakeError(absl::StatusCode::kNotFound, ENOENT, "gone");
  const Ran failed = RunOn(volume_, {"destroy", "v.cow:/a@1", "v.cow:/b@2"});
  EXPECT_EQ(failed.status, kFailed);
  EXPECT_THAT(failed.err, StartsWith("cowctl destroy: v.cow:/a@1: "));
  EXPECT_THAT(failed.err, ::testing::Not(HasSubstr("b@2")));
}

TEST_F(Usage, EmptyOperandIsAMistakeAndNotTheCurrentDirectory) {
  for (const CommandSpec& spec : Commands()) {
    std::vector<std::string> arguments = {spec.name};
    if (arguments[0] == "tree create") arguments = {"tree", "create"};
    for (const Operand& operand : spec.operands) {
      if (operand.name != nullptr) arguments.emplace_back("");
    }
    EXPECT_THAT(Mistake(arguments), HasSubstr(": an empty argument\n")) << spec.name;
  }
}

TEST_F(Usage, MissingOperandIsNamed) {
  EXPECT_EQ(Mistake({"rename", "v.cow:/a@m"}),
            "cowctl rename: NEW is required\n"
            "usage: cowctl rename PATH@OLD NEW\n");
  EXPECT_THAT(Mistake({"tree", "create"}), StartsWith("cowctl tree create: PATH is required\n"));
}

TEST_F(Usage, UnknownOptionIsNamed) {
  EXPECT_EQ(Mistake({"list", "--sapce", "v.cow:/"}),
            "cowctl list: unknown option \"--sapce\"\n"
            "usage: cowctl list [--space] [PATH]\n");
  EXPECT_THAT(Mistake({"list", "-Hx", "v.cow:/"}),
              StartsWith("cowctl list: unknown option \"-x\""));
  EXPECT_THAT(Mistake({"--space", "list", "v.cow:/"}),
              StartsWith("cowctl: unknown option \"--space\""));
}

TEST_F(Usage, OptionsOfTheOutputAreTakenBeforeTheCommandToo) {
  for (const auto& [before, after] : std::vector<std::pair<std::string, std::string>>{
           {"--json", "stat"}, {"-H", "stat"}, {"-p", "stat"}, {"-Hp", "list"}}) {
    const Ran expected = RunOn(volume_, {after, before, "v.cow:/a"});
    const Ran ran = RunOn(volume_, {before, after, "v.cow:/a"});
    EXPECT_EQ(ran.status, kDone) << before << ran.err;
    EXPECT_EQ(ran.out, expected.out) << before;
  }
  EXPECT_THAT(RunOn(volume_, {"tree", "--json", "create", "v.cow:/t"}).out, StartsWith("{"));
}

TEST_F(Usage, SizeThatIsNoneIsNamedWithAnExample) {
  for (const char* size : {"-5", "99999999999999999999", "4.5M", "1Q", ""}) {
    EXPECT_EQ(Mistake({"create", "v.cow", "--size", size}),
              std::string("cowctl create: --size \"") + size +
                  "\": not a size, as in --size 512M\n"
                  "usage: cowctl create [--size BYTES] VOLUME\n");
  }
  EXPECT_THAT(Mistake({"create", "v.cow", "--size"}), HasSubstr("--size takes one value"));
  EXPECT_THAT(Mistake({"create", "v.cow", "--size", "5M", "--size", "6M"}),
              HasSubstr("--size takes one value"));
}

TEST_F(Usage, EmptyNameOfASnapshotIsAMistake) {
  EXPECT_EQ(Mistake({"snapshot", "v.cow:/a@"}),
            "cowctl snapshot: \"\" is no name for a snapshot: 1 to 255 bytes without / and @\n"
            "usage: cowctl snapshot PATH@NAME\n");
}

TEST_F(Usage, RatesThatAreNoneAreMistakes) {
  EXPECT_THAT(Mistake({"check", "--rate", "fast", "v.cow"}),
              HasSubstr("--rate \"fast\": not a size, as in --rate 100M\n"));
  EXPECT_THAT(Mistake({"check", "v.cow", "--rate"}), HasSubstr("--rate takes one value"));
  const std::string help = RunOn(volume_, {"check", "--help"}).out;
  EXPECT_THAT(help, HasSubstr("0, or without it: as fast as it goes"));
  EXPECT_THAT(help, HasSubstr("superblock"));
}

TEST_F(Usage, CheckOfAPathInAVolumeIsAMistake) {
  EXPECT_EQ(Mistake({"check", "v.cow:/a"}),
            "cowctl check: v.cow:/a: a check is of a whole volume: leave the path away\n"
            "usage: cowctl check [--rate BYTES] [--repair] VOLUME|MOUNT\n");
  EXPECT_EQ(RunOn(volume_, {"check", "v.cow:/"}).status, kDone);
}

TEST_F(Usage, HelpOfEachCommandTellsItsOperandsAndAnExample) {
  for (const CommandSpec& spec : Commands()) {
    std::vector<std::string> arguments = {spec.name, "--help"};
    if (arguments[0] == "tree create") arguments = {"tree", "create", "--help"};
    const Ran ran = RunOn(volume_, arguments);
    EXPECT_EQ(ran.status, kDone) << spec.name;
    for (const Operand& operand : spec.operands) {
      if (operand.name == nullptr) continue;
      EXPECT_THAT(ran.out, HasSubstr(operand.meaning));
      if (std::string(operand.name).find("PATH") == std::string::npos) continue;
      EXPECT_THAT(ran.out, HasSubstr("VOLUME:/path in a volume that is not mounted"));
    }
    EXPECT_THAT(ran.out, EndsWith(std::string("Example: ") + spec.example + "\n"));
  }
  EXPECT_THAT(RunOn(volume_, {"--help"}).out, HasSubstr("PATH@NAME is the snapshot NAME"));
}

TEST(Size, IsDigitsAndAtMostOneUnit) {
  EXPECT_EQ(ParseSize("0"), 0);
  EXPECT_EQ(ParseSize("4194304"), 4194304);
  EXPECT_EQ(ParseSize("4194304B"), 4194304);
  EXPECT_EQ(ParseSize("512K"), 512u << 10);
  EXPECT_EQ(ParseSize("512MB"), 512u << 20);
  EXPECT_EQ(ParseSize("3GiB"), uint64_t{3} << 30);
  EXPECT_EQ(ParseSize("4T"), uint64_t{4} << 40);
  EXPECT_EQ(ParseSize("5P"), uint64_t{5} << 50);
  EXPECT_EQ(ParseSize("15E"), uint64_t{15} << 60);
  EXPECT_EQ(ParseSize("18446744073709551615"), UINT64_MAX);
  for (const char* text : {"", " 1", "1 ", "+1", "-1", "M", "1.5M", "1 M", "1iB", "1MiBB", "1KK",
                           "1Q", "0x10", "16E", "18446744073709551616"}) {
    EXPECT_EQ(ParseSize(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace cow::ctl
