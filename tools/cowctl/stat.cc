// The command that shows one file, tree or snapshot, or a volume and what its cowfs has counted.
#include <sys/stat.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cow/base/status.h"
#include "cow/base/types.h"
#include "tools/cowctl/commands.h"
#include "tools/cowctl/entry.h"
#include "tools/cowctl/errors.h"
#include "tools/cowctl/mountinfo.h"
#include "tools/cowctl/target.h"

namespace cow::ctl {
namespace {

using control::Command;
using control::Entry;
using control::Reply;
using control::Statistics;
using control::StatisticsField;
using Lines = std::vector<std::pair<std::string, std::string>>;

// What is asked about: an entry, a volume, or a root, which is both.
struct Subject {
  std::optional<Located> entry;
  std::unique_ptr<Target> volume;  // where there is no entry

  Target& target() const { return entry.has_value() ? *entry->target : *volume; }
  bool shows_volume() const { return !entry.has_value() || entry->path.empty(); }
};

// The volume in the file `argument`. The cowfs that has it mounted knows more than the file says.
absl::StatusOr<std::unique_ptr<Target>> OpenWhole(const Doors& doors, const std::string& argument) {
  if (const std::optional<Mount> mount = MountOfVolume(argument)) {
    absl::StatusOr<std::unique_ptr<Target>> mounted = doors.mount(mount->point);
    if (mounted.ok()) return mounted;
  }
  return doors.volume(argument, false);
}

absl::StatusOr<Subject> Find(const Environment& environment, const std::string& argument) {
  absl::StatusOr<Located> located = Locate(environment.doors, argument, Part::kEither, false);
  if (located.ok()) return Subject{.entry = *std::move(located), .volume = nullptr};
  struct stat attributes = {};
  if (ErrnoOf(located.status()) != ENOTTY || stat(argument.c_str(), &attributes) != 0 ||
      !S_ISREG(attributes.st_mode)) {
    return Named(located.status(), argument);
  }
  absl::StatusOr<std::unique_ptr<Target>> volume = OpenWhole(environment.doors, argument);
  if (volume.ok()) return Subject{.entry = std::nullopt, .volume = *std::move(volume)};
  // Of a file that is no volume, it is said that it is in none either.
  return Named(absl::IsInvalidArgument(volume.status()) ? located.status() : volume.status(),
               argument);
}

std::string Rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

double Ratio(double value, double of) { return of == 0 ? 0 : value / of; }

std::string Milliseconds(double microseconds) { return Rounded(microseconds / 1000) + " ms"; }

Lines EntryLines(const Target& target, const Entry& entry, const Format& format) {
  Lines lines = {
      {"name", Escaped(NameOf(target, entry))},
      {"type", TypeOf(entry)},
      {"size", SizeOf(entry, format)},
      {"created", Time(entry.created_ns, format.exact)},
      {"referenced", SpaceOf(entry, entry.referenced, format)},
      {"exclusive", SpaceOf(entry, entry.exclusive, format)},
  };
  if (entry.name.empty()) lines.emplace_back("snapshots", std::to_string(entry.snapshots));
  return lines;
}

void AddStatistics(const Statistics& s, bool exact, Lines& lines) {
  const auto number = [](uint64_t value) { return std::to_string(value); };
  const auto commits = static_cast<double>(s.commits);
  const auto microseconds = static_cast<double>(s.commit_microseconds);
  lines.insert(
      lines.end(),
      {{"mounted", "for " + number(s.open_seconds) + " s"},
       {"read", Bytes(s.read_bytes, exact) + " in " + number(s.reads) + " reads"},
       {"written", Bytes(s.written_bytes, exact) + " in " + number(s.writes) + " writes"},
       {"copied", Bytes(s.copied_pages * kPageSize, exact) + " on write"},
       {"commits",
        number(s.commits) + ", " + Milliseconds(Ratio(microseconds, commits)) + " each, the last " +
            Milliseconds(static_cast<double>(s.last_commit_microseconds)) + ", " +
            Rounded(Ratio(static_cast<double>(s.committed_frames), commits)) + " frames each"},
       {"syncs", number(s.syncs) + ", " + Rounded(Ratio(static_cast<double>(s.syncs), commits)) +
                     " for each commit"},
       {"frames", number(s.allocated_frames) + " allocated, " + number(s.freed_frames) +
                      " freed, " + number(s.waiting_frames) + " waiting to be freed"},
       {"counts",
        number(s.folded_items) + " items folded, " + number(s.waiting_items) + " waiting"},
       {"nodes", number(s.node_hits) + " found in memory, " + number(s.node_misses) + " read"},
       {"checksums", number(s.checksum_failures) + " failures"},
       {"versions", number(s.taken_snapshots) + " snapshots taken, " + number(s.made_clones) +
                        " clones made"}});
}

Lines VolumeLines(const Reply& reply, const Format& format) {
  const control::Info& info = reply.info;
  Lines lines = {{"volume", Escaped(info.volume)},
                 {"uuid", info.uuid},
                 {"total", Bytes(info.total_bytes, format.exact)},
                 {"used", Bytes(info.used_bytes, format.exact)},
                 {"available", Bytes(info.available_bytes, format.exact)}};
  if (info.process == 0) return lines;
  lines.emplace_back("process", std::to_string(info.process));
  if (!format.script) {
    AddStatistics(reply.statistics, format.exact, lines);
    return lines;
  }
  for (const StatisticsField& field : control::kStatisticsFields) {
    lines.emplace_back(field.name, std::to_string(reply.statistics.*field.value));
  }
  return lines;
}

Json VolumeJson(const Reply& reply) {
  const control::Info& info = reply.info;
  Json json = {{"path", info.volume},
               {"uuid", info.uuid},
               {"total", info.total_bytes},
               {"used", info.used_bytes},
               {"available", info.available_bytes},
               {"process", nullptr},
               {"statistics", nullptr}};
  if (info.process == 0) return json;
  json["process"] = info.process;
  Json statistics;
  for (const StatisticsField& field : control::kStatisticsFields) {
    statistics[field.name] = reply.statistics.*field.value;
  }
  json["statistics"] = std::move(statistics);
  return json;
}

void Print(const Lines& lines, const Format& format, std::ostream& out) {
  constexpr size_t kWidth = 12;
  for (const auto& [key, value] : lines) {
    if (format.script) {
      out << key << '\t' << value << '\n';
    } else {
      out << key << std::string(kWidth - key.size(), ' ') << value << '\n';
    }
  }
}

// The columns of --watch.
constexpr const char* kColumns[] = {"READ/s",    "WRITTEN/s",   "COPIED/s", "SYNCS/s", "COMMITS/s",
                                    "ms/COMMIT", "ALLOCATED/s", "FREED/s",  "WAITING"};

// What was done in so many seconds, and what waits now.
std::vector<std::string> RowOf(const Statistics& done, const Statistics& now, double seconds,
                               bool exact) {
  const auto rate = [seconds](uint64_t value) {
    return Ratio(static_cast<double>(value), seconds);
  };
  const auto bytes = [&rate, exact](uint64_t value) {
    return Bytes(static_cast<uint64_t>(rate(value)), exact);
  };
  const double mean = Ratio(static_cast<double>(done.commit_microseconds) / 1000,
                            static_cast<double>(done.commits));
  return {bytes(done.read_bytes),
          bytes(done.written_bytes),
          bytes(done.copied_pages * kPageSize),
          Rounded(rate(done.syncs)),
          Rounded(rate(done.commits)),
          done.commits == 0 ? "-" : Rounded(mean),
          bytes(done.allocated_frames * kPageSize),
          bytes(done.freed_frames * kPageSize),
          Bytes(now.waiting_frames * kPageSize, exact)};
}

void PrintRow(const std::vector<std::string>& cells, const Format& format, std::ostream& out) {
  constexpr size_t kWidth = 11;
  std::string line;
  for (const std::string& cell : cells) {
    if (!line.empty()) line += format.script ? "\t" : "  ";
    if (!format.script && cell.size() < kWidth) line.append(kWidth - cell.size(), ' ');
    line += cell;
  }
  // Whoever looks on, be it through a pipe, sees it at once.
  out << line << '\n' << std::flush;
}

Statistics Difference(const Statistics& now, const Statistics& before) {
  Statistics done;
  for (const StatisticsField& field : control::kStatisticsFields) {
    done.*field.value = now.*field.value - before.*field.value;
  }
  return done;
}

// The mount is found anew each time: whoever holds it open would keep it from being unmounted.
absl::StatusOr<Reply> Look(const Environment& environment, const std::string& argument) {
  COW_ASSIGN_OR_RETURN(const Subject subject, Find(environment, argument));
  absl::StatusOr<Reply> reply = subject.target().Execute({.command = Command::kStatistics});
  if (!reply.ok()) return Named(reply.status(), argument);
  if (reply->info.process != 0) return reply;
  return MakeError(absl::StatusCode::kFailedPrecondition, ENOTTY,
                   argument + ": not mounted: there is nothing to watch");
}

absl::StatusOr<int> Watch(const Arguments& arguments, const Environment& environment) {
  using Clock = std::chrono::steady_clock;
  const std::string& argument = arguments.operands[0];
  const Format& format = arguments.format;
  if (!(*arguments.watch > 0) || *arguments.watch > 86400) {
    return UsageError(kWatchText);
  }
  const std::chrono::duration<double> interval(*arguments.watch);
  COW_ASSIGN_OR_RETURN(Reply before, Look(environment, argument));
  Clock::time_point looked = Clock::now();
  if (!format.script && !format.json) {
    PrintRow({std::begin(kColumns), std::end(kColumns)}, format, environment.out);
  }
  // Until it is interrupted, its output is closed, or the mount is gone.
  while (environment.out.good()) {
    std::this_thread::sleep_for(interval);
    COW_ASSIGN_OR_RETURN(Reply now, Look(environment, argument));
    const std::chrono::duration<double> passed = Clock::now() - looked;
    looked += std::chrono::duration_cast<Clock::duration>(passed);
    // Another cowfs has counted from its own beginning.
    if (now.info.process != before.info.process) before.statistics = {};
    const Statistics done = Difference(now.statistics, before.statistics);
    if (format.json) {
      PrintJsonLine(VolumeJson(now), environment.out);
      environment.out.flush();
    } else {
      PrintRow(RowOf(done, now.statistics, passed.count(), format.exact), format, environment.out);
    }
    before = std::move(now);
  }
  return kDone;
}

}  // namespace

absl::StatusOr<int> Stat(const Arguments& arguments, const Environment& environment) {
  if (arguments.watch.has_value()) return Watch(arguments, environment);
  const std::string& argument = arguments.operands[0];
  const Format& format = arguments.format;
  COW_ASSIGN_OR_RETURN(const Subject subject, Find(environment, argument));
  Target& target = subject.target();
  Json json = Json::object();
  Lines volume;
  // First, since counting the space of the entry makes it count too.
  if (subject.shows_volume()) {
    const absl::StatusOr<Reply> reply = target.Execute({.command = Command::kStatistics});
    if (!reply.ok()) return Named(reply.status(), argument);
    volume = VolumeLines(*reply, format);
    json["volume"] = VolumeJson(*reply);
  }
  Lines lines;
  if (subject.entry.has_value()) {
    COW_ASSIGN_OR_RETURN(
        const Entry entry,
        ExecuteOne(*subject.entry,
                   {.command = Command::kStat, .path = subject.entry->path, .space = true},
                   argument));
    lines = EntryLines(target, entry, format);
    Json described = EntryJson(target, entry, /*space=*/true);
    described.update(json);
    json = std::move(described);
  }
  lines.insert(lines.end(), volume.begin(), volume.end());
  if (format.json) {
    PrintJson(json, environment.out);
  } else {
    Print(lines, format, environment.out);
  }
  return kDone;
}

}  // namespace cow::ctl
