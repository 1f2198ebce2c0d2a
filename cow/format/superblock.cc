#include "cow/format/superblock.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_format.h"
#include "cow/base/checksum.h"
#include "cow/base/status.h"
#include "cow/format/geometry.h"

namespace cow::format {
namespace {

constexpr std::array<char, 8> kMagic = {'c', 'o', 'w', 'v', 'o', 'l', '\n', '\x1a'};

struct RawTable {
  Entry root;
  uint64_t next_object;
};
struct RawLog {
  Entry tail;
  uint64_t first;
  uint64_t end;
};
struct RawReaped {
  Entry node;
  uint32_t next;
  uint32_t reserved;
};
struct RawRun {
  uint64_t frame;
  uint64_t count;
};
struct Raw {
  std::array<char, 8> magic;
  uint32_t version;
  uint32_t checksum;
  std::array<uint8_t, 16> uuid;
  uint64_t compatible;
  uint64_t read_only_compatible;
  uint64_t incompatible;
  uint64_t generation;
  uint64_t total_frames;
  uint64_t used_frames;
  uint64_t max_frames;
  uint64_t flushed;
  RawTable trees;
  RawTable catalog;
  RawTable orphans;
  Entry counts;
  RawLog count_log;
  RawLog free_log;
  uint32_t reaped_count;
  uint32_t reserved1;
  std::array<RawReaped, kMaxReaped> reaped;
  uint32_t uncounted_count;
  uint32_t reserved2;
  std::array<RawRun, kMaxUncountedRuns> uncounted;
};
static_assert(offsetof(Raw, trees) == 96);
static_assert(offsetof(Raw, counts) == 168);
static_assert(offsetof(Raw, count_log) == 184);
static_assert(offsetof(Raw, reaped_count) == 248);
static_assert(offsetof(Raw, reaped) == 256);
static_assert(offsetof(Raw, uncounted_count) == 3328);
static_assert(sizeof(Raw) <= kPageSize);

constexpr size_t kChecksumOffset = 12;
constexpr uint64_t kMostGenerations = uint64_t{1} << 47;

uint32_t ChecksumOf(std::span<const std::byte> bytes, FrameNumber frame) {
  std::array<std::byte, kPageSize> copy;
  std::memcpy(copy.data(), bytes.data(), kPageSize);
  std::memset(copy.data() + kChecksumOffset, 0, sizeof(uint32_t));
  return FrameChecksum(frame, Generation(0), copy);
}

absl::StatusOr<std::vector<FrameRun>> DecodeUncounted(const Raw& raw) {
  std::vector<FrameRun> runs;
  uint64_t frames = 0;
  uint64_t end = 0;
  for (uint32_t i = 0; i < std::min<uint64_t>(raw.uncounted_count, kMaxUncountedRuns); ++i) {
    const RawRun& run = raw.uncounted[i];
    frames += std::min(run.count, kMaxUncountedFrames + 1);
    if (run.frame >= raw.total_frames || run.count > raw.total_frames - run.frame) break;
    // In order, so that none overlap.
    if (run.count == 0 || run.frame < end) break;
    end = run.frame + run.count;
    runs.push_back({FrameNumber(run.frame), run.count});
  }
  if (runs.size() != raw.uncounted_count || frames > kMaxUncountedFrames) {
    return absl::DataLossError("superblock: its uncounted frames are none of the volume");
  }
  return runs;
}

}  // namespace

std::array<std::byte, kPageSize> EncodeSuperblock(const Superblock& s, FrameNumber frame) {
  Raw raw = {};
  raw.magic = kMagic;
  raw.version = kFormatVersion;
  raw.uuid = s.uuid;
  raw.compatible = s.compatible;
  raw.read_only_compatible = s.read_only_compatible;
  raw.incompatible = s.incompatible;
  if (!s.uncounted.empty() || s.flushed.value() != 0) raw.incompatible |= kIncompatibleNotClosed;
  raw.generation = s.generation.value();
  raw.total_frames = s.total_frames;
  raw.used_frames = s.used_frames;
  raw.max_frames = s.max_frames;
  raw.flushed = s.flushed.value();
  raw.trees = {s.trees.root, s.trees.next_object};
  raw.catalog = {s.catalog.root, s.catalog.next_object};
  raw.orphans = {s.orphans.root, s.orphans.next_object};
  raw.counts = s.counts;
  raw.count_log = {s.count_log.tail, s.count_log.first, s.count_log.end};
  raw.free_log = {s.free_log.tail, s.free_log.first, s.free_log.end};
  raw.reaped_count = static_cast<uint32_t>(s.reaped.size());
  for (size_t i = 0; i < s.reaped.size() && i < kMaxReaped; ++i) {
    raw.reaped[i] = {s.reaped[i].node, s.reaped[i].next, 0};
  }
  raw.uncounted_count = static_cast<uint32_t>(s.uncounted.size());
  for (size_t i = 0; i < s.uncounted.size() && i < kMaxUncountedRuns; ++i) {
    raw.uncounted[i] = {s.uncounted[i].frame.value(), s.uncounted[i].count};
  }
  std::array<std::byte, kPageSize> bytes = {};
  std::memcpy(bytes.data(), &raw, sizeof(raw));
  uint32_t checksum = ChecksumOf(bytes, frame);
  std::memcpy(bytes.data() + kChecksumOffset, &checksum, sizeof(checksum));
  return bytes;
}

absl::StatusOr<Superblock> DecodeSuperblock(std::span<const std::byte> bytes, FrameNumber frame) {
  if (bytes.size() != kPageSize) return absl::InvalidArgumentError("not a whole frame");
  Raw raw;
  std::memcpy(&raw, bytes.data(), sizeof(raw));
  if (raw.magic != kMagic) return absl::NotFoundError("no cow superblock");
  if (raw.checksum != ChecksumOf(bytes, frame)) {
    return absl::DataLossError(
        absl::StrFormat("superblock in frame %d: checksum does not match", frame.value()));
  }
  if (raw.version > kFormatVersion) {
    return absl::UnimplementedError(absl::StrFormat(
        "the volume has format version %d and this program knows up to %d; use a newer one",
        raw.version, kFormatVersion));
  }
  if (uint64_t unknown = raw.incompatible & ~kKnownIncompatible; unknown != 0) {
    return absl::UnimplementedError(absl::StrFormat(
        "the volume uses features that this program does not know (incompatible %#x); use a newer "
        "one",
        unknown));
  }
  if (raw.reaped_count > kMaxReaped) return absl::DataLossError("superblock: reaped too long");
  if (raw.total_frames > kMaxFrame + 1) {
    return absl::DataLossError("superblock: more frames than a volume can have");
  }
  // Half of what an entry can hold: what is left is enough for the life of any volume.
  if (raw.generation > kMostGenerations) {
    return absl::DataLossError("superblock: more generations than a volume can have");
  }
  for (const Entry& entry : {raw.trees.root, raw.catalog.root, raw.orphans.root, raw.counts,
                             raw.count_log.tail, raw.free_log.tail}) {
    if (entry.birth().value() > raw.generation) {
      return absl::DataLossError("superblock: refers to what is younger than itself");
    }
  }
  for (const Entry& root : {raw.trees.root, raw.catalog.root, raw.orphans.root}) {
    if (!root.empty() && (!root.table() || root.level() > kMaxLevel)) {
      return absl::DataLossError("superblock: the root of a table is none");
    }
  }
  if (!raw.counts.empty() && (raw.counts.level() < 1 || raw.counts.level() > kMaxCountLevel)) {
    return absl::DataLossError("superblock: the root of the counts is none");
  }
  Superblock s;
  s.uuid = raw.uuid;
  s.compatible = raw.compatible;
  s.read_only_compatible = raw.read_only_compatible;
  s.incompatible = raw.incompatible & ~kIncompatibleNotClosed;
  s.generation = Generation(raw.generation);
  s.total_frames = raw.total_frames;
  s.used_frames = raw.used_frames;
  s.max_frames = raw.max_frames;
  s.trees = {raw.trees.root, raw.trees.next_object};
  s.catalog = {raw.catalog.root, raw.catalog.next_object};
  s.orphans = {raw.orphans.root, raw.orphans.next_object};
  s.counts = raw.counts;
  s.count_log = {raw.count_log.tail, raw.count_log.first, raw.count_log.end};
  s.free_log = {raw.free_log.tail, raw.free_log.first, raw.free_log.end};
  for (uint32_t i = 0; i < raw.reaped_count; ++i) {
    s.reaped.push_back({raw.reaped[i].node, raw.reaped[i].next});
  }
  if ((raw.incompatible & kIncompatibleNotClosed) == 0) return s;
  s.flushed = Generation(raw.flushed);
  if (raw.flushed >= raw.generation) {
    return absl::DataLossError("superblock: the commit before is younger than this one");
  }
  COW_ASSIGN_OR_RETURN(s.uncounted, DecodeUncounted(raw));
  return s;
}

}  // namespace cow::format
