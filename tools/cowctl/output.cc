#include "tools/cowctl/output.h"

#include <algorithm>
#include <cstdio>
#include <ctime>

namespace cow::ctl {

std::string Bytes(uint64_t bytes, bool exact) {
  if (exact) return std::to_string(bytes);
  if (bytes < 1024) return std::to_string(bytes) + "B";
  double value = static_cast<double>(bytes);
  const char* unit = "BKMGTPE";
  // 1023.5 would be shown as 1024 of the smaller unit.
  while (value >= 1023.5 && unit[1] != '\0') {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, value < 9.95 ? "%.1f%c" : "%.0f%c", value, *unit);
  return text;
}

std::string Time(int64_t nanoseconds, bool exact) {
  if (nanoseconds == 0) return "-";
  const time_t seconds = static_cast<time_t>(nanoseconds / 1'000'000'000);
  if (exact) return std::to_string(seconds);
  struct tm local = {};
  char text[32];
  if (localtime_r(&seconds, &local) == nullptr ||
      std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &local) == 0) {
    return "-";
  }
  return text;
}

std::string Escaped(std::string_view name) {
  std::string result;
  for (const char c : name) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f && byte != '\\') {
      result += c;
      continue;
    }
    char text[8];
    std::snprintf(text, sizeof text, "\\%03o", byte);
    result += text;
  }
  return result;
}

namespace {

// Characters of UTF-8 text, which is what a terminal gives a column to.
size_t Width(const std::string& text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace

void Table::Print(const Format& format, std::ostream& out) const {
  std::vector<size_t> widths(rows_[0].size());
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  for (size_t r = format.script ? 1 : 0; r < rows_.size(); ++r) {
    std::string line;
    for (size_t i = 0; i < rows_[r].size(); ++i) {
      const std::string& cell = rows_[r][i];
      if (i > 0) line += format.script ? "\t" : "  ";
      const std::string padding(format.script ? 0 : widths[i] - Width(cell), ' ');
      line += i < left_ ? cell + padding : padding + cell;
    }
    if (!format.script) line.erase(line.find_last_not_of(' ') + 1);
    out << line << '\n';
  }
}

}  // namespace cow::ctl
