// The volume that the image fuzzer damages: small, and with something of everything.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/store/image.h"

namespace cow::fuzz {

// As a crash leaves it: with a file that was removed while it was open, frames that wait to be
// free, and references still to be counted. The same bytes in every process, but for those in the
// frame that names the writer.
test::Image BaseVolume();

// The frames of an image that a patch may change: all that have content, in order.
std::vector<uint64_t> FramesOf(const test::Image& image);

}  // namespace cow::fuzz
