// What an error of a command says: the operation, what it is about, the cause, and what can be
// done. Each once.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace cow::ctl {

// A mistake in the arguments: exit status 2, with the usage.
absl::Status UsageError(std::string_view message);
bool IsUsageError(const absl::Status& status);

// `status` with what it is about before it, where it does not say so itself.
absl::Status Named(const absl::Status& status, std::string_view argument);

// `status` without `prefix`, which says what the name of the command says already.
absl::Status Without(std::string_view prefix, const absl::Status& status);

// `status` with what to do about it, where only the command can know that.
absl::Status Advised(absl::Status status, std::string_view advice);

// What to do about an error of a command; empty where the message says it all.
std::string Advice(std::string_view command, const absl::Status& status);

}  // namespace cow::ctl
