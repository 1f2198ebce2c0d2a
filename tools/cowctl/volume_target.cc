#include <signal.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cow/base/rate_limit.h"
#include "cow/base/status.h"
#include "cow/base/types.h"
#include "cow/volume.h"
#include "tools/cowctl/errors.h"
#include "tools/cowctl/mountinfo.h"
#include "tools/cowctl/target.h"

namespace cow::ctl {
namespace {

using control::Command;
using control::Reply;
using control::Request;

// As the library writes paths: with a slash in front.
std::string Absolute(std::string_view path) {
  return absl::StrCat("/", absl::string_view(path.data(), path.size()));
}

std::string Relative(std::string_view path) {
  while (path.starts_with('/')) path.remove_prefix(1);
  return std::string(path);
}

int64_t Nanoseconds(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

control::Kind KindOf(Kind kind) {
  switch (kind) {
    case Kind::kFile:
      return control::Kind::kFile;
    case Kind::kDirectory:
      return control::Kind::kDirectory;
    case Kind::kTree:
      return control::Kind::kTree;
    case Kind::kLink:
      return control::Kind::kLink;
    case Kind::kOther:
      return control::Kind::kOther;
  }
  return control::Kind::kOther;
}

control::Entry EntryOf(const Entry& entry) {
  return {.path = Relative(entry.path),
          .name = entry.snapshot,
          .kind = KindOf(entry.kind),
          .removed = entry.removed,
          .has_space = entry.space.has_value(),
          .size = entry.size,
          .created_ns = Nanoseconds(entry.created),
          .referenced = entry.space ? entry.space->referenced_bytes : 0,
          .exclusive = entry.space ? entry.space->exclusive_bytes : 0,
          .snapshots = entry.snapshots};
}

control::Entry EntryOf(const Snapshot& snapshot) {
  return {.path = Relative(snapshot.path()),
          .name = snapshot.name(),
          .kind = snapshot.is_tree() ? control::Kind::kTree : control::Kind::kFile,
          .size = snapshot.size(),
          .created_ns = Nanoseconds(snapshot.time())};
}

// An error of the library without the operation and the path that it begins with, which are as the
// argument names them: "open snapshot /a@b: no such snapshot".
absl::Status CauseOf(const absl::Status& status, const Request& request) {
  const std::string path = Absolute(request.path);
  for (const std::string& label :
       {absl::StrCat(path, "@", request.name), path, Absolute(request.target)}) {
    const std::string end = absl::StrCat(" ", label, ": ");
    const size_t at = status.message().find(end);
    if (at >= status.message().find(": ")) continue;
    return Without(std::string(status.message().substr(0, at + end.size())), status);
  }
  return status;
}

// What `look` finds. Counting space needs that nobody writes the volume; all else is known beside a
// writer too.
template <typename Look>
auto WithSpaceIfCounted(bool space, const Look& look) {
  auto found = look(space);
  return space && absl::IsUnavailable(found.status()) ? look(false) : std::move(found);
}

class VolumeTarget : public Target {
 public:
  VolumeTarget(std::string name, Volume volume)
      : name_(std::move(name)), volume_(std::move(volume)) {}

  absl::StatusOr<Reply> Execute(const Request& request) override {
    absl::StatusOr<Reply> reply = Answer(request);
    // One about the volume as a whole says so, and keeps what was being done.
    if (reply.ok() || absl::StrContains(reply.status().message(), name_ + ": ")) return reply;
    return CauseOf(reply.status(), request);
  }

  absl::StatusOr<CheckOutcome> Check(
      uint64_t rate, const std::function<void(uint64_t, uint64_t)>& progress) override {
    RateLimit limit(rate);
    uint64_t told = 0;
    COW_ASSIGN_OR_RETURN(CheckResult result, volume_.Check([&](uint64_t done, uint64_t all) {
      progress(done / kPageSize, all / kPageSize);
      std::this_thread::sleep_until(
          limit.Spend(done - std::exchange(told, done), RateLimit::Clock::now()));
    }));
    CheckOutcome outcome{.damages = {}, .frames = result.checked_bytes / kPageSize};
    for (Damage& damage : result.damages) {
      outcome.damages.push_back({.where = std::move(damage.where), .what = std::move(damage.what)});
    }
    return outcome;
  }

  absl::StatusOr<control::Defragmented> Defragment(
      const std::string& path, bool unshare,
      const std::function<void(uint64_t, uint64_t)>& progress) override {
    const auto run = [&]() -> absl::StatusOr<control::Defragmented> {
      COW_ASSIGN_OR_RETURN(File file, volume_.OpenFile(Absolute(path)));
      COW_ASSIGN_OR_RETURN(const DefragmentResult result,
                           file.Defragment({.unshare = unshare, .progress = progress}));
      return control::Defragmented{.extents_before = result.extents_before,
                                   .extents_after = result.extents_after,
                                   .moved_bytes = result.moved_bytes,
                                   .shared_bytes = result.shared_bytes,
                                   .file_bytes = file.size()};
    };
    absl::StatusOr<control::Defragmented> result = run();
    if (!result.ok()) return CauseOf(result.status(), {.path = path});
    return result;
  }

  absl::StatusOr<std::string> Inside(std::string_view argument) const override {
    std::string_view volume;
    std::string_view path;
    if (!SplitVolume(argument, volume, path) || volume != name_) {
      return MakeError(absl::StatusCode::kInvalidArgument, EXDEV,
                       absl::StrCat(std::string(argument), ": not of the form ", name_, ":/path"));
    }
    while (path.ends_with('/')) path.remove_suffix(1);
    return Relative(path);
  }

 protected:
  std::string FullNameOf(std::string_view path) const override {
    return name_ + ":" + Absolute(path);
  }

 private:
  absl::StatusOr<Reply> Answer(const Request& request) {
    Reply reply;
    if (request.command == Command::kStatistics) {
      const VolumeSpace space = volume_.Space();
      reply.info = {.volume = name_,
                    .uuid = control::UuidText(volume_.Uuid()),
                    .total_bytes = space.total_bytes,
                    .used_bytes = space.used_bytes,
                    .available_bytes = space.available_bytes};
      return reply;
    }
    if (request.command == Command::kList) {
      COW_ASSIGN_OR_RETURN(const std::vector<Entry> entries,
                           WithSpaceIfCounted(request.space, [&](bool space) {
                             return volume_.ListSnapshots(Absolute(request.path),
                                                          {.recursive = true, .space = space});
                           }));
      for (const Entry& entry : entries) reply.entries.push_back(EntryOf(entry));
      return reply;
    }
    COW_ASSIGN_OR_RETURN(control::Entry entry, ExecuteOne(request));
    // What a command says it did survives a crash from here on.
    if (request.command != Command::kStat) COW_RETURN_IF_ERROR(volume_.Sync());
    reply.entries.push_back(std::move(entry));
    return reply;
  }

  absl::StatusOr<control::Entry> ExecuteOne(const Request& request) {
    const std::string path = Absolute(request.path);
    switch (request.command) {
      case Command::kSnapshot:
        return TakeSnapshot(path, request.name);
      case Command::kClone:
        return Clone(path, Absolute(request.target));
      case Command::kRollBack: {
        COW_ASSIGN_OR_RETURN(const Snapshot snapshot, volume_.OpenSnapshot(path, request.name));
        COW_ASSIGN_OR_RETURN(const Snapshot kept, volume_.RollBack(snapshot));
        return EntryOf(kept);
      }
      case Command::kRename: {
        COW_ASSIGN_OR_RETURN(Snapshot snapshot, volume_.OpenSnapshot(path, request.name));
        COW_RETURN_IF_ERROR(snapshot.Rename(request.target));
        return EntryOf(snapshot);
      }
      case Command::kDestroy: {
        COW_ASSIGN_OR_RETURN(Snapshot snapshot, volume_.OpenSnapshot(path, request.name));
        control::Entry entry = EntryOf(snapshot);
        COW_RETURN_IF_ERROR(snapshot.Destroy());
        return entry;
      }
      case Command::kStat:
        return StatOf(path, request.space);
      case Command::kCreateTree:
        COW_RETURN_IF_ERROR(volume_.CreateTree(path).status());
        return StatOf(path, false);
      default:
        return MakeError(absl::StatusCode::kUnimplemented, EOPNOTSUPP, "not for a volume");
    }
  }

  absl::StatusOr<control::Entry> StatOf(const std::string& path, bool space) {
    COW_ASSIGN_OR_RETURN(const Entry entry, WithSpaceIfCounted(space, [&](bool counted) {
                           return volume_.Stat(path, {.space = counted});
                         }));
    return EntryOf(entry);
  }

  absl::StatusOr<bool> IsTree(const std::string& path) {
    COW_ASSIGN_OR_RETURN(const Entry entry, volume_.Stat(path));
    // Of a plain directory the library says, as of a tree, what is to be done.
    return entry.kind == Kind::kTree || entry.kind == Kind::kDirectory;
  }

  absl::StatusOr<control::Entry> TakeSnapshot(const std::string& path, const std::string& name) {
    COW_ASSIGN_OR_RETURN(const bool is_tree, IsTree(path));
    if (is_tree) {
      COW_ASSIGN_OR_RETURN(Tree tree, volume_.OpenTree(path));
      COW_ASSIGN_OR_RETURN(const Snapshot snapshot, tree.TakeSnapshot(name));
      return EntryOf(snapshot);
    }
    COW_ASSIGN_OR_RETURN(File file, volume_.OpenFile(path));
    COW_ASSIGN_OR_RETURN(const Snapshot snapshot, file.TakeSnapshot(name));
    return EntryOf(snapshot);
  }

  absl::StatusOr<control::Entry> Clone(const std::string& source, const std::string& target) {
    COW_ASSIGN_OR_RETURN(const bool is_tree, IsTree(source));
    if (is_tree) {
      COW_ASSIGN_OR_RETURN(const Tree tree, volume_.OpenTree(source));
      COW_RETURN_IF_ERROR(volume_.CloneTree(tree, target).status());
    } else {
      COW_ASSIGN_OR_RETURN(const File file, volume_.OpenFile(source));
      COW_RETURN_IF_ERROR(volume_.Clone(file, target).status());
    }
    return StatOf(target, false);
  }

  const std::string name_;
  Volume volume_;
};

// Whether who has the volume open for writing will soon be done, as `status` names it: a cowctl; or
// a process that is gone, whose name stands there until the next one has written its own.
bool HeldBriefly(const absl::Status& status) {
  constexpr absl::string_view kHolder = "in use by process ";
  const absl::string_view message = status.message();
  const size_t at = message.find(kHolder);
  if (ErrnoOf(status) != EBUSY || at == absl::string_view::npos) return false;
  const absl::string_view holder = message.substr(at + kHolder.size());
  const size_t space = std::min(holder.find(' '), holder.size());
  if (absl::StartsWith(holder.substr(space), " (cowctl)")) return true;
  pid_t process = 0;
  return absl::SimpleAtoi(holder.substr(0, space), &process) && process > 0 &&
         kill(process, 0) != 0 && errno == ESRCH;
}

// `status`, that a process has the volume open for writing, with where that has it mounted.
absl::Status NamingTheMount(absl::Status status, const std::string& volume) {
  if (ErrnoOf(status) != EBUSY) return status;
  const std::optional<Mount> mount = MountOfVolume(volume);
  if (!mount.has_value() || mount->read_only) return status;
  const std::string cause(status.message().substr(0, status.message().rfind("; ")));
  return Advised(MakeError(status.code(), EBUSY, cause),
                 absl::StrCat("name paths in its mount, ", mount->point));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Target>> OpenVolume(const std::string& volume, bool write) {
  constexpr auto kPatience = std::chrono::seconds(5);
  constexpr auto kPause = std::chrono::milliseconds(10);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    absl::StatusOr<Volume> opened = Volume::Open(volume, {.read_only = !write});
    if (opened.ok()) return std::make_unique<VolumeTarget>(volume, *std::move(opened));
    if (!HeldBriefly(opened.status()) || std::chrono::steady_clock::now() > deadline) {
      return NamingTheMount(Without("open volume: ", opened.status()), volume);
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace cow::ctl
