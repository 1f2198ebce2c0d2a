#include "fuse/mounts.h"

#include <sys/sysmacros.h>

#include <fstream>
#include <functional>
#include <sstream>
#include <vector>

namespace cow::fuse {
namespace {

struct Line {
  dev_t device = 0;
  std::string mountpoint;
  std::string type;
  std::string source;
};

// Blanks and backslashes stand as a backslash and three octal digits.
std::string Unescape(const std::string& text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      const int code = (text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0');
      result.push_back(static_cast<char>(code));
      i += 3;
    } else {
      result.push_back(text[i]);
    }
  }
  return result;
}

// ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS
std::optional<Line> Parse(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  size_t dash = 6;
  while (dash < words.size() && words[dash] != "-") ++dash;
  if (dash + 2 >= words.size()) return std::nullopt;
  unsigned major_number = 0;
  unsigned minor_number = 0;
  if (sscanf(words[2].c_str(), "%u:%u", &major_number, &minor_number) != 2) return std::nullopt;
  return Line{.device = makedev(major_number, minor_number),
              .mountpoint = Unescape(words[4]),
              .type = words[dash + 1],
              .source = Unescape(words[dash + 2])};
}

// The last one that fits: what was mounted later hides what was there.
std::optional<Line> Find(const std::function<bool(const Line&)>& fits) {
  std::ifstream mounts("/proc/self/mountinfo");
  std::optional<Line> found;
  for (std::string text; std::getline(mounts, text);) {
    std::optional<Line> line = Parse(text);
    if (line && fits(*line)) found = std::move(line);
  }
  return found;
}

}  // namespace

std::optional<dev_t> DeviceOfMount(const std::string& mountpoint) {
  const auto line = Find([&](const Line& l) { return l.mountpoint == mountpoint; });
  if (!line) return std::nullopt;
  return line->device;
}

std::optional<std::string> MountpointOf(const std::string& volume) {
  const auto line =
      Find([&](const Line& l) { return l.type == "fuse.cowfs" && l.source == volume; });
  if (!line) return std::nullopt;
  return line->mountpoint;
}

}  // namespace cow::fuse
