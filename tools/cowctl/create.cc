// The command that makes a volume.
#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/volume.h"
#include "tools/cowctl/commands.h"
#include "tools/cowctl/entry.h"
#include "tools/cowctl/errors.h"
#include "tools/cowctl/size.h"

namespace cow::ctl {

absl::StatusOr<int> Create(const Arguments& arguments, const Environment& environment) {
  const std::string& path = arguments.operands[0];
  const Format& format = arguments.format;
  const std::optional<uint64_t> size = ParseSize(arguments.size.value_or("0"));
  if (!size) {
    return UsageError(
        absl::StrCat("--size \"", *arguments.size, "\": not a size, as in --size 512M"));
  }
  absl::StatusOr<Volume> volume =
      Volume::Open(path, {.create = true, .exclusive = true, .max_bytes = *size});
  if (!volume.ok()) return Named(Without("open volume: ", volume.status()), path);
  if (absl::Status durable = volume->Sync(); !durable.ok()) return Named(durable, path);
  if (format.json) {
    PrintJson({{"volume", path}, {"size", *size}}, environment.out);
  } else if (format.script) {
    environment.out << Escaped(path) << '\n';
  } else {
    environment.out << "created volume " << Escaped(path);
    if (*size > 0) environment.out << " of " << Bytes(*size, format.exact);
    environment.out << '\n';
  }
  return kDone;
}

}  // namespace cow::ctl
