#include "tools/cowctl/run.h"

#include <CLI/CLI.hpp>
#include <map>
#include <string_view>
#include <vector>

#include "tools/cowctl/commands.h"
#include "tools/cowctl/errors.h"

namespace cow::ctl {
namespace {

constexpr char kVersionText[] = "cowctl " COW_VERSION;
constexpr char kDescription[] =
    "Takes and manages snapshots and clones of files and trees in a cow volume.\n"
    "PATH is a path in the mount of a cowfs, or VOLUME:/path in a volume that is not mounted. The\n"
    "root of a mount, and VOLUME:/, stand for the whole tree.";

// The subcommand that holds subcommands of its own.
CLI::App* Group(CLI::App& app, const std::string& name) {
  const auto groups =
      app.get_subcommands([&name](const CLI::App* found) { return found->get_name() == name; });
  if (!groups.empty()) return groups[0];
  CLI::App* group = app.add_subcommand(name, "Commands on " + name + "s");
  group->require_subcommand(1);
  return group;
}

// The parser's view of one command of the table.
void AddCommand(CLI::App& app, const CommandSpec& spec, Arguments& arguments,
                const CommandSpec** chosen) {
  CLI::App* parent = &app;
  std::string_view name = spec.name;
  if (const size_t space = name.find(' '); space != std::string_view::npos) {
    parent = Group(app, std::string(name.substr(0, space)));
    name.remove_prefix(space + 1);
  }
  CLI::App* command = parent->add_subcommand(std::string(name), spec.summary);
  for (size_t i = 0; i < spec.operands.size() && spec.operands[i] != nullptr; ++i) {
    const std::string operand = spec.operands[i];
    const bool optional = operand.front() == '[';
    command
        ->add_option(optional ? operand.substr(1, operand.size() - 2) : operand,
                     arguments.operands[i])
        ->required(!optional)
        ->type_name("");
  }
  if (spec.has_size) {
    command->add_option("--size", arguments.size, "Largest size of the volume, as in 512M or 4T")
        ->transform(CLI::AsSizeValue(false))
        ->type_name("BYTES");
  }
  if (spec.has_space) {
    command->add_flag("--space", arguments.space,
                      "Count the bytes that each snapshot refers to, and that only it holds");
  }
  command->add_flag("-H", arguments.format.script, "For scripts: no header, tabs between fields");
  command->add_flag("-p", arguments.format.exact, "Exact numbers: bytes, seconds since 1970");
  command->add_flag("--json", arguments.format.json, "Print the result as JSON");
  command->callback([chosen, &spec] { *chosen = &spec; });
}

std::string Usage(const CommandSpec& spec) {
  std::string text = std::string("cowctl ") + spec.name;
  if (spec.has_size) text += " [--size BYTES]";
  if (spec.has_space) text += " [--space]";
  for (const char* operand : spec.operands) {
    if (operand != nullptr) text += std::string(" ") + operand;
  }
  return text;
}

int Fail(const CommandSpec& spec, const absl::Status& status, const Environment& environment) {
  environment.err << "cowctl " << spec.name << ": " << Escaped(std::string(status.message()));
  if (const std::string advice = Advice(spec.name, status); !advice.empty()) {
    environment.err << "; " << advice;
  }
  environment.err << '\n';
  if (!IsUsageError(status)) return kFailed;
  environment.err << "usage: " << Usage(spec) << '\n';
  return kUsage;
}

}  // namespace

int Run(const std::vector<std::string>& arguments, const Environment& environment) {
  CLI::App app(kDescription, "cowctl");
  app.set_version_flag("--version", kVersionText);
  app.require_subcommand(1);
  Arguments parsed;
  const CommandSpec* chosen = nullptr;
  for (const CommandSpec& spec : Commands()) AddCommand(app, spec, parsed, &chosen);

  // The parser takes its arguments from the back.
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, environment.out, environment.err) == 0 ? kDone : kUsage;
  }
  const absl::StatusOr<int> status = chosen->function(parsed, environment);
  return status.ok() ? *status : Fail(*chosen, status.status(), environment);
}

}  // namespace cow::ctl
