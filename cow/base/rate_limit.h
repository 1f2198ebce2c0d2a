// Keeps work to a rate: says how long to wait after each piece of it.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace cow {

// Thread safety: none.
class RateLimit {
 public:
  using Clock = std::chrono::steady_clock;

  // 0: no limit.
  explicit RateLimit(uint64_t per_second = 0) : per_second_(per_second) {}

  // `amount` more was done until `now`; the next piece is due then. Time that was not used is not
  // made up for, but for a little: waits end late.
  Clock::time_point Spend(uint64_t amount, Clock::time_point now) {
    if (per_second_ == 0) return now;
    constexpr std::chrono::milliseconds kLate(50);
    const std::chrono::duration<double> cost(static_cast<double>(amount) /
                                             static_cast<double>(per_second_));
    due_ = std::max(due_, now - kLate) + std::chrono::duration_cast<Clock::duration>(cost);
    return std::max(due_, now);
  }

 private:
  uint64_t per_second_;
  Clock::time_point due_ = Clock::time_point::min();
};

}  // namespace cow
