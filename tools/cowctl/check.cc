// The command that verifies a whole volume.
#include "cow/base/status.h"
#include "cow/base/types.h"
#include "tools/cowctl/commands.h"
#include "tools/cowctl/entry.h"
#include "tools/cowctl/errors.h"
#include "tools/cowctl/progress.h"
#include "tools/cowctl/target.h"

namespace cow::ctl {
namespace {

void PrintOutcome(const std::string& argument, const CheckOutcome& outcome, const Format& format,
                  std::ostream& out) {
  if (format.json) {
    Json damages = Json::array();
    for (const control::Damage& damage : outcome.damages) {
      damages.push_back({{"where", damage.where}, {"what", damage.what}});
    }
    PrintJson({{"volume", argument},
               {"damaged", !outcome.damages.empty()},
               {"frames", outcome.frames},
               {"damages", std::move(damages)}},
              out);
    return;
  }
  for (const control::Damage& damage : outcome.damages) {
    out << Escaped(damage.where) << (format.script ? "\t" : ": ") << Escaped(damage.what) << '\n';
  }
  if (format.script) return;
  const std::string checked = Bytes(outcome.frames * kPageSize, format.exact);
  const size_t count = outcome.damages.size();
  out << Escaped(argument) << ": checked " << checked << ", "
      << (count == 0   ? "no damage"
          : count == 1 ? "1 damage"
                       : std::to_string(count) + " damages")
      << '\n';
}

}  // namespace

absl::StatusOr<int> Check(const Arguments& arguments, const Environment& environment) {
  const std::string& argument = arguments.operands[0];
  absl::StatusOr<std::unique_ptr<Target>> target = LocateWhole(environment.doors, argument);
  if (!target.ok()) return Named(target.status(), argument);
  absl::StatusOr<CheckOutcome> outcome;
  {
    Progress progress(environment.err, environment.err_is_terminal);
    outcome = (*target)->Check([&progress](uint64_t done, uint64_t total) {
      progress.Update(done * kPageSize, total * kPageSize);
    });
  }
  if (!outcome.ok()) return Named(outcome.status(), argument);
  PrintOutcome(argument, *outcome, arguments.format, environment.out);
  return outcome->damages.empty() ? kDone : kFailed;
}

}  // namespace cow::ctl
