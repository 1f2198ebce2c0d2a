#include "tools/cowctl/progress.h"

#include <algorithm>

#include "tools/cowctl/output.h"

namespace cow::ctl {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(100);

std::string Duration(uint64_t seconds) {
  if (seconds < 60) return std::to_string(seconds) + " s";
  if (seconds < 3600) {
    return std::to_string(seconds / 60) + " min " + std::to_string(seconds % 60) + " s";
  }
  return std::to_string(seconds / 3600) + " h " + std::to_string(seconds / 60 % 60) + " min";
}

}  // namespace

std::string ProgressText(uint64_t done_bytes, uint64_t total_bytes,
                         std::chrono::milliseconds elapsed) {
  std::string text;
  if (total_bytes > 0) {
    const double share =
        std::min(1.0, static_cast<double>(done_bytes) / static_cast<double>(total_bytes));
    text = std::to_string(static_cast<int>(share * 100)) + "%  ";
  }
  text += Bytes(done_bytes, false);
  if (total_bytes > 0) text += " of " + Bytes(total_bytes, false);
  const double seconds = static_cast<double>(elapsed.count()) / 1000;
  const double rate = seconds > 0 ? static_cast<double>(done_bytes) / seconds : 0;
  if (rate < 1) return text;
  text += "  " + Bytes(static_cast<uint64_t>(rate), false) + "/s";
  if (total_bytes > done_bytes) {
    const double left = static_cast<double>(total_bytes - done_bytes) / rate;
    text += "  " + Duration(static_cast<uint64_t>(left + 0.5)) + " left";
  }
  return text;
}

Progress::~Progress() {
  if (width_ > 0) out_ << '\r' << std::string(width_, ' ') << '\r' << std::flush;
}

void Progress::Update(uint64_t done_bytes, uint64_t total_bytes) {
  const Clock::time_point now = Clock::now();
  if (!shown_ || now - last_ < kInterval) return;
  last_ = now;
  const std::string text = ProgressText(
      done_bytes, total_bytes, std::chrono::duration_cast<std::chrono::milliseconds>(now - start_));
  width_ = std::max(width_, text.size());
  out_ << '\r' << text << std::string(width_ - text.size(), ' ') << std::flush;
}

}  // namespace cow::ctl
