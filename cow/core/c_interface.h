// What the C interface (cow/cow.h) is made of. A handle holds its C++ counterpart; every call goes
// through one of the templates below, so that no error is lost and nothing is thrown into C.
#pragma once

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <new>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/cow.h"
#include "cow/volume.h"

struct cow_volume {
  cow::Volume value;
};
struct cow_file {
  cow::File value;
};
struct cow_tree {
  cow::Tree value;
};
struct cow_snapshot {
  cow::Snapshot value;
};
struct cow_mapping {
  cow::Mapping value;
};
struct cow_entries {
  explicit cow_entries(std::vector<cow::Entry> values);

  const std::vector<cow::Entry> values;  // the strings of `entries`
  std::vector<cow_entry> entries;
};

namespace cow::core {

// Keeps `message` for this thread's cow_error_message, and returns -error.
int Fail(int error, std::string_view message) noexcept;
// Likewise; 0 for OK.
int Fail(const absl::Status& status);
// What to say when one of `wanted` is NULL; 0 where none is.
int FailIfNull(std::initializer_list<const void*> wanted);

// Runs `body`. The library throws nothing of its own; what is caught here is the standard library's
// lack of memory or threads.
template <typename Body>
auto Guarded(Body body) noexcept -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return Fail(ENOMEM, "out of memory");
  } catch (const std::system_error& error) {
    return Fail(error.code().value(), error.what());
  }
}

// `body` returns an absl::Status.
template <typename Body>
int Call(std::initializer_list<const void*> wanted, Body body) {
  if (const int error = FailIfNull(wanted); error != 0) return error;
  return Guarded([&] { return Fail(body()); });
}

// `body` returns an absl::StatusOr of a count.
template <typename Body>
int64_t Count(std::initializer_list<const void*> wanted, Body body) {
  if (const int error = FailIfNull(wanted); error != 0) return error;
  return Guarded([&]() -> int64_t {
    const auto count = body();
    return count.ok() ? static_cast<int64_t>(*count) : Fail(count.status());
  });
}

// `body` returns an absl::StatusOr of what a Handle holds. `result` is among `wanted` where it must
// not be NULL.
template <typename Handle, typename Body>
int Give(Handle** result, std::initializer_list<const void*> wanted, Body body) {
  if (result != nullptr) *result = nullptr;
  if (const int error = FailIfNull(wanted); error != 0) return error;
  return Guarded([&] {
    auto value = body();
    if (!value.ok()) return Fail(value.status());
    if (result != nullptr) *result = new Handle{*std::move(value)};
    return 0;
  });
}

absl::StatusOr<Access> AccessOf(int access);
absl::StatusOr<ListOptions> ListOptionsOf(int flags);
int64_t NanosecondsOf(std::chrono::system_clock::time_point time);
// None for NULL.
std::function<void(uint64_t done, uint64_t total)> ProgressOf(cow_progress progress, void* context);

}  // namespace cow::core
