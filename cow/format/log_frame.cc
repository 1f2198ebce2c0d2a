#include "cow/format/log_frame.h"

#include <cstring>

namespace cow::format {
namespace {

constexpr std::array<char, 4> kMagic = {'c', 'o', 'w', 'l'};

struct Raw {
  std::array<char, 4> magic;
  uint32_t count;
  uint64_t generation;
  uint64_t first;
  uint64_t reserved0;
  Entry previous;
  std::array<uint64_t, 2> reserved1;
  std::array<Entry, kItemsPerLogFrame> items;
};
static_assert(sizeof(Raw) == kPageSize);

}  // namespace

std::array<std::byte, kPageSize> EncodeLogFrame(const LogFrame& log_frame) {
  Raw raw = {};
  raw.magic = kMagic;
  raw.count = static_cast<uint32_t>(log_frame.items.size());
  raw.generation = log_frame.generation.value();
  raw.first = log_frame.first;
  raw.previous = log_frame.previous;
  std::memcpy(raw.items.data(), log_frame.items.data(), log_frame.items.size() * sizeof(Entry));
  std::array<std::byte, kPageSize> bytes;
  std::memcpy(bytes.data(), &raw, sizeof(raw));
  return bytes;
}

absl::StatusOr<LogFrame> DecodeLogFrame(std::span<const std::byte> bytes) {
  if (bytes.size() != kPageSize) return absl::InvalidArgumentError("not a whole frame");
  Raw raw;
  std::memcpy(&raw, bytes.data(), sizeof(raw));
  if (raw.magic != kMagic) return absl::DataLossError("not a frame of a log");
  if (raw.count == 0 || raw.count > kItemsPerLogFrame) {
    return absl::DataLossError("frame of a log: number of items out of range");
  }
  LogFrame log_frame;
  log_frame.generation = Generation(raw.generation);
  log_frame.first = raw.first;
  log_frame.previous = raw.previous;
  log_frame.items.assign(raw.items.begin(), raw.items.begin() + raw.count);
  return log_frame;
}

}  // namespace cow::format
