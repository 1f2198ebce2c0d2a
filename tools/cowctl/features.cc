// The command that says what cow can make use of here.
#include "cow/features.h"

#include <utility>
#include <vector>

#include "cow/base/status.h"
#include "tools/cowctl/commands.h"
#include "tools/cowctl/entry.h"
#include "tools/cowctl/errors.h"
#include "tools/cowctl/target.h"

namespace cow::ctl {
namespace {

// As a cowfs reports them: "NAME: what is used", or "NAME: no".
absl::StatusOr<std::vector<Feature>> FeaturesOfMount(const Environment& environment,
                                                     const std::string& argument) {
  absl::StatusOr<Located> located = Locate(environment.doors, argument, Part::kHead, false);
  if (!located.ok()) return Named(located.status(), argument);
  const auto reply = located->target->Execute({.command = control::Command::kPing});
  if (!reply.ok()) return Named(reply.status(), argument);
  std::vector<Feature> features;
  for (const std::string& text : reply->info.features) {
    const size_t colon = text.find(": ");
    Feature feature{.name = text.substr(0, colon), .available = true, .use = {}, .instead = {}};
    if (colon != std::string::npos) feature.use = text.substr(colon + 2);
    feature.available = feature.use != "no";
    feature.instead = feature.use;
    features.push_back(std::move(feature));
  }
  return features;
}

}  // namespace

absl::StatusOr<int> Features(const Arguments& arguments, const Environment& environment) {
  std::vector<Feature> features = MachineFeatures();
  const Format& format = arguments.format;
  if (const std::string& argument = arguments.operands[0]; !argument.empty()) {
    COW_ASSIGN_OR_RETURN(features, FeaturesOfMount(environment, argument));
  }
  Json list = Json::array();
  Table table({"FEATURE", "HERE", "USED"}, 3);
  for (const Feature& feature : features) {
    const std::string& used = feature.available ? feature.use : feature.instead;
    list.push_back({{"name", feature.name}, {"available", feature.available}, {"used", used}});
    table.Add({Escaped(feature.name), feature.available ? "yes" : "no", Escaped(used)});
  }
  if (format.json) {
    PrintJson({{"features", std::move(list)}}, environment.out);
  } else {
    table.Print(format, environment.out);
  }
  return kDone;
}

}  // namespace cow::ctl
