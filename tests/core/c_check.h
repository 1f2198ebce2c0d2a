// Checks for the test of the C interface, which is a program in C. The first that fails ends it.
#pragma once

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cow/cow.h"

#define CHECK(condition) Check((condition) != 0, #condition, __FILE__, __LINE__)
#define CHECK_EQUAL(one, other) \
  CheckEqual((int64_t)(one), (int64_t)(other), #one " = " #other, __FILE__, __LINE__)
#define CHECK_OK(call) CheckCall((call), 0, "", #call, __FILE__, __LINE__)
// `call` must fail with -error, and the message must have `text` in it.
#define CHECK_FAILS(call, error, text) CheckCall((call), -(error), text, #call, __FILE__, __LINE__)
#define CHECK_NULL(call) CHECK_FAILS(call, EINVAL, "NULL")

static inline void Check(int so, const char* what, const char* file, int line) {
  if (so) return;
  fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
  exit(1);
}

static inline void CheckEqual(int64_t one, int64_t other, const char* what, const char* file,
                              int line) {
  if (one == other) return;
  fprintf(stderr, "%s:%d: not so: %s; %lld, %lld\n", file, line, what, (long long)one,
          (long long)other);
  exit(1);
}

static inline void CheckCall(int64_t result, int64_t expected, const char* text, const char* what,
                             const char* file, int line) {
  const char* const message = cow_error_message();
  if (result == expected && strstr(message, text) != NULL) return;
  fprintf(stderr, "%s:%d: %s gave %lld, not %lld; `%s` in the message: %s\n", file, line, what,
          (long long)result, (long long)expected, text, message);
  exit(1);
}

// Counts its calls in the int that is its context.
static inline void CountProgress(void* context, uint64_t done, uint64_t total) {
  CHECK(total == 0 || done <= total);
  ++*(int*)context;
}

// Each tests a part, on a volume in memory that is empty.
void TestFiles(cow_volume* volume);
void TestNames(cow_volume* volume);
void TestMappings(cow_volume* volume);
void TestSnapshots(cow_volume* volume);
void TestClonesAndRollBack(cow_volume* volume);
void TestTrees(cow_volume* volume);
// On host files below `folder`.
void TestVolumes(const char* folder);
void TestDamage(const char* folder);
