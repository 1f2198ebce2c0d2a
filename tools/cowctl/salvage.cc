// The command that copies out of a damaged volume what is left of it.
#include "cow/salvage.h"

#include "cow/base/status.h"
#include "tools/cowctl/commands.h"
#include "tools/cowctl/entry.h"
#include "tools/cowctl/errors.h"
#include "tools/cowctl/progress.h"

namespace cow::ctl {
namespace {

Json LossJson(const Loss& loss) {
  const bool bytes = loss.end > 0;
  return {{"path", loss.path},
          {"part", loss.part.empty() ? Json() : Json(loss.part)},
          {"begin", bytes ? Json(loss.begin) : Json()},
          {"end", bytes ? Json(loss.end) : Json()},
          {"cause", loss.cause}};
}

void PrintResult(const Arguments& arguments, const SalvageResult& result, std::ostream& out) {
  const Format& format = arguments.format;
  if (format.json) {
    Json losses = Json::array();
    for (const Loss& loss : result.losses) losses.push_back(LossJson(loss));
    PrintJson({{"volume", arguments.operands[0]},
               {"directory", arguments.operands[1]},
               {"files", result.files},
               {"snapshots", result.snapshots},
               {"bytes", result.bytes},
               {"losses", std::move(losses)}},
              out);
    return;
  }
  uint64_t lost_bytes = 0;
  for (const Loss& loss : result.losses) {
    lost_bytes += loss.end - loss.begin;
    if (format.script) {
      out << Escaped(loss.path) << '\t' << (loss.part.empty() ? "-" : Escaped(loss.part)) << '\t'
          << Escaped(loss.cause) << '\n';
    } else {
      out << Escaped(loss.path) << ": " << Escaped(loss.part) << (loss.part.empty() ? "" : " ")
          << "lost: " << Escaped(loss.cause) << '\n';
    }
  }
  if (format.script) return;
  const auto counted = [](uint64_t count, const std::string& what) {
    return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
  };
  out << "salvaged " << counted(result.files, "file") << ", "
      << counted(result.snapshots, "snapshot") << ", " << Bytes(result.bytes, format.exact)
      << "; lost ";
  if (result.losses.empty()) {
    out << "nothing";
  } else {
    out << counted(result.losses.size(), "part");
    if (lost_bytes > 0) out << ", " << Bytes(lost_bytes, format.exact) << " of content";
  }
  out << '\n';
}

}  // namespace

absl::StatusOr<int> Salvage(const Arguments& arguments, const Environment& environment) {
  const std::string& volume = arguments.operands[0];
  absl::StatusOr<SalvageResult> result;
  {
    Progress progress(environment.err, environment.err_is_terminal);
    // How much can be read is known when it was.
    result = cow::Salvage(volume, arguments.operands[1],
                          [&progress](uint64_t bytes) { progress.Update(bytes, 0); });
  }
  if (!result.ok()) return result.status();
  PrintResult(arguments, *result, environment.out);
  return result->losses.empty() ? kDone : kFailed;
}

}  // namespace cow::ctl
