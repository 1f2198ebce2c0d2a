// The C interface: volumes, and the names in them.
#include <algorithm>
#include <array>
#include <string>

#include "cow/base/status.h"
#include "cow/core/c_interface.h"
#include "cow/salvage.h"

using cow::core::Call;
using cow::core::Give;
using cow::core::ListOptionsOf;
using cow::core::ProgressOf;

namespace {

// Zero stands for what is usual; so zeroed memory is a good set of options.
cow::OpenOptions OptionsOf(const cow_open_options* given) {
  cow::OpenOptions options;
  if (given == nullptr) return options;
  options.create = given->create != 0;
  options.exclusive = given->exclusive != 0;
  options.read_only = given->read_only != 0;
  options.max_bytes = given->max_bytes;
  if (given->cache_bytes != 0) options.cache_bytes = given->cache_bytes;
  if (given->commit_seconds != 0) options.commit_seconds = std::max(given->commit_seconds, 0);
  return options;
}

}  // namespace

extern "C" {

int cow_volume_open(const char* path, const cow_open_options* options, cow_volume** result) {
  return Give(result, {path, result}, [&] { return cow::Volume::Open(path, OptionsOf(options)); });
}

int cow_volume_in_memory(uint64_t max_bytes, cow_volume** result) {
  return Give(result, {result}, [&] { return cow::Volume::InMemory({.max_bytes = max_bytes}); });
}

void cow_volume_close(cow_volume* volume) { delete volume; }

int cow_volume_sync(cow_volume* volume) {
  return Call({volume}, [&] { return volume->value.Sync(); });
}

int cow_volume_health(const cow_volume* volume) {
  return Call({volume}, [&] { return volume->value.Health(); });
}

int cow_volume_uuid(const cow_volume* volume, uint8_t result[16]) {
  return Call({volume, result}, [&] {
    std::ranges::copy(volume->value.Uuid(), result);
    return absl::OkStatus();
  });
}

int cow_volume_get_space(const cow_volume* volume, cow_volume_space* result) {
  return Call({volume, result}, [&] {
    const cow::VolumeSpace space = volume->value.Space();
    *result = {.total_bytes = space.total_bytes,
               .used_bytes = space.used_bytes,
               .available_bytes = space.available_bytes};
    return absl::OkStatus();
  });
}

int cow_volume_get_statistics(const cow_volume* volume, cow_statistics* result) {
  return Call({volume, result}, [&] {
    const cow::VolumeStatistics all = volume->value.Statistics();
    *result = {.open_seconds = all.open_seconds,
               .reads = all.reads,
               .read_bytes = all.read_bytes,
               .writes = all.writes,
               .written_bytes = all.written_bytes,
               .copied_pages = all.copied_pages,
               .commits = all.commits,
               .committed_frames = all.committed_frames,
               .commit_microseconds = all.commit_microseconds,
               .last_commit_microseconds = all.last_commit_microseconds,
               .syncs = all.syncs,
               .allocated_frames = all.allocated_frames,
               .freed_frames = all.freed_frames,
               .waiting_frames = all.waiting_frames,
               .folded_items = all.folded_items,
               .waiting_items = all.waiting_items,
               .node_hits = all.node_hits,
               .node_misses = all.node_misses,
               .checksum_failures = all.checksum_failures,
               .taken_snapshots = all.taken_snapshots,
               .made_clones = all.made_clones};
    return absl::OkStatus();
  });
}

int cow_volume_check(const cow_volume* volume, cow_progress progress,
                     void (*damage)(void* context, const char* where, const char* what),
                     void* context, cow_check_result* result) {
  return Call({volume, result}, [&]() -> absl::Status {
    COW_ASSIGN_OR_RETURN(const cow::CheckResult checked,
                         volume->value.Check(ProgressOf(progress, context)));
    *result = {.damages = checked.damages.size(), .checked_bytes = checked.checked_bytes};
    for (const cow::Damage& found : checked.damages) {
      if (damage != nullptr) damage(context, found.where.c_str(), found.what.c_str());
    }
    return absl::OkStatus();
  });
}

int cow_volume_repair(cow_volume* volume, cow_progress progress, void* context,
                      cow_repair_result* result) {
  return Call({volume, result}, [&]() -> absl::Status {
    COW_ASSIGN_OR_RETURN(const cow::RepairResult repaired,
                         volume->value.Repair(ProgressOf(progress, context)));
    *result = {.corrected_counts = repaired.corrected_counts,
               .freed_bytes = repaired.freed_bytes,
               .lost_frames = repaired.lost_frames};
    return absl::OkStatus();
  });
}

int cow_salvage(const char* volume, const char* directory, cow_progress progress,
                void (*loss)(void* context, const cow_loss* loss), void* context,
                cow_salvage_result* result) {
  return Call({volume, directory, result}, [&]() -> absl::Status {
    COW_ASSIGN_OR_RETURN(const cow::SalvageResult salvaged,
                         cow::Salvage(volume, directory, [&](uint64_t bytes) {
                           if (progress != nullptr) progress(context, bytes, 0);
                         }));
    *result = {.files = salvaged.files,
               .snapshots = salvaged.snapshots,
               .bytes = salvaged.bytes,
               .losses = salvaged.losses.size()};
    for (const cow::Loss& lost : salvaged.losses) {
      const cow_loss told = {.path = lost.path.c_str(),
                             .part = lost.part.c_str(),
                             .cause = lost.cause.c_str(),
                             .begin = lost.begin,
                             .end = lost.end};
      if (loss != nullptr) loss(context, &told);
    }
    return absl::OkStatus();
  });
}

int cow_create_directory(cow_volume* volume, const char* path) {
  return Call({volume, path}, [&] { return volume->value.CreateDirectory(path); });
}

int cow_remove(cow_volume* volume, const char* path) {
  return Call({volume, path}, [&] { return volume->value.Remove(path); });
}

int cow_rename(cow_volume* volume, const char* from, const char* to) {
  return Call({volume, from, to}, [&] { return volume->value.Rename(from, to); });
}

int cow_stat(const cow_volume* volume, const char* path, int flags, cow_entries** result) {
  return Give(result, {volume, path, result}, [&]() -> absl::StatusOr<std::vector<cow::Entry>> {
    COW_ASSIGN_OR_RETURN(const cow::ListOptions options, ListOptionsOf(flags));
    COW_ASSIGN_OR_RETURN(cow::Entry entry, volume->value.Stat(path, options));
    return std::vector<cow::Entry>{std::move(entry)};
  });
}

int cow_list(const cow_volume* volume, const char* path, cow_entries** result) {
  return Give(result, {volume, path, result}, [&] { return volume->value.List(path); });
}

int cow_list_snapshots(const cow_volume* volume, const char* path, int flags,
                       cow_entries** result) {
  return Give(result, {volume, path, result}, [&]() -> absl::StatusOr<std::vector<cow::Entry>> {
    COW_ASSIGN_OR_RETURN(const cow::ListOptions options, ListOptionsOf(flags));
    return volume->value.ListSnapshots(path, options);
  });
}

}  // extern "C"
