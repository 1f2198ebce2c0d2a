#include "tools/cowctl/size.h"

#include <charconv>

namespace cow::ctl {

std::optional<uint64_t> ParseSize(std::string_view text) {
  constexpr std::string_view kUnits = "KMGTPE";
  uint64_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(rest - text.data()));

  unsigned shift = 0;
  if (!text.empty()) {
    if (const size_t unit = kUnits.find(text.front()); unit != std::string_view::npos) {
      shift = 10 * (static_cast<unsigned>(unit) + 1);
      text.remove_prefix(1);
    }
  }
  const bool complete = text.empty() || text == "B" || (shift > 0 && text == "iB");
  if (!complete || number > UINT64_MAX >> shift) return std::nullopt;
  return number << shift;
}

}  // namespace cow::ctl
