// How results are written: for people, for scripts (-H -p), as JSON.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace cow::ctl {

struct Format {
  bool script = false;  // -H: no header, fields separated by tabs
  bool exact = false;   // -p: bytes and seconds as plain numbers
  bool json = false;
};

// "512B", "4.0K", "12M"; with `exact` the number itself.
std::string Bytes(uint64_t bytes, bool exact);

// "2026-11-24 13:05" in local time; with `exact`, seconds since 1970. "-" for 0, which is not
// known.
std::string Time(int64_t nanoseconds, bool exact);

// A name on one line and in one field: control characters and backslashes as \ooo, as in
// /proc/mounts.
std::string Escaped(std::string_view name);

// Rows in columns. The first row is the header. Columns but the first `left` stand to the right.
class Table {
 public:
  Table(std::vector<std::string> header, size_t left) : left_(left), rows_{std::move(header)} {}
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  void Print(const Format& format, std::ostream& out) const;

 private:
  size_t left_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace cow::ctl
