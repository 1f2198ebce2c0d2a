// Sizes, as arguments name them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace cow::ctl {

// "4194304", "512M", "4TiB": digits, then at most one unit of K, M, G, T, P or E (of 1024 each), then
// B or, after a unit, iB. Nothing for all else, and for what is no 64-bit number of bytes.
std::optional<uint64_t> ParseSize(std::string_view text);

}  // namespace cow::ctl
