// The C interface: errors, and what C numbers and lists stand for.
#include "cow/core/c_interface.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "cow/base/status.h"
#include "cow/features.h"

namespace cow::core {
namespace {

// Of a fixed size, so that an error can always be told; longer ones are cut off.
thread_local char error_message[1024] = "";

static_assert(COW_KIND_FILE == static_cast<int>(Kind::kFile));
static_assert(COW_KIND_DIRECTORY == static_cast<int>(Kind::kDirectory));
static_assert(COW_KIND_TREE == static_cast<int>(Kind::kTree));
static_assert(COW_KIND_LINK == static_cast<int>(Kind::kLink));
static_assert(COW_KIND_OTHER == static_cast<int>(Kind::kOther));
static_assert(COW_ACCESS_READ == static_cast<int>(Access::kRead));
static_assert(COW_ACCESS_SCRATCH == static_cast<int>(Access::kScratch));
static_assert(COW_ACCESS_WRITE == static_cast<int>(Access::kWrite));

absl::Status NoSuchNumber(std::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, EINVAL, what);
}

cow_entry EntryOf(const Entry& entry) {
  const SpaceUse space = entry.space.value_or(SpaceUse{});
  return {.path = entry.path.c_str(),
          .snapshot = entry.snapshot.c_str(),
          .kind = static_cast<int>(entry.kind),
          .removed = entry.removed,
          .size = entry.size,
          .created_ns = NanosecondsOf(entry.created),
          .snapshots = entry.snapshots,
          .has_space = entry.space.has_value(),
          .referenced_bytes = space.referenced_bytes,
          .exclusive_bytes = space.exclusive_bytes};
}

}  // namespace

int Fail(int error, std::string_view message) noexcept {
  const size_t size = std::min(message.size(), sizeof(error_message) - 1);
  std::memcpy(error_message, message.data(), size);
  error_message[size] = '\0';
  return -error;
}

int Fail(const absl::Status& status) {
  if (status.ok()) return 0;
  return Fail(ErrnoOf(status), {status.message().data(), status.message().size()});
}

int FailIfNull(std::initializer_list<const void*> wanted) {
  if (std::find(wanted.begin(), wanted.end(), nullptr) == wanted.end()) return 0;
  return Fail(EINVAL, "an argument that must not be NULL is NULL");
}

absl::StatusOr<Access> AccessOf(int access) {
  if (access < COW_ACCESS_READ || access > COW_ACCESS_WRITE) {
    return NoSuchNumber("no such access; it is one of COW_ACCESS_...");
  }
  return static_cast<Access>(access);
}

absl::StatusOr<ListOptions> ListOptionsOf(int flags) {
  if ((flags & ~(COW_LIST_RECURSIVE | COW_LIST_SPACE)) != 0) {
    return NoSuchNumber("no such flag; they are COW_LIST_...");
  }
  return ListOptions{.recursive = (flags & COW_LIST_RECURSIVE) != 0,
                     .space = (flags & COW_LIST_SPACE) != 0};
}

int64_t NanosecondsOf(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

std::function<void(uint64_t, uint64_t)> ProgressOf(cow_progress progress, void* context) {
  if (progress == nullptr) return {};
  return [progress, context](uint64_t done, uint64_t total) { progress(context, done, total); };
}

}  // namespace cow::core

using cow::core::Call;

cow_entries::cow_entries(std::vector<cow::Entry> from) : values(std::move(from)) {
  for (const cow::Entry& entry : values) entries.push_back(cow::core::EntryOf(entry));
}

extern "C" {

const char* cow_error_message(void) { return cow::core::error_message; }

size_t cow_entries_count(const cow_entries* entries) {
  return entries == nullptr ? 0 : entries->entries.size();
}

const cow_entry* cow_entries_at(const cow_entries* entries, size_t number) {
  return number < cow_entries_count(entries) ? &entries->entries[number] : nullptr;
}

void cow_entries_free(cow_entries* entries) { delete entries; }

int cow_machine_features(const cow_feature** result, size_t* count) {
  return Call({result, count}, [&] {
    // Never destroyed: they are handed out for as long as the process lives.
    static const auto& features = *new const std::vector<cow::Feature>(cow::MachineFeatures());
    static const auto& listed = *new const std::vector<cow_feature>([] {
      std::vector<cow_feature> list;
      for (const cow::Feature& feature : features) {
        list.push_back({.name = feature.name.c_str(),
                        .available = feature.available,
                        .use = feature.use.c_str(),
                        .instead = feature.instead.c_str()});
      }
      return list;
    }());
    *result = listed.data();
    *count = listed.size();
    return absl::OkStatus();
  });
}

}  // extern "C"
