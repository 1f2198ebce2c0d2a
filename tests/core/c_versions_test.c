// The C interface: mappings, snapshots, clones, rollback and trees.
#define _GNU_SOURCE
#include "tests/core/c_check.h"

enum { kPage = 4096, kSize = 64 * kPage };

static char* Bytes(const cow_mapping* mapping) { return cow_mapping_bytes(mapping); }

static char ByteOf(const cow_file* file) {
  char byte = 0;
  CHECK_EQUAL(cow_file_read(file, 0, &byte, 1), 1);
  return byte;
}

static char ByteAt(cow_volume* volume, const char* path) {
  cow_file* file = NULL;
  CHECK_OK(cow_file_open(volume, path, &file));
  const char byte = ByteOf(file);
  cow_file_close(file);
  return byte;
}

void TestMappings(cow_volume* volume) {
  cow_file* file = NULL;
  cow_mapping* live = NULL;
  cow_mapping* other = NULL;
  CHECK_OK(cow_file_create(volume, "/empty", 0, &file));
  CHECK_FAILS(cow_file_map(file, COW_ACCESS_READ, &live), EINVAL, "/empty");
  cow_file_close(file);

  CHECK_OK(cow_file_create(volume, "/state", kSize, &file));
  CHECK_FAILS(cow_file_map(file, 3, &live), EINVAL, "access");
  CHECK_FAILS(cow_file_map(file, -1, &live), EINVAL, "access");
  CHECK_OK(cow_file_map(file, COW_ACCESS_WRITE, &live));
  CHECK_EQUAL(cow_mapping_size(live), kSize);
  CHECK_EQUAL(cow_mapping_access(live), COW_ACCESS_WRITE);
  CHECK_OK(cow_mapping_status(live));
  Bytes(live)[0] = 'a';
  CHECK_EQUAL(ByteOf(file), 0);
  CHECK_OK(cow_mapping_seal(live));
  CHECK_EQUAL(ByteOf(file), 'a');
  CHECK_FAILS(cow_mapping_reset(live), EINVAL, "/state");
  CHECK_FAILS(cow_file_write(file, 0, "x", 1), EBUSY, "/state");
  CHECK_FAILS(cow_file_map(file, COW_ACCESS_WRITE, &other), EBUSY, "/state");
  CHECK(other == NULL);

  CHECK_OK(cow_file_map(file, COW_ACCESS_SCRATCH, &other));
  CHECK_EQUAL(cow_mapping_access(other), COW_ACCESS_SCRATCH);
  Bytes(other)[0] = 'b';
  CHECK_EQUAL(Bytes(live)[0], 'a');
  CHECK_FAILS(cow_mapping_seal(other), EINVAL, "/state");
  CHECK_OK(cow_mapping_reset(other));
  CHECK_EQUAL(Bytes(other)[0], 'a');
  cow_mapping_unmap(other);

  CHECK_OK(cow_file_map(file, COW_ACCESS_READ, &other));
  CHECK_EQUAL(cow_mapping_access(other), COW_ACCESS_READ);
  Bytes(live)[0] = 'c';
  cow_mapping_unmap(live);  // which seals
  CHECK_EQUAL(ByteOf(file), 'c');
  CHECK_EQUAL(Bytes(other)[0], 'a');
  CHECK_OK(cow_file_write(file, 0, "d", 1));
  cow_file_close(file);
  CHECK_EQUAL(Bytes(other)[0], 'a');  // a mapping needs no other handle
  cow_mapping_unmap(other);
}

// What a handle of a snapshot answers.
static void TestSnapshotHandle(cow_snapshot* before) {
  char name[COW_NAME_MAX + 1] = "";
  char bytes[4] = "";
  cow_mapping* mapping = NULL;
  CHECK_OK(cow_snapshot_name(before, name, sizeof(name)));
  CHECK(strcmp(name, "before") == 0);
  CHECK_FAILS(cow_snapshot_name(before, name, 6), ERANGE, "small");
  CHECK_OK(cow_snapshot_name(before, name, 7));
  CHECK(strcmp(cow_snapshot_path(before), "/state") == 0);
  CHECK_EQUAL(cow_snapshot_is_tree(before), 0);
  CHECK_EQUAL(cow_snapshot_size(before), kSize);
  CHECK(cow_snapshot_time(before) > INT64_C(1500000000000000000));
  CHECK_EQUAL(cow_snapshot_read(before, 1, bytes, 2), 2);
  CHECK(memcmp(bytes, "ne", 2) == 0);
  CHECK_EQUAL(cow_snapshot_read(before, kSize - 1, bytes, 4), 1);
  cow_space_use use = {0, 0};
  CHECK_OK(cow_snapshot_get_space(before, &use));
  CHECK(use.exclusive_bytes > 0 && use.exclusive_bytes <= use.referenced_bytes);

  CHECK_FAILS(cow_snapshot_map(before, COW_ACCESS_WRITE, &mapping), EROFS, "/state@before");
  CHECK_FAILS(cow_snapshot_map(before, 9, &mapping), EINVAL, "access");
  CHECK_OK(cow_snapshot_map(before, COW_ACCESS_READ, &mapping));
  CHECK(memcmp(Bytes(mapping), "one", 3) == 0);
  cow_mapping_unmap(mapping);
}

void TestSnapshots(cow_volume* volume) {
  cow_file* file = NULL;
  cow_snapshot* before = NULL;
  cow_snapshot* again = NULL;
  cow_entries* entries = NULL;
  CHECK_OK(cow_file_create(volume, "/state", kSize, &file));
  CHECK_OK(cow_file_write(file, 0, "one", 3));
  CHECK_OK(cow_file_take_snapshot(file, "before", &before));
  CHECK_FAILS(cow_file_take_snapshot(file, "before", &again), EEXIST, "/state@before");
  CHECK_FAILS(cow_file_take_snapshot(file, "a/b", &again), EINVAL, "");
  CHECK_FAILS(cow_file_open_snapshot(file, "none", &again), ENOENT, "/state@none");
  CHECK_OK(cow_file_write(file, 0, "two", 3));
  TestSnapshotHandle(before);
  CHECK_EQUAL(ByteAt(volume, "/state@before"), 'o');
  CHECK_FAILS(cow_snapshot_clone_tree(volume, before, "/t", NULL), ENOTDIR, "/t");

  CHECK_OK(cow_file_take_snapshot(file, "later", NULL));
  CHECK_OK(cow_file_list_snapshots(file, &entries));
  CHECK_EQUAL(cow_entries_count(entries), 2);
  CHECK(strcmp(cow_entries_at(entries, 0)->snapshot, "before") == 0);
  CHECK(strcmp(cow_entries_at(entries, 1)->snapshot, "later") == 0);
  CHECK_EQUAL(cow_entries_at(entries, 0)->created_ns, cow_snapshot_time(before));
  cow_entries_free(entries);
  CHECK_OK(cow_list_snapshots(volume, "/", 0, &entries));
  CHECK_EQUAL(cow_entries_count(entries), 0);
  cow_entries_free(entries);
  CHECK_OK(cow_list_snapshots(volume, "/", COW_LIST_RECURSIVE | COW_LIST_SPACE, &entries));
  CHECK_EQUAL(cow_entries_count(entries), 2);
  CHECK(cow_entries_at(entries, 0)->has_space && cow_entries_at(entries, 0)->exclusive_bytes > 0);
  cow_entries_free(entries);

  CHECK_OK(cow_snapshot_rename(before, "first"));
  CHECK_FAILS(cow_snapshot_rename(before, "later"), EEXIST, "later");
  CHECK_OK(cow_file_open_snapshot(file, "first", &again));
  cow_snapshot_close(again);
  CHECK_OK(cow_snapshot_open(volume, "/state", "first", &again));
  CHECK_OK(cow_snapshot_destroy(again));
  CHECK_FAILS(cow_snapshot_destroy(before), ENOENT, "");
  char byte = 0;
  CHECK_EQUAL(cow_snapshot_read(again, 0, &byte, 1), 1);  // the handle reads on
  CHECK_EQUAL(byte, 'o');
  cow_snapshot_close(again);
  CHECK_FAILS(cow_snapshot_open(volume, "/state", "first", &again), ENOENT, "/state@first");
  CHECK(again == NULL);
  cow_snapshot_close(before);

  CHECK_OK(cow_remove(volume, "/state"));
  CHECK_OK(cow_list_snapshots(volume, "/", COW_LIST_RECURSIVE, &entries));
  CHECK_EQUAL(cow_entries_count(entries), 1);
  CHECK_EQUAL(cow_entries_at(entries, 0)->removed, 1);
  cow_entries_free(entries);
  cow_file_close(file);
}

// Every second page is overwritten after a snapshot, so the file is in many extents.
static void TestDefragment(cow_file* file) {
  static char page[kPage];
  memset(page, 1, sizeof(page));
  for (int i = 0; i < kSize / kPage; ++i) {
    CHECK_OK(cow_file_write(file, (uint64_t)i * kPage, page, kPage));
  }
  CHECK_OK(cow_file_take_snapshot(file, "in-order", NULL));
  for (int i = 0; i < kSize / kPage; i += 2) {
    CHECK_OK(cow_file_write(file, (uint64_t)i * kPage, page, kPage));
  }
  int calls = 0;
  cow_defragment_result kept = {0, 0, 0, 0};
  cow_defragment_result moved = {0, 0, 0, 0};
  CHECK_OK(cow_file_defragment(file, 0, NULL, NULL, &kept));
  CHECK(kept.extents_before > 10 && kept.shared_bytes > 0);
  CHECK_OK(cow_file_defragment(file, 1, CountProgress, &calls, &moved));
  CHECK(moved.extents_after < moved.extents_before && moved.moved_bytes > 0);
  CHECK(calls > 0);
  CHECK_OK(cow_file_defragment(file, 0, NULL, NULL, NULL));
}

void TestClonesAndRollBack(cow_volume* volume) {
  cow_file* file = NULL;
  cow_file* fork = NULL;
  cow_snapshot* before = NULL;
  cow_snapshot* replaced = NULL;
  cow_volume* elsewhere = NULL;
  char name[COW_NAME_MAX + 1] = "";
  CHECK_OK(cow_file_create(volume, "/state", kSize, &file));
  CHECK_OK(cow_file_write(file, 0, "1", 1));
  CHECK_OK(cow_file_take_snapshot(file, "before", &before));
  CHECK_OK(cow_file_write(file, 0, "2", 1));
  CHECK_OK(cow_file_clone(volume, file, "/now", &fork));
  CHECK_EQUAL(ByteOf(fork), '2');
  cow_file_close(fork);
  CHECK_FAILS(cow_file_clone(volume, file, "/now", &fork), EEXIST, "/now");
  CHECK(fork == NULL);
  CHECK_OK(cow_snapshot_clone(volume, before, "/then", &fork));
  CHECK_OK(cow_file_write(fork, 0, "3", 1));
  CHECK_EQUAL(ByteAt(volume, "/state@before"), '1');
  CHECK_EQUAL(ByteAt(volume, "/then"), '3');
  cow_file_close(fork);
  CHECK_OK(cow_snapshot_clone(volume, before, "/unwanted", NULL));

  CHECK_OK(cow_volume_in_memory(0, &elsewhere));
  CHECK_FAILS(cow_snapshot_clone(elsewhere, before, "/a", &fork), EXDEV, "/a");
  CHECK_FAILS(cow_file_clone(elsewhere, file, "/a", &fork), EXDEV, "/a");
  cow_volume_close(elsewhere);

  CHECK_OK(cow_snapshot_roll_back(volume, before, &replaced));
  CHECK_EQUAL(ByteOf(file), '1');
  CHECK_OK(cow_snapshot_name(replaced, name, sizeof(name)));
  CHECK(strncmp(name, "rollback-", strlen("rollback-")) == 0);
  CHECK_OK(cow_snapshot_roll_back(volume, replaced, NULL));
  CHECK_EQUAL(ByteOf(file), '2');
  cow_snapshot_close(replaced);
  cow_snapshot_close(before);
  TestDefragment(file);
  cow_file_close(file);
}

void TestTrees(cow_volume* volume) {
  cow_tree* tree = NULL;
  cow_tree* copy = NULL;
  cow_snapshot* monday = NULL;
  cow_file* file = NULL;
  cow_entries* entries = NULL;
  cow_mapping* mapping = NULL;
  char byte;
  CHECK_OK(cow_tree_create(volume, "/data", &tree));
  CHECK_FAILS(cow_tree_create(volume, "/data", &copy), EEXIST, "/data");
  CHECK(strcmp(cow_tree_path(tree), "/data") == 0);
  CHECK_EQUAL(cow_tree_read_only(tree), 0);
  CHECK_OK(cow_file_create(volume, "/data/table", kSize, &file));
  CHECK_OK(cow_file_write(file, 0, "1", 1));
  CHECK_OK(cow_tree_take_snapshot(tree, "monday", &monday));
  CHECK_FAILS(cow_tree_take_snapshot(tree, "monday", NULL), EEXIST, "/data@monday");
  CHECK_OK(cow_file_write(file, 0, "2", 1));
  CHECK_EQUAL(cow_snapshot_is_tree(monday), 1);
  CHECK_EQUAL(cow_snapshot_size(monday), 0);
  CHECK_FAILS(cow_snapshot_read(monday, 0, &byte, 1), EISDIR, "/data@monday");
  CHECK_FAILS(cow_snapshot_map(monday, COW_ACCESS_READ, &mapping), EISDIR, "/data@monday");
  CHECK_FAILS(cow_snapshot_clone(volume, monday, "/f", NULL), EISDIR, "/f");
  cow_snapshot_close(monday);

  CHECK_OK(cow_tree_list_snapshots(tree, &entries));
  CHECK_EQUAL(cow_entries_count(entries), 1);
  CHECK_EQUAL(cow_entries_at(entries, 0)->kind, COW_KIND_TREE);
  cow_entries_free(entries);
  CHECK_FAILS(cow_tree_open_snapshot(tree, "none", &monday), ENOENT, "/data@none");
  CHECK_OK(cow_tree_open_snapshot(tree, "monday", &monday));
  CHECK_OK(cow_tree_open(volume, "/data@monday", &copy));
  CHECK_EQUAL(cow_tree_read_only(copy), 1);
  cow_tree_close(copy);
  CHECK_EQUAL(ByteAt(volume, "/data@monday/table"), '1');

  CHECK_OK(cow_tree_clone(volume, tree, "/now", &copy));
  CHECK(strcmp(cow_tree_path(copy), "/now") == 0);
  cow_tree_close(copy);
  CHECK_OK(cow_snapshot_clone_tree(volume, monday, "/then", &copy));
  cow_tree_close(copy);
  CHECK_EQUAL(ByteAt(volume, "/now/table"), '2');
  CHECK_EQUAL(ByteAt(volume, "/then/table"), '1');
  CHECK_OK(cow_snapshot_roll_back(volume, monday, NULL));
  CHECK_EQUAL(ByteAt(volume, "/data/table"), '1');
  CHECK_FAILS(cow_tree_open(volume, "/data/table", &copy), ENOTDIR, "/data/table");
  cow_snapshot_close(monday);
  cow_file_close(file);
  cow_tree_close(tree);
}
