// The command that verifies a whole volume, and mends it.
#include <cerrno>
#include <filesystem>
#include <memory>
#include <optional>

#include "absl/strings/strip.h"
#include "cow/base/status.h"
#include "cow/base/types.h"
#include "cow/volume.h"
#include "tools/cowctl/commands.h"
#include "tools/cowctl/entry.h"
#include "tools/cowctl/errors.h"
#include "tools/cowctl/mountinfo.h"
#include "tools/cowctl/progress.h"
#include "tools/cowctl/size.h"
#include "tools/cowctl/target.h"

namespace cow::ctl {
namespace {

std::string Damages(size_t count) {
  return count == 0 ? "no damage" : count == 1 ? "1 damage" : std::to_string(count) + " damages";
}

// What was done about damage that was found.
struct Mended {
  size_t found = 0;
  RepairResult result;
};

void PrintOutcome(const std::string& argument, const CheckOutcome& outcome,
                  const std::optional<Mended>& mended, const Format& format, std::ostream& out) {
  if (format.json) {
    Json damages = Json::array();
    for (const control::Damage& damage : outcome.damages) {
      damages.push_back({{"where", damage.where}, {"what", damage.what}});
    }
    Json json = {{"volume", argument},
                 {"damaged", !outcome.damages.empty()},
                 {"frames", outcome.frames},
                 {"damages", std::move(damages)}};
    if (mended.has_value()) {
      json["repaired"] = {{"found", mended->found},
                          {"counts", mended->result.corrected_counts},
                          {"freed", mended->result.freed_bytes}};
    }
    PrintJson(json, out);
    return;
  }
  for (const control::Damage& damage : outcome.damages) {
    out << Escaped(damage.where) << (format.script ? "\t" : ": ") << Escaped(damage.what) << '\n';
  }
  if (format.script) return;
  out << Escaped(argument) << ": checked " << Bytes(outcome.frames * kPageSize, format.exact)
      << ", ";
  if (!mended.has_value() || mended->found == 0) {
    out << Damages(outcome.damages.size()) << '\n';
    return;
  }
  out << "found " << Damages(mended->found) << ", mended " << mended->result.corrected_counts
      << " counts, freed " << Bytes(mended->result.freed_bytes, format.exact) << ", "
      << Damages(outcome.damages.size()) << " left";
  if (mended->result.lost_frames > 0) {
    out << "; remove what is damaged, then repair again";
  }
  out << '\n';
}

absl::StatusOr<CheckOutcome> CheckWhole(const std::string& argument, uint64_t rate,
                                        const Environment& environment) {
  COW_ASSIGN_OR_RETURN(std::unique_ptr<Target> target, LocateWhole(environment.doors, argument));
  Progress progress(environment.err, environment.err_is_terminal);
  return target->Check(rate, [&progress](uint64_t done, uint64_t total) {
    progress.Update(done * kPageSize, total * kPageSize);
  });
}

absl::StatusOr<RepairResult> Repair(const std::string& volume, const Environment& environment) {
  COW_ASSIGN_OR_RETURN(Volume opened, Volume::Open(volume));
  Progress progress(environment.err, environment.err_is_terminal);
  return opened.Repair(
      [&progress](uint64_t done, uint64_t total) { progress.Update(done, total); });
}

// A check that did not come to its end. Where that is for damage, another would not either.
absl::Status Unchecked(const absl::Status& status, const std::string& argument) {
  const absl::Status named = Named(status, argument);
  const absl::string_view cause = absl::StripSuffix(named.message(), "; run `cowctl check`");
  if (!absl::IsDataLoss(named) || cause.find("; ") != absl::string_view::npos) return named;
  return Advised(MakeError(named.code(), ErrnoOf(named), std::string(cause)),
                 "`cowctl salvage` copies out what can be read");
}

}  // namespace

absl::StatusOr<int> Check(const Arguments& arguments, const Environment& environment) {
  const std::string& argument = arguments.operands[0];
  std::string_view volume = argument;
  std::string_view path;
  SplitVolume(argument, volume, path);
  if (arguments.repair && std::filesystem::is_directory(volume)) {
    return UsageError(argument + ": --repair is for a volume that is not mounted");
  }
  if (const std::optional<Mount> mount = MountOfVolume(volume); mount && arguments.repair) {
    return MakeError(absl::StatusCode::kFailedPrecondition, EBUSY,
                     argument + ": mounted at " + mount->point + "; umount it, then repair it");
  }
  const std::optional<uint64_t> rate = ParseSize(arguments.rate.value_or("0"));
  if (!rate) {
    return UsageError("--rate \"" + *arguments.rate + "\": not a size, as in --rate 100M");
  }
  absl::StatusOr<CheckOutcome> outcome = CheckWhole(argument, *rate, environment);
  if (!outcome.ok()) return Unchecked(outcome.status(), argument);
  std::optional<Mended> mended;
  if (arguments.repair) {
    mended = Mended{.found = outcome->damages.size(), .result = {}};
    if (mended->found > 0) {
      const absl::StatusOr<RepairResult> result = Repair(std::string(volume), environment);
      if (!result.ok()) return Named(result.status(), argument);
      mended->result = *result;
      outcome = CheckWhole(argument, *rate, environment);
      if (!outcome.ok()) return Named(outcome.status(), argument);
    }
  }
  PrintOutcome(argument, *outcome, mended, arguments.format, environment.out);
  return outcome->damages.empty() ? kDone : kFailed;
}

}  // namespace cow::ctl
