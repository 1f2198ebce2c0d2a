// Sizes in bytes, spelled as people say them: 8 * cow::kGiB.
//
// Every size, length and offset in the public interface is a count of bytes.
#pragma once

#include <cstdint>

namespace cow {

inline constexpr uint64_t kKiB = uint64_t{1} << 10;
inline constexpr uint64_t kMiB = uint64_t{1} << 20;
inline constexpr uint64_t kGiB = uint64_t{1} << 30;
inline constexpr uint64_t kTiB = uint64_t{1} << 40;

}  // namespace cow
