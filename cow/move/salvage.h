// Salvage: copies what can still be read of a damaged volume into a directory of the host, and says
// what is lost.
//
//   DIR/live/...             the files as they are now; trees are directories
//   DIR/live/lost+found/T.O  object O of tree T, to which no name leads that can be read
//   DIR/live/lost+found/frame-N...         a tree or files, by the frame of the node found (strays.h)
//   DIR/live/lost+found/pages-of-frame-N   content without any record
//   DIR/snapshots/PATH@NAME  each snapshot of a file or tree, PATH as `list` prints it
//   DIR/snapshots/PATH@NAME/lost+found/T.O
//   DIR/snapshots/lost+found/N   version N of the catalog, of which no name can be read
//
// It trusts nothing but checksums: every page of a directory, every node of a page table and every
// leaf of records is read for itself, and one that cannot be read takes along only what is known
// through it alone. What the newest commit does not lead to is looked for in the one before
// (table_remains.h): a loss names "what changed in the last commit" then.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cow/os/file.h"

namespace cow::move {

struct Loss {
  // Of the volume: "/a/b" is copied to DIR/live/a/b, "/a@monday/b" to DIR/snapshots/a@monday/b.
  std::string path;
  // What of it: "bytes 4096 to 8192", "extended attributes"; empty: all.
  std::string part;
  std::string cause;  // of a range of bytes, that of its first page
  // Of the content of a file: [begin, end) is a hole in the copy. Both 0 for all else.
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SalvageResult {
  uint64_t files = 0;      // of the live trees: all that is no directory
  uint64_t snapshots = 0;  // copied, if with losses
  uint64_t bytes = 0;      // of content, snapshots included
  std::vector<Loss> losses;
};

// `volume` is only read. `directory` is made, or is there and empty. `progress`, if any, is called
// now and then with bytes copied. Errors: the volume cannot be opened (as store::Store::Open), or
// the host takes no more.
absl::StatusOr<SalvageResult> Salvage(std::unique_ptr<os::File> volume,
                                      const std::string& directory,
                                      const std::function<void(uint64_t bytes)>& progress);

}  // namespace cow::move
