// What the examples have in common: they stop at the first surprise.
#pragma once

#include <cstdlib>
#include <iostream>
#include <utility>

#include "absl/status/statusor.h"

// Says what was expected, and ends the program, unless it is so.
inline void Expect(bool so, const char* what) {
  if (so) return;
  std::cerr << "not so: " << what << "\n";
  std::exit(1);
}

// The value, or the end of the program with the error.
template <typename T>
T Must(absl::StatusOr<T> result) {
  if (result.ok()) return std::move(result).value();
  std::cerr << result.status() << "\n";
  std::exit(1);
}

inline void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << status << "\n";
  std::exit(1);
}
