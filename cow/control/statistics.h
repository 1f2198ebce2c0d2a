// What a cowfs has counted since it mounted its volume.
#pragma once

#include <cstdint>

namespace cow::control {

// As VolumeStatistics of the public interface, where each is explained.
struct Statistics {
  uint64_t open_seconds = 0;
  uint64_t reads = 0;
  uint64_t read_bytes = 0;
  uint64_t writes = 0;
  uint64_t written_bytes = 0;
  uint64_t copied_pages = 0;
  uint64_t commits = 0;
  uint64_t committed_frames = 0;
  uint64_t commit_microseconds = 0;
  uint64_t last_commit_microseconds = 0;
  uint64_t syncs = 0;
  uint64_t allocated_frames = 0;
  uint64_t freed_frames = 0;
  uint64_t waiting_frames = 0;
  uint64_t folded_items = 0;
  uint64_t waiting_items = 0;
  uint64_t node_hits = 0;
  uint64_t node_misses = 0;
  uint64_t checksum_failures = 0;
  uint64_t taken_snapshots = 0;
  uint64_t made_clones = 0;
  friend bool operator==(const Statistics&, const Statistics&) = default;
};

// All of them, in the order in which they are sent and shown.
struct StatisticsField {
  const char* name;
  uint64_t Statistics::*value;
};
inline constexpr StatisticsField kStatisticsFields[] = {
    {"open_seconds", &Statistics::open_seconds},
    {"reads", &Statistics::reads},
    {"read_bytes", &Statistics::read_bytes},
    {"writes", &Statistics::writes},
    {"written_bytes", &Statistics::written_bytes},
    {"copied_pages", &Statistics::copied_pages},
    {"commits", &Statistics::commits},
    {"committed_frames", &Statistics::committed_frames},
    {"commit_microseconds", &Statistics::commit_microseconds},
    {"last_commit_microseconds", &Statistics::last_commit_microseconds},
    {"syncs", &Statistics::syncs},
    {"allocated_frames", &Statistics::allocated_frames},
    {"freed_frames", &Statistics::freed_frames},
    {"waiting_frames", &Statistics::waiting_frames},
    {"folded_items", &Statistics::folded_items},
    {"waiting_items", &Statistics::waiting_items},
    {"node_hits", &Statistics::node_hits},
    {"node_misses", &Statistics::node_misses},
    {"checksum_failures", &Statistics::checksum_failures},
    {"taken_snapshots", &Statistics::taken_snapshots},
    {"made_clones", &Statistics::made_clones},
};
// None is forgotten.
static_assert(sizeof kStatisticsFields / sizeof kStatisticsFields[0] ==
              sizeof(Statistics) / sizeof(uint64_t));

}  // namespace cow::control
