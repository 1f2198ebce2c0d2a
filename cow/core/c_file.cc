// The C interface: files and trees.
#include <span>

#include "cow/base/status.h"
#include "cow/core/c_interface.h"

using cow::core::AccessOf;
using cow::core::Call;
using cow::core::Count;
using cow::core::FailIfNull;
using cow::core::Give;
using cow::core::ProgressOf;

extern "C" {

int cow_file_create(cow_volume* volume, const char* path, uint64_t size, cow_file** result) {
  return Give(result, {volume, path}, [&] { return volume->value.CreateFile(path, size); });
}

int cow_file_open(cow_volume* volume, const char* path, cow_file** result) {
  return Give(result, {volume, path, result}, [&] { return volume->value.OpenFile(path); });
}

void cow_file_close(cow_file* file) { delete file; }

const char* cow_file_path(const cow_file* file) {
  return file == nullptr ? nullptr : file->value.path().c_str();
}

int cow_file_read_only(const cow_file* file) {
  const int error = FailIfNull({file});
  return error != 0 ? error : file->value.read_only();
}

int64_t cow_file_size(const cow_file* file) {
  return Count({file}, [&] { return absl::StatusOr<uint64_t>(file->value.size()); });
}

int64_t cow_file_read(const cow_file* file, uint64_t offset, void* buffer, size_t size) {
  return Count({file, size == 0 ? file : buffer}, [&] {
    return file->value.Read(offset, std::span(static_cast<std::byte*>(buffer), size));
  });
}

int cow_file_write(cow_file* file, uint64_t offset, const void* bytes, size_t size) {
  return Call({file, size == 0 ? file : bytes}, [&] {
    return file->value.Write(offset, std::span(static_cast<const std::byte*>(bytes), size));
  });
}

int cow_file_truncate(cow_file* file, uint64_t size) {
  return Call({file}, [&] { return file->value.Truncate(size); });
}

int cow_file_punch(cow_file* file, uint64_t offset, uint64_t length) {
  return Call({file}, [&] { return file->value.Punch(offset, length); });
}

int cow_file_defragment(cow_file* file, int unshare, cow_progress progress, void* context,
                        cow_defragment_result* result) {
  return Call({file}, [&]() -> absl::Status {
    COW_ASSIGN_OR_RETURN(const cow::DefragmentResult moved,
                         file->value.Defragment(
                             {.unshare = unshare != 0, .progress = ProgressOf(progress, context)}));
    if (result != nullptr) {
      *result = {.extents_before = moved.extents_before,
                 .extents_after = moved.extents_after,
                 .moved_bytes = moved.moved_bytes,
                 .shared_bytes = moved.shared_bytes};
    }
    return absl::OkStatus();
  });
}

int cow_file_map(cow_file* file, int access, cow_mapping** result) {
  return Give(result, {file, result}, [&]() -> absl::StatusOr<cow::Mapping> {
    COW_ASSIGN_OR_RETURN(const cow::Access kind, AccessOf(access));
    return file->value.Map(kind);
  });
}

int cow_file_take_snapshot(cow_file* file, const char* name, cow_snapshot** result) {
  return Give(result, {file, name}, [&] { return file->value.TakeSnapshot(name); });
}

int cow_file_open_snapshot(const cow_file* file, const char* name, cow_snapshot** result) {
  return Give(result, {file, name, result}, [&] { return file->value.OpenSnapshot(name); });
}

int cow_file_list_snapshots(const cow_file* file, cow_entries** result) {
  return Give(result, {file, result}, [&] { return file->value.ListSnapshots(); });
}

int cow_file_clone(cow_volume* volume, const cow_file* source, const char* path,
                   cow_file** result) {
  return Give(result, {volume, source, path},
              [&] { return volume->value.Clone(source->value, path); });
}

int cow_tree_create(cow_volume* volume, const char* path, cow_tree** result) {
  return Give(result, {volume, path}, [&] { return volume->value.CreateTree(path); });
}

int cow_tree_open(cow_volume* volume, const char* path, cow_tree** result) {
  return Give(result, {volume, path, result}, [&] { return volume->value.OpenTree(path); });
}

void cow_tree_close(cow_tree* tree) { delete tree; }

const char* cow_tree_path(const cow_tree* tree) {
  return tree == nullptr ? nullptr : tree->value.path().c_str();
}

int cow_tree_read_only(const cow_tree* tree) {
  const int error = FailIfNull({tree});
  return error != 0 ? error : tree->value.read_only();
}

int cow_tree_take_snapshot(cow_tree* tree, const char* name, cow_snapshot** result) {
  return Give(result, {tree, name}, [&] { return tree->value.TakeSnapshot(name); });
}

int cow_tree_open_snapshot(const cow_tree* tree, const char* name, cow_snapshot** result) {
  return Give(result, {tree, name, result}, [&] { return tree->value.OpenSnapshot(name); });
}

int cow_tree_list_snapshots(const cow_tree* tree, cow_entries** result) {
  return Give(result, {tree, result}, [&] { return tree->value.ListSnapshots(); });
}

int cow_tree_clone(cow_volume* volume, const cow_tree* source, const char* path,
                   cow_tree** result) {
  return Give(result, {volume, source, path},
              [&] { return volume->value.CloneTree(source->value, path); });
}

}  // extern "C"
