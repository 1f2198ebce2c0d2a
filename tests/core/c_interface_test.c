// The C interface, called from C: what goes through it arrives, and errors come back.
#define _GNU_SOURCE
#include <ftw.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/core/c_check.h"

static char folder[] = "/tmp/cow-c-interface-XXXXXX";

static int RemoveOne(const char* path, const struct stat* status, int type, struct FTW* where) {
  (void)status, (void)type, (void)where;
  return remove(path);
}

static void RemoveFolder(void) { nftw(folder, RemoveOne, 8, FTW_DEPTH | FTW_PHYS); }

static cow_volume* InMemory(void) {
  cow_volume* volume = NULL;
  CHECK_OK(cow_volume_in_memory(0, &volume));
  return volume;
}

static void TestOnVolume(void (*test)(cow_volume* volume)) {
  cow_volume* const volume = InMemory();
  test(volume);
  cow_volume_close(volume);
}

// NULL for each argument that must not be, one at a time.
static void TestNullOfVolumes(cow_volume* volume) {
  cow_volume* opened = volume;
  CHECK_NULL(cow_volume_open(NULL, NULL, &opened));
  CHECK(opened == NULL);
  CHECK_NULL(cow_volume_open("/nowhere", NULL, NULL));
  CHECK_NULL(cow_volume_in_memory(0, NULL));
  CHECK_NULL(cow_volume_sync(NULL));
  CHECK_NULL(cow_volume_health(NULL));
  uint8_t uuid[16];
  CHECK_NULL(cow_volume_uuid(NULL, uuid));
  CHECK_NULL(cow_volume_uuid(volume, NULL));
  cow_volume_space space;
  CHECK_NULL(cow_volume_get_space(NULL, &space));
  CHECK_NULL(cow_volume_get_space(volume, NULL));
  cow_statistics statistics;
  CHECK_NULL(cow_volume_get_statistics(NULL, &statistics));
  CHECK_NULL(cow_volume_get_statistics(volume, NULL));
  cow_check_result checked;
  CHECK_NULL(cow_volume_check(NULL, NULL, NULL, NULL, &checked));
  CHECK_NULL(cow_volume_check(volume, NULL, NULL, NULL, NULL));
  cow_repair_result repaired;
  CHECK_NULL(cow_volume_repair(NULL, NULL, NULL, &repaired));
  CHECK_NULL(cow_volume_repair(volume, NULL, NULL, NULL));
  cow_salvage_result salvaged;
  CHECK_NULL(cow_salvage(NULL, "/nowhere", NULL, NULL, NULL, &salvaged));
  CHECK_NULL(cow_salvage("/nowhere", NULL, NULL, NULL, NULL, &salvaged));
  CHECK_NULL(cow_salvage("/nowhere", "/nowhere", NULL, NULL, NULL, NULL));
  CHECK_NULL(cow_create_directory(NULL, "/a"));
  CHECK_NULL(cow_create_directory(volume, NULL));
  CHECK_NULL(cow_remove(NULL, "/a"));
  CHECK_NULL(cow_remove(volume, NULL));
  CHECK_NULL(cow_rename(NULL, "/a", "/b"));
  CHECK_NULL(cow_rename(volume, NULL, "/b"));
  CHECK_NULL(cow_rename(volume, "/a", NULL));
  cow_entries* entries;
  CHECK_NULL(cow_stat(NULL, "/", 0, &entries));
  CHECK_NULL(cow_stat(volume, NULL, 0, &entries));
  CHECK_NULL(cow_stat(volume, "/", 0, NULL));
  CHECK_NULL(cow_list(NULL, "/", &entries));
  CHECK_NULL(cow_list(volume, NULL, &entries));
  CHECK_NULL(cow_list(volume, "/", NULL));
  CHECK_NULL(cow_list_snapshots(NULL, "/", 0, &entries));
  CHECK_NULL(cow_list_snapshots(volume, NULL, 0, &entries));
  CHECK_NULL(cow_list_snapshots(volume, "/", 0, NULL));
}

static void TestNullOfFilesAndTrees(cow_volume* volume) {
  cow_file* file = NULL;
  cow_tree* tree = NULL;
  cow_snapshot* snapshot = NULL;
  cow_mapping* mapping = NULL;
  cow_entries* entries = NULL;
  char byte;
  CHECK_NULL(cow_file_create(NULL, "/a", 0, &file));
  CHECK_NULL(cow_file_create(volume, NULL, 0, &file));
  CHECK_NULL(cow_file_open(NULL, "/a", &file));
  CHECK_NULL(cow_file_open(volume, NULL, &file));
  CHECK_NULL(cow_file_open(volume, "/a", NULL));
  CHECK(cow_file_path(NULL) == NULL);
  CHECK_NULL(cow_file_read_only(NULL));
  CHECK_NULL(cow_file_size(NULL));
  CHECK_NULL(cow_file_read(NULL, 0, &byte, 1));
  CHECK_NULL(cow_file_write(NULL, 0, "a", 1));
  CHECK_NULL(cow_file_truncate(NULL, 0));
  CHECK_NULL(cow_file_punch(NULL, 0, 1));
  CHECK_NULL(cow_file_defragment(NULL, 0, NULL, NULL, NULL));
  CHECK_NULL(cow_file_map(NULL, COW_ACCESS_READ, &mapping));
  CHECK_NULL(cow_file_take_snapshot(NULL, "s", NULL));
  CHECK_NULL(cow_file_open_snapshot(NULL, "s", &snapshot));
  CHECK_NULL(cow_file_list_snapshots(NULL, &entries));
  CHECK_NULL(cow_file_clone(volume, NULL, "/b", &file));
  CHECK_NULL(cow_tree_create(NULL, "/a", &tree));
  CHECK_NULL(cow_tree_create(volume, NULL, &tree));
  CHECK_NULL(cow_tree_open(NULL, "/", &tree));
  CHECK_NULL(cow_tree_open(volume, NULL, &tree));
  CHECK_NULL(cow_tree_open(volume, "/", NULL));
  CHECK(cow_tree_path(NULL) == NULL);
  CHECK_NULL(cow_tree_read_only(NULL));
  CHECK_NULL(cow_tree_take_snapshot(NULL, "s", NULL));
  CHECK_NULL(cow_tree_open_snapshot(NULL, "s", &snapshot));
  CHECK_NULL(cow_tree_list_snapshots(NULL, &entries));
  CHECK_NULL(cow_tree_clone(volume, NULL, "/b", &tree));

  CHECK_OK(cow_file_create(volume, "/a", 0, &file));
  CHECK_NULL(cow_file_read(file, 0, NULL, 1));
  CHECK_NULL(cow_file_write(file, 0, NULL, 1));
  CHECK_NULL(cow_file_map(file, COW_ACCESS_READ, NULL));
  CHECK_NULL(cow_file_take_snapshot(file, NULL, &snapshot));
  CHECK_NULL(cow_file_open_snapshot(file, NULL, &snapshot));
  CHECK_NULL(cow_file_open_snapshot(file, "s", NULL));
  CHECK_NULL(cow_file_list_snapshots(file, NULL));
  CHECK_NULL(cow_file_clone(NULL, file, "/b", NULL));
  CHECK_NULL(cow_file_clone(volume, file, NULL, NULL));
  cow_file_close(file);
  CHECK_OK(cow_tree_open(volume, "/", &tree));
  CHECK_NULL(cow_tree_take_snapshot(tree, NULL, &snapshot));
  CHECK_NULL(cow_tree_open_snapshot(tree, NULL, &snapshot));
  CHECK_NULL(cow_tree_open_snapshot(tree, "s", NULL));
  CHECK_NULL(cow_tree_list_snapshots(tree, NULL));
  CHECK_NULL(cow_tree_clone(NULL, tree, "/b", NULL));
  CHECK_NULL(cow_tree_clone(volume, tree, NULL, NULL));
  cow_tree_close(tree);
}

static void TestNullOfSnapshotsAndMappings(cow_volume* volume) {
  cow_file* file = NULL;
  cow_tree* tree = NULL;
  cow_snapshot* snapshot = NULL;
  cow_mapping* mapping = NULL;
  cow_space_use use;
  char name[COW_NAME_MAX + 1];
  CHECK_NULL(cow_snapshot_open(NULL, "/a", "s", &snapshot));
  CHECK_NULL(cow_snapshot_open(volume, NULL, "s", &snapshot));
  CHECK_NULL(cow_snapshot_open(volume, "/a", NULL, &snapshot));
  CHECK_NULL(cow_snapshot_open(volume, "/a", "s", NULL));
  CHECK_NULL(cow_snapshot_name(NULL, name, sizeof(name)));
  CHECK(cow_snapshot_path(NULL) == NULL);
  CHECK_NULL(cow_snapshot_is_tree(NULL));
  CHECK_NULL(cow_snapshot_size(NULL));
  CHECK_NULL(cow_snapshot_time(NULL));
  CHECK_NULL(cow_snapshot_read(NULL, 0, name, 1));
  CHECK_NULL(cow_snapshot_get_space(NULL, &use));
  CHECK_NULL(cow_snapshot_rename(NULL, "t"));
  CHECK_NULL(cow_snapshot_destroy(NULL));
  CHECK_NULL(cow_snapshot_clone(volume, NULL, "/b", &file));
  CHECK_NULL(cow_snapshot_clone_tree(volume, NULL, "/b", &tree));
  CHECK_NULL(cow_snapshot_roll_back(volume, NULL, NULL));
  CHECK_NULL(cow_snapshot_map(NULL, COW_ACCESS_READ, &mapping));
  CHECK(cow_mapping_bytes(NULL) == NULL);
  CHECK_EQUAL(cow_mapping_size(NULL), 0);
  CHECK_NULL(cow_mapping_access(NULL));
  CHECK_NULL(cow_mapping_status(NULL));
  CHECK_NULL(cow_mapping_seal(NULL));
  CHECK_NULL(cow_mapping_reset(NULL));
  CHECK_EQUAL(cow_entries_count(NULL), 0);
  CHECK(cow_entries_at(NULL, 0) == NULL);
  const cow_feature* features;
  size_t count;
  CHECK_NULL(cow_machine_features(NULL, &count));
  CHECK_NULL(cow_machine_features(&features, NULL));

  CHECK_OK(cow_tree_open(volume, "/", &tree));
  CHECK_OK(cow_tree_take_snapshot(tree, "s", &snapshot));
  CHECK_NULL(cow_snapshot_name(snapshot, NULL, 1));
  CHECK_NULL(cow_snapshot_read(snapshot, 0, NULL, 1));
  CHECK_NULL(cow_snapshot_get_space(snapshot, NULL));
  CHECK_NULL(cow_snapshot_rename(snapshot, NULL));
  CHECK_NULL(cow_snapshot_clone(NULL, snapshot, "/b", NULL));
  CHECK_NULL(cow_snapshot_clone(volume, snapshot, NULL, NULL));
  CHECK_NULL(cow_snapshot_clone_tree(NULL, snapshot, "/b", NULL));
  CHECK_NULL(cow_snapshot_clone_tree(volume, snapshot, NULL, NULL));
  CHECK_NULL(cow_snapshot_roll_back(NULL, snapshot, NULL));
  CHECK_NULL(cow_snapshot_map(snapshot, COW_ACCESS_READ, NULL));
  cow_snapshot_close(snapshot);
  cow_tree_close(tree);
}

static void TestEndOfNull(void) {
  cow_volume_close(NULL);
  cow_file_close(NULL);
  cow_tree_close(NULL);
  cow_snapshot_close(NULL);
  cow_mapping_unmap(NULL);
  cow_entries_free(NULL);
}

static void* MessageOfOtherThread(void* volume) {
  CHECK(cow_error_message()[0] == '\0');
  CHECK_FAILS(cow_remove(volume, "/other"), ENOENT, "/other");
  return NULL;
}

static void TestMessagesAreOfTheThread(cow_volume* volume) {
  CHECK_FAILS(cow_remove(volume, "/mine"), ENOENT, "/mine");
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, MessageOfOtherThread, volume) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(strstr(cow_error_message(), "/mine") != NULL);
  CHECK_OK(cow_volume_sync(volume));
  CHECK(strstr(cow_error_message(), "/mine") != NULL);  // what succeeds leaves it
}

static void TestLongMessagesAreCutOff(cow_volume* volume) {
  char path[8192];
  memset(path, 'a', sizeof(path));
  path[sizeof(path) - 1] = '\0';
  CHECK(cow_remove(volume, path) < 0);
  CHECK(strlen(cow_error_message()) > 500 && strlen(cow_error_message()) < sizeof(path));
}

// A path for whose copy there is no memory: what the library throws then does not reach C.
static void TestWantOfMemoryIsAnError(cow_volume* volume) {
#ifndef COW_SANITIZED
  const size_t size = (size_t)64 << 20;
  char* const path = malloc(size);
  CHECK(path != NULL);
  memset(path, 'a', size - 1);
  path[size - 1] = '\0';
  struct rlimit old;
  CHECK(getrlimit(RLIMIT_AS, &old) == 0);
  struct rlimit little = old;
  little.rlim_cur = 1;  // less than there is already: nothing can grow
  CHECK(setrlimit(RLIMIT_AS, &little) == 0);
  CHECK_FAILS(cow_remove(volume, path), ENOMEM, "memory");
  CHECK(setrlimit(RLIMIT_AS, &old) == 0);
  free(path);
#endif
  CHECK_FAILS(cow_remove(volume, "/none"), ENOENT, "/none");
}

static void TestFeatures(void) {
  const cow_feature* features = NULL;
  const cow_feature* again = NULL;
  size_t count = 0;
  CHECK_OK(cow_machine_features(&features, &count));
  int found = 0;
  for (size_t i = 0; i < count; ++i) {
    CHECK(features[i].use[0] != '\0' && features[i].instead[0] != '\0');
    if (strcmp(features[i].name, "populate") == 0) {
      CHECK_EQUAL(features[i].available, 0);  // switched off by main
      ++found;
    }
  }
  CHECK_EQUAL(found, 1);
  CHECK_OK(cow_machine_features(&again, &count));
  CHECK(again == features);
}

// usage: c_interface_test [FEATURES TO DO WITHOUT, one of them populate]
int main(int count, char** arguments) {
  CHECK(cow_error_message()[0] == '\0');
  CHECK(setenv("COW_WITHOUT", count > 1 ? arguments[1] : "populate", 1) == 0);
  CHECK(mkdtemp(folder) != NULL);
  CHECK(atexit(RemoveFolder) == 0);
  TestOnVolume(TestNullOfVolumes);
  TestOnVolume(TestNullOfFilesAndTrees);
  TestOnVolume(TestNullOfSnapshotsAndMappings);
  TestEndOfNull();
  TestOnVolume(TestMessagesAreOfTheThread);
  TestOnVolume(TestLongMessagesAreCutOff);
  TestOnVolume(TestWantOfMemoryIsAnError);
  TestFeatures();
  TestOnVolume(TestFiles);
  TestOnVolume(TestNames);
  TestOnVolume(TestMappings);
  TestOnVolume(TestSnapshots);
  TestOnVolume(TestClonesAndRollBack);
  TestOnVolume(TestTrees);
  TestVolumes(folder);
  TestDamage(folder);
  return 0;
}
