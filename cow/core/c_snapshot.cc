// The C interface: snapshots and mappings.
#include <cstring>
#include <span>
#include <string>

#include "cow/base/status.h"
#include "cow/core/c_interface.h"

using cow::core::AccessOf;
using cow::core::Call;
using cow::core::Count;
using cow::core::FailIfNull;
using cow::core::Give;
using cow::core::NanosecondsOf;

extern "C" {

int cow_snapshot_open(const cow_volume* volume, const char* path, const char* name,
                      cow_snapshot** result) {
  return Give(result, {volume, path, name, result},
              [&] { return volume->value.OpenSnapshot(path, name); });
}

void cow_snapshot_close(cow_snapshot* snapshot) { delete snapshot; }

int cow_snapshot_name(const cow_snapshot* snapshot, char* buffer, size_t size) {
  return Call({snapshot, buffer}, [&] {
    const std::string name = snapshot->value.name();
    if (name.size() >= size) {
      return cow::MakeError(absl::StatusCode::kOutOfRange, ERANGE,
                            "the buffer is too small for the snapshot's name");
    }
    std::memcpy(buffer, name.c_str(), name.size() + 1);
    return absl::OkStatus();
  });
}

const char* cow_snapshot_path(const cow_snapshot* snapshot) {
  return snapshot == nullptr ? nullptr : snapshot->value.path().c_str();
}

int cow_snapshot_is_tree(const cow_snapshot* snapshot) {
  const int error = FailIfNull({snapshot});
  return error != 0 ? error : snapshot->value.is_tree();
}

int64_t cow_snapshot_size(const cow_snapshot* snapshot) {
  return Count({snapshot}, [&] { return absl::StatusOr<uint64_t>(snapshot->value.size()); });
}

int64_t cow_snapshot_time(const cow_snapshot* snapshot) {
  return Count({snapshot},
               [&] { return absl::StatusOr<int64_t>(NanosecondsOf(snapshot->value.time())); });
}

int64_t cow_snapshot_read(const cow_snapshot* snapshot, uint64_t offset, void* buffer,
                          size_t size) {
  return Count({snapshot, size == 0 ? snapshot : buffer}, [&] {
    return snapshot->value.Read(offset, std::span(static_cast<std::byte*>(buffer), size));
  });
}

int cow_snapshot_get_space(const cow_snapshot* snapshot, cow_space_use* result) {
  return Call({snapshot, result}, [&]() -> absl::Status {
    COW_ASSIGN_OR_RETURN(const cow::SpaceUse space, snapshot->value.Space());
    *result = {.referenced_bytes = space.referenced_bytes,
               .exclusive_bytes = space.exclusive_bytes};
    return absl::OkStatus();
  });
}

int cow_snapshot_rename(cow_snapshot* snapshot, const char* name) {
  return Call({snapshot, name}, [&] { return snapshot->value.Rename(name); });
}

int cow_snapshot_destroy(cow_snapshot* snapshot) {
  return Call({snapshot}, [&] { return snapshot->value.Destroy(); });
}

int cow_snapshot_clone(cow_volume* volume, const cow_snapshot* source, const char* path,
                       cow_file** result) {
  return Give(result, {volume, source, path},
              [&] { return volume->value.Clone(source->value, path); });
}

int cow_snapshot_clone_tree(cow_volume* volume, const cow_snapshot* source, const char* path,
                            cow_tree** result) {
  return Give(result, {volume, source, path},
              [&] { return volume->value.CloneTree(source->value, path); });
}

int cow_snapshot_roll_back(cow_volume* volume, const cow_snapshot* snapshot,
                           cow_snapshot** result) {
  return Give(result, {volume, snapshot}, [&] { return volume->value.RollBack(snapshot->value); });
}

int cow_snapshot_map(const cow_snapshot* snapshot, int access, cow_mapping** result) {
  return Give(result, {snapshot, result}, [&]() -> absl::StatusOr<cow::Mapping> {
    COW_ASSIGN_OR_RETURN(const cow::Access kind, AccessOf(access));
    return snapshot->value.Map(kind);
  });
}

void cow_mapping_unmap(cow_mapping* mapping) { delete mapping; }

void* cow_mapping_bytes(const cow_mapping* mapping) {
  return mapping == nullptr ? nullptr : mapping->value.bytes().data();
}

size_t cow_mapping_size(const cow_mapping* mapping) {
  return mapping == nullptr ? 0 : mapping->value.bytes().size();
}

int cow_mapping_access(const cow_mapping* mapping) {
  const int error = FailIfNull({mapping});
  return error != 0 ? error : static_cast<int>(mapping->value.access());
}

int cow_mapping_status(const cow_mapping* mapping) {
  return Call({mapping}, [&] { return mapping->value.status(); });
}

int cow_mapping_seal(cow_mapping* mapping) {
  return Call({mapping}, [&] { return mapping->value.Seal(); });
}

int cow_mapping_reset(cow_mapping* mapping) {
  return Call({mapping}, [&] { return mapping->value.Reset(); });
}

}  // extern "C"
