// The commands: one function each, and the table from which the command line is made.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/cowctl/output.h"
#include "tools/cowctl/run.h"
#include "tools/cowctl/target.h"

namespace cow::ctl {

// What a command was called with.
struct Arguments {
  std::array<std::string, 2> operands;
  std::vector<std::string> several;  // in place of the first, where that is X...
  std::optional<std::string> size;   // --size
  std::optional<std::string> rate;   // --rate
  bool space = false;                // --space
  bool repair = false;               // --repair
  bool unshare = false;              // --unshare
  std::optional<double> watch;       // --watch: seconds
  Format format;
};

// Writes its result to the environment. The value is the exit status; an error has not been written
// yet.
using CommandFunction = absl::StatusOr<int> (*)(const Arguments&, const Environment&);

struct Operand {
  const char* name = nullptr;  // as in the usage; [X] may be left away; nullptr: none
  const char* meaning = nullptr;
};

// Those that a command takes, beside those of Format.
struct Options {
  bool size = false;
  bool space = false;
  bool repair = false;
  bool rate = false;
  bool watch = false;
  bool unshare = false;
};

struct CommandSpec {
  const char* name;  // "tree create": create, of the group tree
  std::array<Operand, 2> operands;
  const char* summary;
  const char* example;
  CommandFunction function;
  Options options = {};
};

// What is wrong with a --watch that is no number, or none of seconds.
inline constexpr char kWatchText[] = "--watch takes seconds, as in --watch 5";

std::span<const CommandSpec> Commands();

absl::StatusOr<int> Create(const Arguments& arguments, const Environment& environment);
absl::StatusOr<int> TreeCreate(const Arguments& arguments, const Environment& environment);
absl::StatusOr<int> Snapshot(const Arguments& arguments, const Environment& environment);
absl::StatusOr<int> Clone(const Arguments& arguments, const Environment& environment);
absl::StatusOr<int> RollBack(const Arguments& arguments, const Environment& environment);
absl::StatusOr<int> Rename(const Arguments& arguments, const Environment& environment);
absl::StatusOr<int> Destroy(const Arguments& arguments, const Environment& environment);
absl::StatusOr<int> List(const Arguments& arguments, const Environment& environment);
absl::StatusOr<int> Stat(const Arguments& arguments, const Environment& environment);
absl::StatusOr<int> Check(const Arguments& arguments, const Environment& environment);
absl::StatusOr<int> Defragment(const Arguments& arguments, const Environment& environment);
absl::StatusOr<int> Salvage(const Arguments& arguments, const Environment& environment);
absl::StatusOr<int> Features(const Arguments& arguments, const Environment& environment);

// The one entry that `request` is answered with. Errors name `argument`, which `located` is of.
absl::StatusOr<control::Entry> ExecuteOne(const Located& located, const control::Request& request,
                                          const std::string& argument);

}  // namespace cow::ctl
