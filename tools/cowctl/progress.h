// One line on a terminal that says how far a long command is, how fast, and how long it will take.
#pragma once

#include <chrono>
#include <cstdint>
#include <ostream>
#include <string>

namespace cow::ctl {

// The text of the line: "42%  1.2G of 2.9G  310M/s  6 s left"; what is not known is left away.
std::string ProgressText(uint64_t done_bytes, uint64_t total_bytes,
                         std::chrono::milliseconds elapsed);

class Progress {
 public:
  // Writes nothing unless `shown`.
  Progress(std::ostream& out, bool shown) : out_(out), shown_(shown) {}
  // Takes the line away.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Update(uint64_t done_bytes, uint64_t total_bytes);

 private:
  using Clock = std::chrono::steady_clock;

  std::ostream& out_;
  const bool shown_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point last_;
  size_t width_ = 0;  // of what stands on the terminal
};

}  // namespace cow::ctl
