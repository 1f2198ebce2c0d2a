// The trace points that are documented are those in the built programs.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cow {
namespace {

using ::testing::Contains;

using Probes = std::map<std::string, int>;  // name and number of arguments

std::string OutputOf(const std::string& command) {
  std::string output;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return output;
  char buffer[4096];
  for (size_t size; (size = fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    output.append(buffer, size);
  }
  pclose(pipe);
  return output;
}

// As readelf shows a note: "Provider: cow", "Name: free", "Location: ...", "Arguments: 8@%rax".
Probes InBinary(const std::string& path) {
  static const std::regex kNote(
      "Provider: cow\n *Name: (\\w+)\n *Location:[^\n]*\n *Arguments:([^\n]*)\n");
  const std::string notes = OutputOf("LC_ALL=C readelf -n '" + path + "'");
  Probes probes;
  for (std::sregex_iterator it(notes.begin(), notes.end(), kNote), end; it != end; ++it) {
    const std::string arguments = (*it)[2];
    probes[(*it)[1]] = static_cast<int>(std::ranges::count(arguments, '@'));
  }
  return probes;
}

// Rows of the table: "| `free` | a frame may be handed out again | frame |".
Probes InReadme() {
  std::ifstream file(COW_SOURCE "/cow/README.md");
  Probes probes;
  bool in_section = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("## ")) in_section = line == "## Counting and tracing";
    if (!in_section || !line.starts_with("| `")) continue;
    std::istringstream row(line);
    std::string name;
    std::string arguments;
    std::getline(row, name, '`');
    std::getline(row, name, '`');
    for (int column = 0; column < 3; ++column) std::getline(row, arguments, '|');
    // What stands in brackets, or after a colon, explains the argument before it.
    arguments = std::regex_replace(arguments, std::regex("\\([^)]*\\)|:.*"), "");
    probes[name] =
        arguments == " - " ? 0 : 1 + static_cast<int>(std::ranges::count(arguments, ','));
  }
  return probes;
}

class Trace : public ::testing::Test {
 protected:
  void SetUp() override {
#ifndef COW_HAS_SDT
    GTEST_SKIP() << "built without sys/sdt.h";
#endif
    if (OutputOf("readelf --version").empty()) GTEST_SKIP() << "readelf is missing";
  }
};

// It links all of the library.
TEST_F(Trace, PointsInCowctlAreThoseInTheReadme) {
  const Probes documented = InReadme();
  EXPECT_GE(documented.size(), 7u);
  EXPECT_EQ(InBinary(COWCTL), documented);
}

TEST_F(Trace, PointsOfTheStoreAreInCowfs) {
  const Probes documented = InReadme();
  const Probes found = InBinary(COWFS);
  for (const char* name : {"commit__begin", "commit__end", "allocate", "free", "fold"}) {
    EXPECT_THAT(found, Contains(*documented.find(name)));
  }
}

}  // namespace
}  // namespace cow
