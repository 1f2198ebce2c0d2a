#include "tools/cowctl/run.h"

#include <CLI/CLI.hpp>
#include <string_view>
#include <vector>

#include "tools/cowctl/commands.h"
#include "tools/cowctl/errors.h"

namespace cow::ctl {
namespace {

constexpr char kVersionText[] = "cowctl " COW_VERSION;
constexpr char kDescription[] =
    "Takes and manages snapshots and clones of files and trees in a cow volume.";
constexpr char kTooMany[] = " is one argument too many";
constexpr char kPathText[] =
    "PATH is a path in the mount of a cowfs, or VOLUME:/path in a volume that is not mounted. The\n"
    "root of a mount, and VOLUME:/, stand for the whole tree. PATH@NAME is the snapshot NAME of\n"
    "PATH: the last @ of the last component splits them.";
constexpr char kExampleText[] =
    "Example: cowctl snapshot mnt/app.db@monday; cowctl COMMAND --help has one for each.";

// Taken before a command as well as after it.
void AddFormat(CLI::App& app, Format& format) {
  app.add_flag("-H", format.script, "For scripts: no header, tabs between fields");
  app.add_flag("-p", format.exact, "Exact numbers: bytes, seconds since 1970");
  app.add_flag("--json", format.json, "Print the result as JSON");
}

// The subcommand that holds subcommands of its own.
CLI::App* Group(CLI::App& app, const std::string& name, Format& format) {
  const auto groups =
      app.get_subcommands([&name](const CLI::App* found) { return found->get_name() == name; });
  if (!groups.empty()) return groups[0];
  CLI::App* group = app.add_subcommand(name, "Commands on " + name + "s");
  group->require_subcommand(1)->allow_extras();
  AddFormat(*group, format);
  return group;
}

// What an operand is called by itself: PATH, of "[PATH]" and "PATH...".
std::string Label(std::string_view operand) {
  if (operand.starts_with('[')) operand = operand.substr(1, operand.size() - 2);
  if (operand.ends_with("...")) operand.remove_suffix(3);
  return std::string(operand);
}

// The parser's view of one command of the table.
void AddCommand(CLI::App& app, const CommandSpec& spec, Arguments& arguments) {
  CLI::App* parent = &app;
  std::string_view name = spec.name;
  if (const size_t space = name.find(' '); space != std::string_view::npos) {
    parent = Group(app, std::string(name.substr(0, space)), arguments.format);
    name.remove_prefix(space + 1);
  }
  CLI::App* command = parent->add_subcommand(std::string(name), spec.summary);
  // What is too much is taken, so that the message about it can be ours.
  command->allow_extras();
  bool takes_path = false;
  for (size_t i = 0; i < spec.operands.size() && spec.operands[i].name != nullptr; ++i) {
    const std::string operand = spec.operands[i].name;
    const std::string label = Label(operand);
    const char* meaning = spec.operands[i].meaning;
    takes_path = takes_path || operand.find("PATH") != std::string::npos;
    (operand.ends_with("...") ? command->add_option(label, arguments.several, meaning)
                              : command->add_option(label, arguments.operands[i], meaning))
        ->required(operand.front() != '[')
        ->type_name("")
        ->check([](const std::string& given) { return given.empty() ? "an empty argument" : ""; });
  }
  if (spec.options.size) {
    command
        ->add_option("--size", arguments.size,
                     "Largest size of the volume: 512M, 4T; without it, as large as the disk")
        ->type_name("BYTES");
  }
  if (spec.options.space) {
    command->add_flag("--space", arguments.space,
                      "Count the bytes that each snapshot refers to, and that only it holds");
  }
  if (spec.options.rate) {
    command
        ->add_option("--rate", arguments.rate,
                     "Read at most so much a second: 100M; 0, or without it: as fast as it goes")
        ->type_name("BYTES");
  }
  if (spec.options.repair) {
    command->add_flag("--repair", arguments.repair,
                      "Mend counts, free what nothing uses, and write a damaged copy of a "
                      "superblock anew, in a volume that is not mounted");
  }
  if (spec.options.watch) {
    command
        ->add_option("--watch", arguments.watch,
                     "What a mounted volume does, a line each SECONDS (1), until interrupted")
        ->expected(0, 1)
        ->default_str("1")
        ->type_name("[SECONDS]");
  }
  if (spec.options.unshare) {
    command->add_flag("--unshare", arguments.unshare,
                      "Move what is shared too: it takes as much space again, until those that "
                      "share it are gone");
  }
  AddFormat(*command, arguments.format);
  command->footer((takes_path ? std::string(kPathText) + "\n" : std::string()) +
                  "Example: " + spec.example);
}

std::string Usage(const CommandSpec& spec) {
  std::string text = std::string("cowctl ") + spec.name;
  if (spec.options.size) text += " [--size BYTES]";
  if (spec.options.space) text += " [--space]";
  if (spec.options.rate) text += " [--rate BYTES]";
  if (spec.options.repair) text += " [--repair]";
  if (spec.options.watch) text += " [--watch [SECONDS]]";
  if (spec.options.unshare) text += " [--unshare]";
  for (const Operand& operand : spec.operands) {
    if (operand.name != nullptr) text += std::string(" ") + operand.name;
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

// What the parser made of the arguments.
struct Parsed {
  const CommandSpec* command = nullptr;  // nullptr: none, or only its group
  std::string name;                      // as far as it was named
  std::string mistake;                   // empty: none
};

// What is wrong with `argument`, which `level` has no use for.
std::string Surplus(const CLI::App& level, const std::string& argument) {
  const std::string quoted = "\"" + argument + "\"";
  if (argument.size() > 1 && argument.front() == '-') return "unknown option " + quoted;
  if (!level.get_subcommands({}).empty()) return "unknown command " + quoted;
  return quoted + kTooMany;
}

// `error`: of the parser, where there was one.
Parsed Understand(const CLI::App& app, const CLI::ParseError* error) {
  Parsed parsed;
  const CLI::App* level = &app;
  for (;;) {
    for (const std::string& argument : level->remaining()) {
      if (argument != "--" && parsed.mistake.empty()) parsed.mistake = Surplus(*level, argument);
    }
    const std::vector<CLI::App*> below = level->get_subcommands();
    if (below.empty() || !parsed.mistake.empty()) break;
    level = below[0];
    parsed.name += (parsed.name.empty() ? "" : " ") + level->get_name();
  }
  for (const CommandSpec& spec : Commands()) {
    if (parsed.name == spec.name) parsed.command = &spec;
  }
  if (!parsed.mistake.empty()) {
    if (parsed.command != nullptr && parsed.mistake.ends_with(kTooMany) &&
        parsed.command->operands[1].name == nullptr) {
      parsed.mistake += ": it takes one " + Label(parsed.command->operands[0].name) + " at a time";
    }
    return parsed;
  }
  if (parsed.command == nullptr) {
    parsed.mistake = "a command is missing";
  } else if (dynamic_cast<const CLI::ArgumentMismatch*>(error) != nullptr) {
    parsed.mistake = parsed.command->options.rate ? "--rate takes one value, as in --rate 100M"
                                                  : "--size takes one value, as in --size 512M";
  } else if (dynamic_cast<const CLI::ConversionError*>(error) != nullptr) {
    parsed.mistake = kWatchText;
  } else if (error != nullptr) {
    parsed.mistake = error->what();
  }
  return parsed;
}

int FailToParse(const Parsed& parsed, const Environment& environment) {
  const std::string called = "cowctl" + (parsed.name.empty() ? "" : " " + parsed.name);
  environment.err << called << ": " << Escaped(parsed.mistake);
  if (parsed.command == nullptr) environment.err << "; " << called << " --help shows the commands";
  environment.err << "\nusage: "
                  << (parsed.command == nullptr ? called + " COMMAND [OPTIONS] [ARGUMENTS]"
                                                : Usage(*parsed.command))
                  << '\n';
  return kUsage;
}

}  // namespace

int Run(const std::vector<std::string>& arguments, const Environment& environment) {
  CLI::App app(kDescription, "cowctl");
  app.get_formatter()->column_width(22);
  app.get_formatter()->label("SUBCOMMAND", "COMMAND");
  app.footer(std::string(kPathText) + "\n" + kExampleText);
  app.set_version_flag("--version", kVersionText);
  app.require_subcommand(1)->allow_extras();
  Arguments given;
  AddFormat(app, given.format);
  for (const CommandSpec& spec : Commands()) AddCommand(app, spec, given);

  // The parser takes its arguments from the back.
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  Parsed parsed;
  try {
    app.parse(reversed);
    parsed = Understand(app, nullptr);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error, environment.out, environment.err);
    parsed = Understand(app, &error);
  }
  if (!parsed.mistake.empty()) return FailToParse(parsed, environment);
  const absl::StatusOr<int> status = parsed.command->function(given, environment);
  return status.ok() ? *status : Fail(*parsed.command, status.status(), environment);
}

}  // namespace cow::ctl
