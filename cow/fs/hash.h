// SipHash-2-4: what names are ordered by. It is part of the format.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace cow::fs {

uint64_t SipHash(const std::array<uint64_t, 2>& seed, std::string_view bytes);

}  // namespace cow::fs
