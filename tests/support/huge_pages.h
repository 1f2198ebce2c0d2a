// Files whose cache holds huge pages.
#pragma once

#include <cstdint>

namespace cow::test {

// Turns the cache of a file in memory, which is `size` bytes long, a multiple of 2 MiB, into pages
// of 2 MiB. False where the kernel cannot (before 6.1, or no huge page is free).
bool MakeHugePages(int descriptor, uint64_t size);

}  // namespace cow::test
