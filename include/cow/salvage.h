// Salvage: what can still be read of a damaged volume, as files of the host.
//
//   cow::SalvageResult result = cow::Salvage("broken.cow", "rescued").value();
//   for (const cow::Loss& loss : result.losses) {
//     std::cerr << loss.path << ": " << loss.part << " lost: " << loss.cause << "\n";
//   }
//
// In the directory there is then:
//   live/a/b                 the file /a/b; trees are directories like others
//   live/lost+found/T.O      object O of tree T: no name that can be read leads to it
//   live/lost+found/frame-N  a tree of which only the table in frame N was found, with its names
//   live/lost+found/frame-N.O         a file, or a tree, of which only the record was found there
//   live/lost+found/pages-of-frame-N  the content, by whole pages, to which the node in frame N leads
//   snapshots/a/b@monday     the snapshot of /a/b; one of a tree is a directory, and what has no
//                            name in it is in its lost+found; one of the root is snapshots/@monday
//   snapshots/lost+found/N   snapshot number N, of which no name can be read
//
// Each snapshot is copied in full: sharing ends with the volume. Holes stay holes, names of one
// file stay hard links. Modes, times, extended attributes and, for root, owners are those of the
// volume. Damage to pages that only hold names or tables costs what is known through them alone; and
// less where it was there already at the commit before the last, which the volume may still have:
// then the copy is as it was then, and a loss names "what changed in the last commit". What still is
// not found is looked for in all frames that are in use: the last three lines of lost+found. Nothing
// vouches for the records of these: they get neither set-user bits nor devices. They may be of any
// version, and of files that were removed lately.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace cow {

struct Loss {
  std::string path;   // in the volume: "/a/b", "/a/b@monday"; by it the copy is found, as above
  std::string part;   // of it: "bytes 4096 to 8192", "extended attributes"; empty: all of it
  std::string cause;  // "frame 1234 (data, object 5): checksum does not match"
  // Of a file's content: this range is a hole in the copy. Both 0 for other parts.
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SalvageResult {
  uint64_t files = 0;      // of the live trees: all but directories, by names
  uint64_t snapshots = 0;  // copied, some perhaps with losses
  uint64_t bytes = 0;      // of content, that of snapshots included
  std::vector<Loss> losses;
};

// Copies out of the volume in file `volume` of the host, which is only read, into `directory`,
// which is made, or is there and empty (ENOTEMPTY). `progress` is called by this thread with the
// bytes copied so far. Damage is part of the result. Errors: neither copy of a superblock is good,
// or others as Volume::Open has for reading; or the host takes no more files (ENOSPC).
absl::StatusOr<SalvageResult> Salvage(std::string_view volume, std::string_view directory,
                                      const std::function<void(uint64_t bytes)>& progress = {});

}  // namespace cow
