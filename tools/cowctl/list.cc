// The command that shows which snapshots there are.
#include <algorithm>
#include <utility>
#include <vector>

#include "cow/base/status.h"
#include "tools/cowctl/commands.h"
#include "tools/cowctl/entry.h"
#include "tools/cowctl/errors.h"
#include "tools/cowctl/target.h"

namespace cow::ctl {
namespace {

using control::Command;
using control::Entry;
using control::Reply;
using control::Request;

absl::StatusOr<std::vector<Entry>> AllSnapshots(Target& target, const std::string& path,
                                                bool space) {
  std::vector<Entry> entries;
  Request request{.command = Command::kList, .path = path, .space = space};
  do {
    COW_ASSIGN_OR_RETURN(Reply reply, target.Execute(request));
    for (Entry& entry : reply.entries) entries.push_back(std::move(entry));
    request.cursor = reply.next;
  } while (request.cursor != 0);
  // By path, oldest first: the order in which a person thinks of them, and the same every time.
  std::ranges::stable_sort(entries, [](const Entry& a, const Entry& b) {
    return std::tie(a.path, a.created_ns) < std::tie(b.path, b.created_ns);
  });
  return entries;
}

// What PATH@NAME is the name of, if that is a snapshot.
absl::StatusOr<std::vector<Entry>> TheSnapshot(const Located& located, const std::string& argument,
                                               bool space) {
  COW_ASSIGN_OR_RETURN(
      Entry entry,
      ExecuteOne(located, {.command = Command::kStat, .path = located.path, .space = space},
                 argument));
  if (entry.name.empty()) return std::vector<Entry>();
  return std::vector<Entry>{std::move(entry)};
}

}  // namespace

absl::StatusOr<int> List(const Arguments& arguments, const Environment& environment) {
  const std::string argument = arguments.operands[0].empty() ? "." : arguments.operands[0];
  absl::StatusOr<Located> located = Locate(environment.doors, argument, Part::kEither, false);
  if (!located.ok()) return Named(located.status(), argument);
  Target& target = *located->target;
  absl::StatusOr<std::vector<Entry>> entries = AllSnapshots(target, located->path, arguments.space);
  std::string_view path;
  std::string_view name;
  const bool nothing = entries.ok() ? entries->empty() : absl::IsNotFound(entries.status());
  if (nothing && SplitName(argument, path, name)) {
    entries = TheSnapshot(*located, argument, arguments.space);
  }
  if (!entries.ok()) return Named(entries.status(), argument);

  const Format& format = arguments.format;
  if (format.json) {
    Json list = Json::array();
    for (const Entry& entry : *entries) list.push_back(EntryJson(target, entry, arguments.space));
    PrintJson({{"snapshots", std::move(list)}}, environment.out);
    return kDone;
  }
  if (entries->empty() && !format.script) {
    environment.out << "no snapshots\n";
    return kDone;
  }
  std::vector<std::string> header = {"NAME", "TYPE", "CREATED", "SIZE"};
  if (arguments.space) header.insert(header.end(), {"REFERENCED", "EXCLUSIVE"});
  Table table(std::move(header), 3);
  for (const Entry& entry : *entries) {
    std::vector<std::string> row = {Escaped(NameOf(target, entry)), TypeOf(entry),
                                    Time(entry.created_ns, format.exact), SizeOf(entry, format)};
    if (arguments.space) {
      row.push_back(SpaceOf(entry, entry.referenced, format));
      row.push_back(SpaceOf(entry, entry.exclusive, format));
    }
    table.Add(std::move(row));
  }
  table.Print(format, environment.out);
  return kDone;
}

}  // namespace cow::ctl
