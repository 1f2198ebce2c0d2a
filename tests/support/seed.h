// The seed of random tests: fixed, so that a run repeats, and settable, so that a search can go on.
#pragma once

#include <cstdint>

namespace cow::test {

// COW_SEED of the environment, or else `fallback`. Prints it and records it with the running test,
// so that a failure can be replayed.
uint64_t Seed(uint64_t fallback);

}  // namespace cow::test
