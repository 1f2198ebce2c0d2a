#include <unistd.h>

#include <iostream>
#include <string>
#include <vector>

#include "tools/cowctl/run.h"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  const int status = cow::ctl::Run(
      arguments,
      {.out = std::cout, .err = std::cerr, .err_is_terminal = isatty(STDERR_FILENO) == 1});
  std::cout.flush();
  if (!std::cout) {
    std::cerr << "cowctl: the result cannot be written to the standard output\n";
    return cow::ctl::kFailed;
  }
  return status;
}
