#include "tools/cowctl/commands.h"

#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "tools/cowctl/entry.h"
#include "tools/cowctl/errors.h"
#include "tools/cowctl/target.h"

namespace cow::ctl {
namespace {

using control::Command;
using control::Entry;
using control::Reply;
using control::Request;

constexpr Operand kPathOrSnapshot = {"PATH[@NAME]",
                                     "A file or tree, as it is now or in its snapshot NAME"};
constexpr Operand kSnapshotOfPath = {"PATH@NAME", "The snapshot NAME of the file or tree PATH"};

constexpr CommandSpec kCommands[] = {
    {"create",
     {{{"VOLUME", "The file of the host that becomes the volume; there must be none"}}},
     "Make a volume",
     "cowctl create app.cow --size 512M",
     &Create,
     {.size = true}},
    {"tree create",
     {{{"PATH", "Where the tree comes to stand; there must be nothing yet"}}},
     "Make a directory that is the root of a tree of its own",
     "cowctl tree create mnt/project",
     &TreeCreate},
    {"snapshot",
     {{{"PATH@NAME", "The file or tree PATH, and the name that its snapshot gets"}}},
     "Take a snapshot of a file or tree; durable when it returns",
     "cowctl snapshot mnt/app.db@monday",
     &Snapshot},
    {"clone",
     {{kPathOrSnapshot, {"NEWPATH", "Where the clone comes to stand, in the same volume"}}},
     "Make a file or tree from a snapshot, or from a head",
     "cowctl clone mnt/app.db@monday mnt/what-if.db",
     &Clone},
    {"rollback",
     {{kSnapshotOfPath}},
     "Make a file or tree what a snapshot of it holds",
     "cowctl rollback mnt/app.db@monday",
     &RollBack},
    {"rename",
     {{{"PATH@OLD", "The snapshot OLD of the file or tree PATH"}, {"NEW", "Its name from now on"}}},
     "Give a snapshot another name",
     "cowctl rename mnt/app.db@monday before-upgrade",
     &Rename},
    {"destroy",
     {{{"PATH@NAME...", "Snapshots; the first that cannot be destroyed ends it"}}},
     "Destroy snapshots",
     "cowctl destroy mnt/app.db@monday mnt/app.db@tuesday",
     &Destroy},
    {"list",
     {{{"[PATH]", "Whose snapshots, or one PATH@NAME; without it, the current directory"}}},
     "List the snapshots of PATH and of all below it",
     "cowctl list --space app.cow:/",
     &List,
     {.space = true}},
    {"stat",
     {{{"PATH[@NAME]|VOLUME|MOUNT",
        "A file, tree or snapshot; or a volume, and where it is mounted what was done since"}}},
     "Show a file, a tree or a snapshot, and the space it takes; or a volume, and what it does",
     "cowctl stat mnt/app.db@monday; cowctl stat mnt --watch",
     &Stat,
     {.watch = true}},
    {"check",
     {{{"VOLUME|MOUNT", "A volume that is not mounted, or a directory where one is"}}},
     "Verify every frame and every count of a volume",
     "cowctl check app.cow",
     &Check,
     {.repair = true, .rate = true}},
    {"defrag",
     {{{"PATH", "A file; what snapshots and clones share with it stays where it is"}}},
     "Bring a file that lies scattered in the volume into long extents",
     "cowctl defrag mnt/app.db",
     &Defragment,
     {.unshare = true}},
    {"salvage",
     {{{"VOLUME", "A volume that is damaged; it is only read"},
       {"DIR", "The directory that the copies go to; there is none, or it is empty"}}},
     "Copy out of a damaged volume every file and snapshot that can still be read",
     "cowctl salvage broken.cow rescued",
     &Salvage},
    {"features",
     {{{"[MOUNT]", "Where a volume is mounted, to ask its cowfs; without it, this machine"}}},
     "Show what this machine has, and what is used in its place",
     "cowctl features mnt",
     &Features},
};

// Refuses what can never be the name of a snapshot.
absl::Status CheckName(std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.size() > control::kMaxName ||
      name.find('/') != std::string_view::npos || name.find('@') != std::string_view::npos) {
    return UsageError(absl::StrCat("\"", absl::string_view(name.data(), name.size()),
                                   "\" is no name for a snapshot: 1 to 255 bytes without / and @"));
  }
  return absl::OkStatus();
}

// Whether it is PATH@NAME.
absl::Status CheckForm(const std::string& argument) {
  std::string_view path;
  std::string_view name;
  if (!SplitName(argument, path, name) || path.empty()) {
    return UsageError(absl::StrCat(argument, ": not of the form PATH@NAME"));
  }
  return CheckName(name);
}

// The target of PATH@NAME.
absl::StatusOr<Located> LocateSnapshot(const Environment& environment,
                                       const std::string& argument) {
  COW_RETURN_IF_ERROR(CheckForm(argument));
  absl::StatusOr<Located> located = Locate(environment.doors, argument, Part::kSnapshot, true);
  if (!located.ok()) return Named(located.status(), argument);
  return located;
}

// The head in the volume of the snapshot that `located` names; nothing where it names none.
std::optional<std::string> HeadOf(const Located& located) {
  if (!located.name.empty()) return located.path;
  std::string_view head;
  std::string_view name;
  if (SplitName(located.path, head, name)) return std::string(head);
  name = located.path;
  if (!name.starts_with(kRootSnapshots)) return std::nullopt;
  name.remove_prefix(kRootSnapshots.size());
  if (name.find('/') != std::string_view::npos) return std::nullopt;
  return "";
}

// `status`, that what `located` names is not there, if that is for want of a snapshot; nothing if
// not.
std::optional<absl::Status> NoSnapshot(const Located& located, const absl::Status& status) {
  const std::optional<std::string> head = HeadOf(located);
  if (!head.has_value()) return std::nullopt;
  const auto find = [&located](Command command, const std::string& where) {
    return located.target->Execute({.command = command, .path = where}).status();
  };
  const std::string path =
      located.name.empty() ? located.path : WithSnapshot(located.path, located.name);
  if (!absl::IsNotFound(find(Command::kStat, path))) return std::nullopt;
  std::string_view outside;
  std::string_view name;
  if (find(Command::kList, *head).ok() && SplitName(located.argument, outside, name)) {
    return Advised(MakeError(status.code(), ENOENT, located.argument + ": no such snapshot"),
                   absl::StrCat("cowctl list ", absl::string_view(outside.data(), outside.size()),
                                " shows those that there are"));
  }
  const size_t slash = head->rfind('/');
  if (!located.reached && slash != std::string::npos &&
      !find(Command::kStat, head->substr(0, slash)).ok()) {
    return std::nullopt;
  }
  return Advised(Named(status, located.argument), "cowctl list shows what snapshots there are");
}

// `sentence` for people, `name` for scripts, the entry as JSON.
void PrintDone(const Arguments& arguments, const Target& target, const Entry& entry,
               const std::string& sentence, const Environment& environment) {
  if (arguments.format.json) {
    PrintJson(EntryJson(target, entry), environment.out);
  } else if (arguments.format.script) {
    environment.out << Escaped(NameOf(target, entry)) << '\n';
  } else {
    environment.out << Escaped(sentence) << '\n';
  }
}

}  // namespace

absl::StatusOr<Entry> ExecuteOne(const Located& located, const Request& request,
                                 const std::string& argument) {
  absl::StatusOr<Reply> reply = located.target->Execute(request);
  if (!reply.ok()) {
    const absl::Status& status = reply.status();
    if (request.command != Command::kSnapshot && ErrnoOf(status) == ENOENT) {
      if (auto lacking = NoSnapshot(located, status)) return *std::move(lacking);
    }
    return Named(status, argument);
  }
  if (reply->entries.size() != 1) {
    return MakeError(absl::StatusCode::kInternal, EPROTO,
                     absl::StrCat(argument, ": the answer says nothing about it"));
  }
  return std::move(reply->entries[0]);
}

std::span<const CommandSpec> Commands() { return kCommands; }

absl::StatusOr<int> TreeCreate(const Arguments& arguments, const Environment& environment) {
  const std::string& argument = arguments.operands[0];
  absl::StatusOr<Located> located = Locate(environment.doors, argument, Part::kHead, true);
  if (!located.ok()) return Named(located.status(), argument);
  Target& target = *located->target;
  COW_ASSIGN_OR_RETURN(
      const Entry entry,
      ExecuteOne(*located, {.command = Command::kCreateTree, .path = located->path}, argument));
  PrintDone(arguments, target, entry, "created tree " + NameOf(target, entry), environment);
  return kDone;
}

absl::StatusOr<int> Snapshot(const Arguments& arguments, const Environment& environment) {
  const std::string& argument = arguments.operands[0];
  COW_ASSIGN_OR_RETURN(const Located located, LocateSnapshot(environment, argument));
  Target& target = *located.target;
  COW_ASSIGN_OR_RETURN(
      const Entry entry,
      ExecuteOne(located,
                 {.command = Command::kSnapshot, .path = located.path, .name = located.name},
                 argument));
  PrintDone(arguments, target, entry, "took snapshot " + NameOf(target, entry), environment);
  return kDone;
}

absl::StatusOr<int> Clone(const Arguments& arguments, const Environment& environment) {
  const std::string& argument = arguments.operands[0];
  absl::StatusOr<Located> located = Locate(environment.doors, argument, Part::kEither, true);
  if (!located.ok()) return Named(located.status(), argument);
  Target& target = *located->target;
  COW_ASSIGN_OR_RETURN(const std::string inside, target.Inside(arguments.operands[1]));
  COW_ASSIGN_OR_RETURN(
      const Entry entry,
      ExecuteOne(*located, {.command = Command::kClone, .path = located->path, .target = inside},
                 absl::StrCat(argument, " to ", arguments.operands[1])));
  PrintDone(arguments, target, entry, "cloned " + argument + " to " + NameOf(target, entry),
            environment);
  return kDone;
}

absl::StatusOr<int> RollBack(const Arguments& arguments, const Environment& environment) {
  const std::string& argument = arguments.operands[0];
  COW_ASSIGN_OR_RETURN(const Located located, LocateSnapshot(environment, argument));
  Target& target = *located.target;
  COW_ASSIGN_OR_RETURN(
      const Entry kept,
      ExecuteOne(located,
                 {.command = Command::kRollBack, .path = located.path, .name = located.name},
                 argument));
  PrintDone(
      arguments, target, kept,
      absl::StrCat("rolled back to ", argument, "; what it replaced is ", NameOf(target, kept)),
      environment);
  return kDone;
}

absl::StatusOr<int> Rename(const Arguments& arguments, const Environment& environment) {
  const std::string& argument = arguments.operands[0];
  const std::string& name = arguments.operands[1];
  COW_RETURN_IF_ERROR(CheckName(name));
  COW_ASSIGN_OR_RETURN(const Located located, LocateSnapshot(environment, argument));
  Target& target = *located.target;
  COW_ASSIGN_OR_RETURN(
      const Entry entry,
      ExecuteOne(
          located,
          {.command = Command::kRename, .path = located.path, .name = located.name, .target = name},
          argument));
  PrintDone(arguments, target, entry, "renamed " + argument + " to " + NameOf(target, entry),
            environment);
  return kDone;
}

absl::StatusOr<int> Destroy(const Arguments& arguments, const Environment& environment) {
  for (const std::string& argument : arguments.several) {
    COW_RETURN_IF_ERROR(CheckForm(argument));
  }
  for (const std::string& argument : arguments.several) {
    COW_ASSIGN_OR_RETURN(const Located located, LocateSnapshot(environment, argument));
    Target& target = *located.target;
    COW_ASSIGN_OR_RETURN(
        const Entry entry,
        ExecuteOne(located,
                   {.command = Command::kDestroy, .path = located.path, .name = located.name},
                   argument));
    PrintDone(arguments, target, entry, "destroyed " + NameOf(target, entry), environment);
  }
  return kDone;
}

}  // namespace cow::ctl
