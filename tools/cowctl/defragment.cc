// The command that brings a scattered file together.
#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>

#include "cow/base/status.h"
#include "tools/cowctl/commands.h"
#include "tools/cowctl/entry.h"
#include "tools/cowctl/errors.h"
#include "tools/cowctl/progress.h"
#include "tools/cowctl/size.h"

namespace cow::ctl {
namespace {

// Of one pass and those before it: where it began, and where it is now.
void Add(const control::Defragmented& pass, control::Defragmented& all) {
  if (all.moved_bytes == 0) all.extents_before = pass.extents_before;
  all.extents_after = pass.extents_after;
  all.moved_bytes += pass.moved_bytes;
  all.shared_bytes = pass.shared_bytes;
  all.file_bytes = pass.file_bytes;
}

void PrintOutcome(const std::string& name, const control::Defragmented& all, const Format& format,
                  std::ostream& out) {
  if (format.json) {
    PrintJson({{"name", name},
               {"extents_before", all.extents_before},
               {"extents", all.extents_after},
               {"moved", all.moved_bytes},
               {"shared", all.shared_bytes}},
              out);
    return;
  }
  if (format.script) {
    out << Escaped(name) << '\t' << all.extents_before << '\t' << all.extents_after << '\t'
        << Bytes(all.moved_bytes, format.exact) << '\t' << Bytes(all.shared_bytes, format.exact)
        << '\n';
    return;
  }
  out << Escaped(name) << ": " << all.extents_before << " extents, now " << all.extents_after
      << "; moved " << Bytes(all.moved_bytes, format.exact) << '\n';
  if (all.shared_bytes > 0) {
    out << Bytes(all.shared_bytes, format.exact)
        << " lie scattered and are shared with snapshots or clones; --unshare moves them too, to "
           "new space\n";
  } else if (all.moved_bytes == 0 && all.extents_after > 1) {
    out << "nothing to gain: holes are between its extents, they are long, or what is free is in "
           "pieces too\n";
  }
}

}  // namespace

absl::StatusOr<int> Defragment(const Arguments& arguments, const Environment& environment) {
  const std::string& argument = arguments.operands[0];
  std::error_code none;
  if (std::filesystem::is_symlink(argument, none) && !std::filesystem::exists(argument, none)) {
    return MakeError(absl::StatusCode::kNotFound, ENOENT,
                     argument + ": a symbolic link to what is not there");
  }
  absl::StatusOr<Located> located = Locate(environment.doors, argument, Part::kHead, true);
  if (!located.ok()) return Named(located.status(), argument);
  Target& target = *located->target;
  control::Defragmented all;
  {
    Progress progress(environment.err, environment.err_is_terminal);
    control::Defragmented pass;
    do {
      absl::StatusOr<control::Defragmented> done =
          target.Defragment(located->path, arguments.unshare,
                            [&](uint64_t at, uint64_t size) { progress.Update(at, size); });
      if (!done.ok()) return Named(done.status(), argument);
      pass = *done;
      Add(pass, all);
      // What it has freed may be a longer extent than there was for its beginning.
    } while (pass.moved_bytes > 0 && 2 * pass.extents_after <= pass.extents_before);
  }
  PrintOutcome(target.NameOf(located->path), all, arguments.format, environment.out);
  return kDone;
}

}  // namespace cow::ctl
