// What the benchmarks share: a clock, the best of several rounds, one line of JSON a result.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace bench {

inline double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A benchmark that fails has no figure: it says why and ends.
inline void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << status << "\n";
  std::exit(1);
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  Must(value.status());
  return std::move(value).value();
}

// Time of ours and of the rival for the same work, and the ratio of their rates: above 1, ours is
// faster. `target` is what the ratio should reach; 0: no target.
inline void Report(const std::string& name, double ours, double rival, double target) {
  std::cout << nlohmann::json{{"name", name},
                              {"ours_us", ours * 1e6},
                              {"rival_us", rival * 1e6},
                              {"ratio", rival / ours},
                              {"target", target}}
                   .dump()
            << std::endl;
}

}  // namespace bench
