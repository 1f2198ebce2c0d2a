// cowctl without its process: what main() runs, and what tests call.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "tools/cowctl/target.h"

namespace cow::ctl {

// Exit status.
inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;

// What a command touches of the world.
struct Environment {
  std::ostream& out;
  std::ostream& err;
  bool err_is_terminal = false;  // progress is shown there
  Doors doors = {.mount = &OpenMount, .volume = &OpenVolume};
};

// Runs one command. `arguments` are those after the program's name.
int Run(const std::vector<std::string>& arguments, const Environment& environment);

}  // namespace cow::ctl
