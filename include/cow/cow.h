// The C interface: what cow/volume.h and its neighbours offer, for C and for languages that call C.
//
//   cow_volume* volume = NULL;
//   cow_file* state = NULL;
//   cow_mapping* live = NULL;
//   cow_open_options options = {.create = 1};
//   if (cow_volume_open("app.cow", &options, &volume) != 0 ||
//       cow_file_create(volume, "/state", 8 << 20, &state) != 0 ||
//       cow_file_map(state, COW_ACCESS_WRITE, &live) != 0) {
//     fprintf(stderr, "%s\n", cow_error_message());
//     exit(1);
//   }
//   ((char*)cow_mapping_bytes(live))[0] = 1;
//   cow_file_take_snapshot(state, "before", NULL);  // costs what changed
//   ((char*)cow_mapping_bytes(live))[0] = 2;        // "/state@before" has the 1 still
//   cow_mapping_unmap(live);
//   cow_file_close(state);
//   cow_volume_close(volume);
//
// Link with `pkg-config cow-c`, or find_package(cow) and cow::shared: libcow.so, which has this
// interface and no other. libcow.a has it too.
//
// Each function does what the method of the C++ header does that is named above it, with the same
// paths, names, costs and errors; what is said here is what differs.
//
// Errors: functions of type int return 0, those of type int64_t a count, which is not negative; or,
// where they failed, a negative errno: -ENOENT. cow_error_message() says more. Those of other types
// do not fail. -EINVAL, besides: NULL where a handle, a string or a result is wanted, and numbers
// that an enum does not have. -ENOMEM: the process has no memory for what is asked. Nothing throws,
// nothing ends the process.
//
// Results: after an error a handle in `*result` is NULL, any other result as it was. Functions that
// make what they open (create, clone, take, roll back) accept NULL for `result` where no handle is
// wanted.
//
// Handles: every handle that was handed out wants the one call that ends it: close, unmap or free.
// NULL does nothing there. In any order: what is open keeps open what it needs. A child made by
// fork(2) must neither use nor end handles; it ends with exec(3) or _exit(2).
//
// Thread safety: all functions may be called from many threads, on the same handles too; but the
// call that ends a handle, and cow_mapping_reset, want to be alone with it.
//
// Units: bytes. Strings: UTF-8 or any other bytes, ended by a zero.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cow_volume cow_volume;
typedef struct cow_file cow_file;
typedef struct cow_tree cow_tree;
typedef struct cow_snapshot cow_snapshot;
typedef struct cow_mapping cow_mapping;
typedef struct cow_entries cow_entries;

// What the last call that failed in this thread had to say: the operation, the path, the cause, and
// what can be done. Good until the next one fails in this thread. Empty before the first.
const char* cow_error_message(void);

// Called by the calling thread, with what was done so far, and in all (0: not known). Must return,
// by no jump and no exception. `context` is the caller's.
typedef void (*cow_progress)(void* context, uint64_t done, uint64_t total);

// Volumes: cow/volume.h.

// OpenOptions. NULL stands for options that are all 0.
typedef struct cow_open_options {
  int create;            // not 0: make the volume if there is no file of that name
  int exclusive;         // not 0: with `create`, there must be none
  int read_only;         // not 0: any number of processes, beside one that writes
  int commit_seconds;    // durable after so long without a sync; 0: 5 seconds; negative: never
  uint64_t max_bytes;    // of a volume that is made: limit of its file; 0: as large as the disk
  uint64_t cache_bytes;  // memory for page-table nodes; 0: 64 MiB
} cow_open_options;

// Volume::Open. `path` is one of the host. -EBUSY: another process writes; -EINVAL: no volume;
// -EOPNOTSUPP: needs a newer version of cow; -EROFS: to be written, it does.
int cow_volume_open(const char* path, const cow_open_options* options, cow_volume** result);
// Volume::InMemory. `max_bytes`: limit of the memory for data and versions; 0: none.
int cow_volume_in_memory(uint64_t max_bytes, cow_volume** result);
// ~Volume. An error of the last commit has nobody to tell: call cow_volume_sync before.
void cow_volume_close(cow_volume* volume);
// Volume::Sync: durable from here on.
int cow_volume_sync(cow_volume* volume);
// Volume::Health: 0, or the error that made the volume read-only.
int cow_volume_health(const cow_volume* volume);
// Volume::Uuid.
int cow_volume_uuid(const cow_volume* volume, uint8_t result[16]);

typedef struct cow_volume_space {
  uint64_t total_bytes;
  uint64_t used_bytes;
  uint64_t available_bytes;
} cow_volume_space;
// Volume::Space.
int cow_volume_get_space(const cow_volume* volume, cow_volume_space* result);

// As cow/statistics.h explains them.
typedef struct cow_statistics {
  uint64_t open_seconds;
  uint64_t reads, read_bytes, writes, written_bytes, copied_pages;
  uint64_t commits, committed_frames, commit_microseconds, last_commit_microseconds, syncs;
  uint64_t allocated_frames, freed_frames, waiting_frames, folded_items, waiting_items;
  uint64_t node_hits, node_misses, checksum_failures;
  uint64_t taken_snapshots, made_clones;
} cow_statistics;
// Volume::Statistics.
int cow_volume_get_statistics(const cow_volume* volume, cow_statistics* result);

typedef struct cow_check_result {
  uint64_t damages;  // 0: the volume is sound. At most 1000
  uint64_t checked_bytes;
} cow_check_result;
// Volume::Check. At its end `damage` is called for each, by this thread; the strings are good
// during the call. Both functions may be NULL.
int cow_volume_check(const cow_volume* volume, cow_progress progress,
                     void (*damage)(void* context, const char* where, const char* what),
                     void* context, cow_check_result* result);

typedef struct cow_repair_result {
  uint64_t corrected_counts;
  uint64_t freed_bytes;
  uint64_t lost_frames;
} cow_repair_result;
// Volume::Repair. `progress` may be NULL.
int cow_volume_repair(cow_volume* volume, cow_progress progress, void* context,
                      cow_repair_result* result);

// As cow/salvage.h explains it. The strings are good during the call.
typedef struct cow_loss {
  const char* path;
  const char* part;
  const char* cause;
  uint64_t begin, end;
} cow_loss;
typedef struct cow_salvage_result {
  uint64_t files, snapshots, bytes, losses;
} cow_salvage_result;
// Salvage of cow/salvage.h: copies what can be read of the volume in file `volume` into
// `directory`, both of the host. At its end `loss` is called for each, by this thread. Both
// functions may be NULL.
int cow_salvage(const char* volume, const char* directory, cow_progress progress,
                void (*loss)(void* context, const cow_loss* loss), void* context,
                cow_salvage_result* result);

// Names in a volume: cow/volume.h and cow/entry.h.

// Volume::CreateDirectory, Remove, Rename.
int cow_create_directory(cow_volume* volume, const char* path);
int cow_remove(cow_volume* volume, const char* path);
int cow_rename(cow_volume* volume, const char* from, const char* to);

enum { COW_KIND_FILE, COW_KIND_DIRECTORY, COW_KIND_TREE, COW_KIND_LINK, COW_KIND_OTHER };

typedef struct cow_entry {
  const char* path;      // of the head
  const char* snapshot;  // its name; "" for a head
  int kind;              // COW_KIND_...
  int removed;           // 1: the head is gone
  uint64_t size;         // of a file
  int64_t created_ns;    // nanoseconds since 1970
  uint64_t snapshots;    // how many a head has
  int has_space;         // 1: the next two were asked for
  uint64_t referenced_bytes;
  uint64_t exclusive_bytes;
} cow_entry;

enum {
  COW_LIST_RECURSIVE = 1,  // also the snapshots of everything below the path
  COW_LIST_SPACE = 2,      // fill in the space; costs a look at each frame of each snapshot
};

// Volume::Stat: one entry. Volume::List: those of a directory. Volume::ListSnapshots. `flags`:
// COW_LIST_... or 0.
int cow_stat(const cow_volume* volume, const char* path, int flags, cow_entries** result);
int cow_list(const cow_volume* volume, const char* path, cow_entries** result);
int cow_list_snapshots(const cow_volume* volume, const char* path, int flags, cow_entries** result);
// How many there are; 0 for NULL.
size_t cow_entries_count(const cow_entries* entries);
// One of them, good until they are freed; NULL where there is none of that number.
const cow_entry* cow_entries_at(const cow_entries* entries, size_t number);
void cow_entries_free(cow_entries* entries);

// Files: cow/file.h.

// Volume::CreateFile: `size` zero bytes. Volume::OpenFile, also of a file in a snapshot
// ("/log@monday").
int cow_file_create(cow_volume* volume, const char* path, uint64_t size, cow_file** result);
int cow_file_open(cow_volume* volume, const char* path, cow_file** result);
// ~File.
void cow_file_close(cow_file* file);
// File::path, good until the file is closed; NULL for NULL. File::read_only: 0 or 1. File::size.
const char* cow_file_path(const cow_file* file);
int cow_file_read_only(const cow_file* file);
int64_t cow_file_size(const cow_file* file);
// File::Read: how many bytes were read, fewer than `size` only at the end of the file.
int64_t cow_file_read(const cow_file* file, uint64_t offset, void* buffer, size_t size);
// File::Write: all of it, or an error.
int cow_file_write(cow_file* file, uint64_t offset, const void* bytes, size_t size);
// File::Truncate, Punch.
int cow_file_truncate(cow_file* file, uint64_t size);
int cow_file_punch(cow_file* file, uint64_t offset, uint64_t length);

typedef struct cow_defragment_result {
  uint64_t extents_before, extents_after, moved_bytes, shared_bytes;
} cow_defragment_result;
// File::Defragment. `unshare`: 0 or 1; `progress` and `result` may be NULL.
int cow_file_defragment(cow_file* file, int unshare, cow_progress progress, void* context,
                        cow_defragment_result* result);

// File::TakeSnapshot, OpenSnapshot, ListSnapshots.
int cow_file_take_snapshot(cow_file* file, const char* name, cow_snapshot** result);
int cow_file_open_snapshot(const cow_file* file, const char* name, cow_snapshot** result);
int cow_file_list_snapshots(const cow_file* file, cow_entries** result);

// Trees: cow/tree.h.

// Volume::CreateTree, OpenTree ("/" is one), ~Tree; Tree::path, as cow_file_path; read_only.
int cow_tree_create(cow_volume* volume, const char* path, cow_tree** result);
int cow_tree_open(cow_volume* volume, const char* path, cow_tree** result);
void cow_tree_close(cow_tree* tree);
const char* cow_tree_path(const cow_tree* tree);
int cow_tree_read_only(const cow_tree* tree);
// Tree::TakeSnapshot, OpenSnapshot, ListSnapshots.
int cow_tree_take_snapshot(cow_tree* tree, const char* name, cow_snapshot** result);
int cow_tree_open_snapshot(const cow_tree* tree, const char* name, cow_snapshot** result);
int cow_tree_list_snapshots(const cow_tree* tree, cow_entries** result);

// Snapshots: cow/snapshot.h.

// Volume::OpenSnapshot: by the path of its head, which may be gone, and its name.
int cow_snapshot_open(const cow_volume* volume, const char* path, const char* name,
                      cow_snapshot** result);
// ~Snapshot: ends the handle; the snapshot stays.
void cow_snapshot_close(cow_snapshot* snapshot);

enum { COW_NAME_MAX = 255 };
// Snapshot::name, its name now, into `buffer`; COW_NAME_MAX + 1 bytes are enough. -ERANGE: `size`
// is too small.
int cow_snapshot_name(const cow_snapshot* snapshot, char* buffer, size_t size);
// Snapshot::path, as cow_file_path; is_tree: 0 or 1; size; time, in nanoseconds since 1970.
const char* cow_snapshot_path(const cow_snapshot* snapshot);
int cow_snapshot_is_tree(const cow_snapshot* snapshot);
int64_t cow_snapshot_size(const cow_snapshot* snapshot);
int64_t cow_snapshot_time(const cow_snapshot* snapshot);
// Snapshot::Read, as cow_file_read.
int64_t cow_snapshot_read(const cow_snapshot* snapshot, uint64_t offset, void* buffer, size_t size);

typedef struct cow_space_use {
  uint64_t referenced_bytes;
  uint64_t exclusive_bytes;
} cow_space_use;
// Snapshot::Space.
int cow_snapshot_get_space(const cow_snapshot* snapshot, cow_space_use* result);
// Snapshot::Rename, Destroy: the handle goes on reading, and is closed as any other.
int cow_snapshot_rename(cow_snapshot* snapshot, const char* name);
int cow_snapshot_destroy(cow_snapshot* snapshot);

// Volume::Clone, of a file and of a snapshot of one; Volume::CloneTree, likewise. `path` is that of
// the new file or tree.
int cow_file_clone(cow_volume* volume, const cow_file* source, const char* path, cow_file** result);
int cow_snapshot_clone(cow_volume* volume, const cow_snapshot* source, const char* path,
                       cow_file** result);
int cow_tree_clone(cow_volume* volume, const cow_tree* source, const char* path, cow_tree** result);
int cow_snapshot_clone_tree(cow_volume* volume, const cow_snapshot* source, const char* path,
                            cow_tree** result);
// Volume::RollBack. `result`: a snapshot of what is replaced.
int cow_snapshot_roll_back(cow_volume* volume, const cow_snapshot* snapshot, cow_snapshot** result);

// Mappings: cow/mapping.h.

enum {
  COW_ACCESS_READ,     // storing to it is SIGSEGV
  COW_ACCESS_SCRATCH,  // private: can be written, is never published
  COW_ACCESS_WRITE,    // can be written; a seal publishes it
};

// File::Map; Snapshot::Map, which refuses COW_ACCESS_WRITE (-EROFS).
int cow_file_map(cow_file* file, int access, cow_mapping** result);
int cow_snapshot_map(const cow_snapshot* snapshot, int access, cow_mapping** result);
// ~Mapping: seals a write mapping, and unmaps; the bytes are gone. An error of the seal has nobody
// to tell: call cow_mapping_seal before where it matters.
void cow_mapping_unmap(cow_mapping* mapping);
// Mapping::bytes, size and access. The address stays. NULL, 0 and -EINVAL for NULL.
void* cow_mapping_bytes(const cow_mapping* mapping);
size_t cow_mapping_size(const cow_mapping* mapping);
int cow_mapping_access(const cow_mapping* mapping);
// Mapping::status: 0, or the first error that touching it met; it stays.
int cow_mapping_status(const cow_mapping* mapping);
// Mapping::Seal: what was stored is in the file. -EINVAL where it is not for writing.
int cow_mapping_seal(cow_mapping* mapping);
// Mapping::Reset: what was stored is dropped. -EINVAL where it is no scratch mapping.
int cow_mapping_reset(cow_mapping* mapping);

// The machine: cow/features.h.

typedef struct cow_feature {
  const char* name;
  int available;        // 1: it is made use of
  const char* use;      // what for
  const char* instead;  // what is done where it is not available
} cow_feature;
// MachineFeatures: `count` of them, good as long as the process lives.
int cow_machine_features(const cow_feature** result, size_t* count);

#ifdef __cplusplus
}
#endif
