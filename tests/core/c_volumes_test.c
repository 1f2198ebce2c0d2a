// The C interface: volumes, the names in them, files, and what is done about damage.
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/core/c_check.h"

static const cow_entry* Only(const cow_entries* entries) {
  CHECK_EQUAL(cow_entries_count(entries), 1);
  CHECK(cow_entries_at(entries, 1) == NULL);
  return cow_entries_at(entries, 0);
}

void TestFiles(cow_volume* volume) {
  cow_file* file = NULL;
  cow_file* again = NULL;
  char bytes[16] = "";
  CHECK_OK(cow_file_create(volume, "/log", 10000, &file));
  CHECK_FAILS(cow_file_create(volume, "/log", 0, &again), EEXIST, "/log");
  CHECK(again == NULL);
  CHECK(strcmp(cow_file_path(file), "/log") == 0);
  CHECK_EQUAL(cow_file_read_only(file), 0);
  CHECK_EQUAL(cow_file_size(file), 10000);
  CHECK_OK(cow_file_write(file, 9998, "line", 4));
  CHECK_EQUAL(cow_file_size(file), 10002);
  CHECK_EQUAL(cow_file_read(file, 9997, bytes, sizeof(bytes)), 5);
  CHECK(memcmp(bytes, "\0line", 5) == 0);
  CHECK_EQUAL(cow_file_read(file, 0, NULL, 0), 0);
  CHECK_OK(cow_file_write(file, 0, NULL, 0));

  CHECK_OK(cow_file_open(volume, "/log", &again));
  CHECK_OK(cow_file_truncate(again, 9999));
  CHECK_EQUAL(cow_file_size(file), 9999);
  CHECK_OK(cow_file_write(file, 0, "abcdef", 6));
  CHECK_OK(cow_file_punch(again, 1, 3));
  CHECK_EQUAL(cow_file_read(file, 0, bytes, 6), 6);
  CHECK(memcmp(bytes, "a\0\0\0ef", 6) == 0);
  CHECK_FAILS(cow_file_write(file, (uint64_t)1 << 52, "x", 1), EFBIG, "/log");
  CHECK_FAILS(cow_file_truncate(file, UINT64_MAX), EFBIG, "/log");
  CHECK_OK(cow_file_create(volume, "/unwanted", 1, NULL));  // no handle
  cow_file_close(file);
  CHECK_FAILS(cow_file_open(volume, "/none", &file), ENOENT, "/none");
  CHECK(file == NULL);
  cow_file_close(again);
}

void TestNames(cow_volume* volume) {
  cow_entries* entries = NULL;
  cow_file* file = NULL;
  CHECK_OK(cow_create_directory(volume, "/d"));
  CHECK_FAILS(cow_create_directory(volume, "/d"), EEXIST, "/d");
  CHECK_OK(cow_create_directory(volume, "/d/e"));
  CHECK_OK(cow_tree_create(volume, "/d/t", NULL));
  CHECK_OK(cow_file_create(volume, "/d/b", 5, NULL));
  CHECK_FAILS(cow_file_open(volume, "/d", &file), EISDIR, "/d");
  CHECK_FAILS(cow_file_create(volume, "/d/b/c", 0, &file), ENOTDIR, "/d/b/c");
  CHECK_FAILS(cow_remove(volume, "/d"), ENOTEMPTY, "/d");
  CHECK_OK(cow_rename(volume, "/d/b", "/d/c"));
  CHECK_FAILS(cow_rename(volume, "/d/b", "/d/c"), ENOENT, "/d/b");

  CHECK_OK(cow_list(volume, "/d", &entries));
  CHECK_EQUAL(cow_entries_count(entries), 3);
  const char* const paths[] = {"/d/c", "/d/e", "/d/t"};
  const int kinds[] = {COW_KIND_FILE, COW_KIND_DIRECTORY, COW_KIND_TREE};
  for (size_t i = 0; i < 3; ++i) {
    CHECK(strcmp(cow_entries_at(entries, i)->path, paths[i]) == 0);
    CHECK_EQUAL(cow_entries_at(entries, i)->kind, kinds[i]);
  }
  cow_entries_free(entries);
  CHECK_FAILS(cow_list(volume, "/d/c", &entries), ENOTDIR, "/d/c");
  CHECK(entries == NULL);

  CHECK_OK(cow_stat(volume, "/d/c", COW_LIST_SPACE, &entries));
  const cow_entry* const entry = Only(entries);
  CHECK(strcmp(entry->path, "/d/c") == 0 && strcmp(entry->snapshot, "") == 0);
  CHECK(entry->kind == COW_KIND_FILE && entry->removed == 0 && entry->size == 5);
  CHECK(entry->has_space == 1 && entry->snapshots == 0);
  CHECK(entry->created_ns > INT64_C(1500000000000000000));
  cow_entries_free(entries);
  CHECK_OK(cow_stat(volume, "/d/c", 0, &entries));
  CHECK_EQUAL(Only(entries)->has_space, 0);
  cow_entries_free(entries);
  CHECK_FAILS(cow_stat(volume, "/d/c", 4, &entries), EINVAL, "flag");
  CHECK_FAILS(cow_list_snapshots(volume, "/d/c", -1, &entries), EINVAL, "flag");
  CHECK_OK(cow_remove(volume, "/d/c"));
  CHECK_FAILS(cow_stat(volume, "/d/c", 0, &entries), ENOENT, "/d/c");
}

static void TestOptions(const char* path) {
  cow_volume* volume = NULL;
  CHECK_FAILS(cow_volume_open(path, NULL, &volume), ENOENT, path);
  cow_open_options options = {.create = 1, .read_only = 1};
  CHECK_FAILS(cow_volume_open(path, &options, &volume), EINVAL, "");
  options = (cow_open_options){.create = 1,
                               .exclusive = 1,
                               .max_bytes = 64 << 20,
                               .cache_bytes = 1 << 20,
                               .commit_seconds = -1};
  CHECK_OK(cow_volume_open(path, &options, &volume));
  cow_volume_space space;
  CHECK_OK(cow_volume_get_space(volume, &space));
  CHECK_EQUAL(space.total_bytes, 64 << 20);
  CHECK(space.used_bytes > 0 && space.available_bytes < space.total_bytes);
  cow_volume_close(volume);
  CHECK_FAILS(cow_volume_open(path, &options, &volume), EEXIST, path);
}

static void TestStatistics(const cow_volume* volume, cow_file* file) {
  cow_statistics before, after;
  char bytes[4];
  CHECK_OK(cow_volume_get_statistics(volume, &before));
  CHECK_EQUAL(before.syncs, 1);
  CHECK_EQUAL(before.taken_snapshots, 1);
  CHECK_EQUAL(before.made_clones, 0);
  CHECK_EQUAL(before.checksum_failures, 0);
  CHECK(before.commits > 0 && before.committed_frames > before.commits);
  CHECK(before.commit_microseconds >= before.last_commit_microseconds);
  CHECK(before.allocated_frames > 0);
  CHECK_EQUAL(cow_file_read(file, 0, bytes, 4), 4);
  CHECK_OK(cow_volume_get_statistics(volume, &after));
  CHECK_EQUAL(after.reads - before.reads, 1);
  CHECK_EQUAL(after.read_bytes - before.read_bytes, 4);
  CHECK_OK(cow_file_write(file, 0, "kept", 4));
  CHECK_OK(cow_volume_get_statistics(volume, &after));
  CHECK_EQUAL(after.writes - before.writes, 1);
  CHECK_EQUAL(after.written_bytes - before.written_bytes, 4);
  CHECK_EQUAL(after.copied_pages - before.copied_pages, 1);
  CHECK_EQUAL(after.syncs, 1);
}

static void TestWritersAndReaders(const char* path) {
  cow_volume* volume = NULL;
  cow_volume* reader = NULL;
  cow_file* file = NULL;
  CHECK_OK(cow_volume_open(path, NULL, &volume));
  CHECK_FAILS(cow_volume_open(path, NULL, &reader), EBUSY, path);
  CHECK_OK(cow_file_create(volume, "/f", 0, &file));
  CHECK_OK(cow_file_write(file, 0, "kept", 4));
  CHECK_OK(cow_file_take_snapshot(file, "s", NULL));
  CHECK_OK(cow_volume_sync(volume));
  CHECK_OK(cow_volume_health(volume));
  TestStatistics(volume, file);
  cow_file_close(file);

  const cow_open_options options = {.read_only = 1};
  CHECK_OK(cow_volume_open(path, &options, &reader));
  uint8_t one[16] = {0}, other[16] = {0};
  CHECK_OK(cow_volume_uuid(volume, one));
  CHECK_OK(cow_volume_uuid(reader, other));
  CHECK(memcmp(one, other, sizeof(one)) == 0);
  CHECK_OK(cow_volume_uuid(volume, other));
  const uint8_t zero[16] = {0};
  CHECK(memcmp(one, zero, sizeof(one)) != 0);
  char bytes[4];
  CHECK_OK(cow_file_open(reader, "/f", &file));
  CHECK_EQUAL(cow_file_read_only(file), 1);
  CHECK_EQUAL(cow_file_read(file, 0, bytes, 4), 4);
  CHECK(memcmp(bytes, "kept", 4) == 0);
  CHECK_FAILS(cow_file_write(file, 0, "lost", 4), EROFS, "/f");
  CHECK_FAILS(cow_remove(reader, "/f"), EROFS, "/f");
  cow_volume_close(volume);
  cow_volume_close(reader);  // the file keeps it open
  CHECK_EQUAL(cow_file_read(file, 0, bytes, 4), 4);
  cow_file_close(file);
}

static void TestLimitOfMemory(void) {
  cow_volume* volume = NULL;
  cow_file* file = NULL;
  CHECK_OK(cow_volume_in_memory(32 << 20, &volume));
  CHECK_OK(cow_file_create(volume, "/f", 0, &file));
  const size_t size = 64 << 20;
  char* const bytes = malloc(size);
  CHECK(bytes != NULL);
  memset(bytes, 1, size);
  CHECK_FAILS(cow_file_write(file, 0, bytes, size), ENOSPC, "/f");
  free(bytes);
  cow_file_close(file);
  cow_volume_close(volume);
}

void TestVolumes(const char* folder) {
  char path[256];
  snprintf(path, sizeof(path), "%s/volume.cow", folder);
  TestOptions(path);
  TestWritersAndReaders(path);
  TestLimitOfMemory();
  snprintf(path, sizeof(path), "%s/none", folder);
  FILE* const file = fopen(path, "w");
  CHECK(file != NULL && fprintf(file, "no volume\n") > 0 && fclose(file) == 0);
  cow_volume* volume = NULL;
  CHECK_FAILS(cow_volume_open(path, NULL, &volume), EINVAL, path);
  CHECK(volume == NULL);
}

enum { kPage = 4096 };
static const char kPattern[] = "the only page of /data/table";

// Changes a byte of the page that begins with kPattern, wherever in the file of the host it is.
static void Damage(const char* path) {
  const int descriptor = open(path, O_RDWR);
  CHECK(descriptor >= 0);
  char page[kPage];
  int damaged = 0;
  for (off_t at = 0; pread(descriptor, page, kPage, at) == kPage; at += kPage) {
    if (memcmp(page, kPattern, sizeof(kPattern)) != 0) continue;
    CHECK_EQUAL(pwrite(descriptor, "X", 1, at + 100), 1);
    ++damaged;
  }
  CHECK_EQUAL(damaged, 1);
  CHECK_EQUAL(close(descriptor), 0);
}

typedef struct {
  int progress, found;
} Seen;

static void SeeProgress(void* context, uint64_t done, uint64_t total) {
  CHECK(total == 0 || done <= total);
  ++((Seen*)context)->progress;
}

static void SeeDamage(void* context, const char* where, const char* what) {
  CHECK(strstr(where, "/data/table") != NULL);
  CHECK(strstr(what, "checksum") != NULL);
  ++((Seen*)context)->found;
}

static void SeeLoss(void* context, const cow_loss* loss) {
  CHECK(strcmp(loss->path, "/data/table") == 0);
  CHECK(loss->part[0] != '\0' && strstr(loss->cause, "checksum") != NULL);
  CHECK(loss->begin == 0 && loss->end == kPage);
  ++((Seen*)context)->found;
}

// A system call that reads the damaged page fails, and the mapping says why.
static void TestDamagedMapping(cow_file* file) {
  cow_mapping* mapping = NULL;
  const int mapped = cow_file_map(file, COW_ACCESS_READ, &mapping);
  if (mapped == 0) {  // bound where it is touched
    CHECK_OK(cow_mapping_status(mapping));
    int ends[2];
    CHECK_EQUAL(pipe(ends), 0);
    CHECK(write(ends[1], cow_mapping_bytes(mapping), 1) == -1 && errno == EFAULT);
    close(ends[0]);
    close(ends[1]);
    CHECK_FAILS(cow_mapping_status(mapping), EIO, "/data/table");
    cow_mapping_unmap(mapping);
  } else {
    CHECK_FAILS(mapped, EIO, "/data/table");
  }
}

void TestDamage(const char* folder) {
  char path[256], rescued[256];
  snprintf(path, sizeof(path), "%s/damaged.cow", folder);
  snprintf(rescued, sizeof(rescued), "%s/rescued", folder);
  cow_volume* volume = NULL;
  cow_file* file = NULL;
  const cow_open_options options = {.create = 1};
  char page[kPage] = "";
  memcpy(page, kPattern, sizeof(kPattern));
  CHECK_OK(cow_volume_open(path, &options, &volume));
  CHECK_OK(cow_create_directory(volume, "/data"));
  CHECK_OK(cow_file_create(volume, "/data/table", 0, &file));
  CHECK_OK(cow_file_write(file, 0, page, sizeof(page)));
  CHECK_OK(cow_file_create(volume, "/data/other", 1, NULL));
  cow_check_result checked = {.damages = 9};
  CHECK_OK(cow_volume_check(volume, NULL, NULL, NULL, &checked));
  CHECK(checked.damages == 0 && checked.checked_bytes > kPage);
  cow_file_close(file);
  cow_volume_close(volume);

  Damage(path);
  CHECK_OK(cow_volume_open(path, NULL, &volume));
  CHECK_OK(cow_file_open(volume, "/data/table", &file));
  CHECK_FAILS(cow_file_read(file, 0, page, sizeof(page)), EIO, "/data/table");
  Seen seen = {0, 0};
  CHECK_OK(cow_volume_check(volume, SeeProgress, SeeDamage, &seen, &checked));
  CHECK(checked.damages == 1 && seen.found == 1 && seen.progress > 0);
  cow_repair_result repaired = {1, 1, 1};
  seen = (Seen){0, 0};
  CHECK_OK(cow_volume_repair(volume, SeeProgress, &seen, &repaired));
  CHECK(repaired.corrected_counts == 0 && repaired.freed_bytes == 0 && repaired.lost_frames == 0);
  CHECK(seen.progress > 0);
  cow_file_close(file);
  cow_volume_close(volume);

  cow_salvage_result salvaged = {0, 0, 0, 0};
  seen = (Seen){0, 0};
  CHECK_OK(cow_salvage(path, rescued, SeeProgress, SeeLoss, &seen, &salvaged));
  CHECK(salvaged.files == 2 && salvaged.snapshots == 0 && salvaged.losses == 1);
  CHECK(seen.found == 1);
  CHECK_FAILS(cow_salvage(path, rescued, NULL, NULL, NULL, &salvaged), ENOTEMPTY, rescued);
  CHECK_FAILS(cow_salvage("/nowhere", rescued, NULL, NULL, NULL, &salvaged), ENOENT, "/nowhere");

  CHECK_OK(cow_volume_open(path, NULL, &volume));
  CHECK_OK(cow_file_open(volume, "/data/table", &file));
  TestDamagedMapping(file);
  cow_file_close(file);
  cow_volume_close(volume);
}
