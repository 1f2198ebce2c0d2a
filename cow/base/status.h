// Early return on errors, and errors made of an errno.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cow {

// The status of a failed system call: "WHAT: strerror", with the errno kept as a payload, so that a
// filesystem can give the caller the number that the kernel gave.
absl::Status ErrnoStatus(int error, std::string_view what);

// The errno that says best what `status` says; 0 for OK. Takes the one kept by ErrnoStatus or
// WithErrno where there is one.
int ErrnoOf(const absl::Status& status);

// `status` with its errno set to `error`.
absl::Status WithErrno(absl::Status status, int error);

// Error constructors with an explicit errno, for conditions POSIX names and Abseil does not.
absl::Status MakeError(absl::StatusCode code, int error, std::string_view message);

// `status` with "CONTEXT: " before its message; OK stays OK.
absl::Status Annotate(const absl::Status& status, std::string_view context);

}  // namespace cow

#define COW_CONCAT_INNER(a, b) a##b
#define COW_CONCAT(a, b) COW_CONCAT_INNER(a, b)

// Returns from the calling function when `expression`, an absl::Status, is not OK.
#define COW_RETURN_IF_ERROR(expression)                                              \
  do {                                                                               \
    if (absl::Status cow_status = (expression); !cow_status.ok()) return cow_status; \
  } while (false)

// Declares or assigns `target` from an absl::StatusOr, or returns its error.
#define COW_ASSIGN_OR_RETURN(target, expression) \
  COW_ASSIGN_OR_RETURN_INNER(COW_CONCAT(cow_result_, __LINE__), target, expression)
#define COW_ASSIGN_OR_RETURN_INNER(result, target, expression) \
  auto result = (expression);                                  \
  if (!result.ok()) return std::move(result).status();         \
  target = std::move(result).value()
