// Superblock: one frame, the root of everything. See README.md for the bytes.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "cow/base/types.h"
#include "cow/format/entry.h"

namespace cow::format {

inline constexpr uint32_t kFormatVersion = 1;

// Features in use. A volume with one that is unknown: compatible, may be written; read-only
// compatible, may be read; incompatible, may not be opened.
inline constexpr uint64_t kKnownCompatible = 0;
inline constexpr uint64_t kKnownReadOnlyCompatible = 0;
inline constexpr uint64_t kIncompatibleNoDataChecksums = 1;  // data entries have checksum 0
// Not closed: what `uncounted` and `flushed` say has to be obeyed. As ext4's "needs recovery".
inline constexpr uint64_t kIncompatibleNotClosed = 2;
inline constexpr uint64_t kKnownIncompatible =
    kIncompatibleNoDataChecksums | kIncompatibleNotClosed;

// A table with a root in the superblock.
struct TableRoot {
  Entry root;
  uint64_t next_object = 1;
};

// A log: items [first, end), the last of them in the log frame `tail`.
struct LogRoot {
  Entry tail;
  uint64_t first = 0;
  uint64_t end = 0;
};

// A node no longer referred to, whose children from `next` on are still to lose a reference.
struct Reaped {
  Entry node;
  uint32_t next = 0;
};
inline constexpr size_t kMaxReaped = 128;

// Consecutive frames.
struct FrameRun {
  FrameNumber frame;
  uint64_t count = 0;
  friend bool operator==(const FrameRun&, const FrameRun&) = default;
};
inline constexpr size_t kMaxUncountedRuns = 46;
inline constexpr uint64_t kMaxUncountedFrames = 16384;

struct Superblock {
  std::array<uint8_t, 16> uuid = {};
  uint64_t compatible = 0;
  uint64_t read_only_compatible = 0;
  uint64_t incompatible = 0;
  Generation generation;
  uint64_t total_frames = 0;
  uint64_t used_frames = 0;  // with a count above zero
  uint64_t max_frames = 0;   // 0: no limit
  TableRoot trees;
  TableRoot catalog;
  TableRoot orphans;
  Entry counts;
  LogRoot count_log;
  LogRoot free_log;
  std::vector<Reaped> reaped;  // at most kMaxReaped
  // Frames in use whose count is one, though `counts` says zero; those of the logs among them have
  // none all the same. At most kMaxUncountedRuns, of kMaxUncountedFrames in all.
  std::vector<FrameRun> uncounted;
  // Where it is not 0, this commit was written with one flush: what is younger than this generation,
  // that of the commit before, may be missing where this one was not acknowledged.
  Generation flushed;
};

// The 4 KiB of `superblock` for `frame` (the checksum covers where it is).
std::array<std::byte, kPageSize> EncodeSuperblock(const Superblock& superblock, FrameNumber frame);

// kNotFound when the magic is not there, kDataLoss when the checksum does not match,
// kUnimplemented for a newer format or unknown incompatible features.
absl::StatusOr<Superblock> DecodeSuperblock(std::span<const std::byte> bytes, FrameNumber frame);

}  // namespace cow::format
