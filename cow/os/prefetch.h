// Reading ahead what will soon be read from a file.
#pragma once

#include <cstdint>

namespace cow::os {

// Begins to read a range into the kernel's cache of the file; does not wait. A hint: nothing where
// `descriptor` is -1, or the kernel has reasons.
void Prefetch(int descriptor, uint64_t offset, uint64_t length);

}  // namespace cow::os
