// What a command works on: a path in a mount of a cowfs, or in a volume that is not mounted. Both
// take the same requests and give the same replies.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/control/message.h"

namespace cow::ctl {

struct CheckOutcome {
  std::vector<control::Damage> damages;
  uint64_t frames = 0;
};

class Target {
 public:
  virtual ~Target() = default;

  // Any request but those of a check and of defragmenting. Where it asks for space that cannot be counted, because
  // another process writes the volume, the entries come without it.
  virtual absl::StatusOr<control::Reply> Execute(const control::Request& request) = 0;

  // Checks the whole volume, and reads at most `rate` bytes of it a second; 0: no limit. `progress`
  // is called now and then with frames done and in all.
  virtual absl::StatusOr<CheckOutcome> Check(
      uint64_t rate, const std::function<void(uint64_t, uint64_t)>& progress) = 0;

  // Brings together what lies scattered in the file at `path`: goes over it once.
  virtual absl::StatusOr<control::Defragmented> Defragment(
      const std::string& path, bool unshare,
      const std::function<void(uint64_t, uint64_t)>& progress) = 0;

  // What a path of the volume is called outside: what can be given to cowctl again. Below
  // `directory` it is relative to that, where one was set.
  std::string NameOf(std::string_view path) const;
  void SetDirectory(std::string directory) { directory_ = std::move(directory); }

  // The path in this volume that `argument` means, which need not exist. kInvalidArgument (EXDEV)
  // when it is in another.
  virtual absl::StatusOr<std::string> Inside(std::string_view argument) const = 0;

 protected:
  virtual std::string FullNameOf(std::string_view path) const = 0;

 private:
  std::string directory_;
};

// What an argument says about a snapshot.
enum class Part {
  kHead,      // PATH: none; an @ is part of the path
  kSnapshot,  // PATH@NAME
  kEither,    // PATH[@NAME]: a real entry that is called so wins; else NAME is not empty
};

struct Located {
  std::unique_ptr<Target> target;
  std::string path;           // in the volume; with kEither it may end in @NAME
  std::string name;           // of the snapshot; only with kSnapshot
  bool reached = false;       // the directory of `path` was found
  std::string argument = {};  // that meant it
};

// How targets are opened; tests put something else in place.
struct Doors {
  // The mount of the cowfs that holds `path`, which exists and is canonical.
  std::function<absl::StatusOr<std::unique_ptr<Target>>(const std::string& path)> mount;
  // A volume that is not mounted. `write`: it will be changed.
  std::function<absl::StatusOr<std::unique_ptr<Target>>(const std::string& volume, bool write)>
      volume;
};
absl::StatusOr<std::unique_ptr<Target>> OpenMount(const std::string& path);
absl::StatusOr<std::unique_ptr<Target>> OpenVolume(const std::string& volume, bool write);

// Finds what an argument means. A symbolic link at its end is followed. What is not there, but
// could be (a removed file whose snapshots stay), is named in the volume without being looked for.
absl::StatusOr<Located> Locate(const Doors& doors, std::string_view argument, Part part,
                               bool write);

// The argument of `check`: a volume, or a directory of a mount. A volume that is mounted for writing
// is reached through its mount.
absl::StatusOr<std::unique_ptr<Target>> LocateWhole(const Doors& doors, std::string_view argument);

// Where the snapshots of the root of a volume are: PATH@NAME has no directory there to stand in.
inline constexpr std::string_view kRootSnapshots = ".snapshots/";

// `path` of a volume, with the snapshot written the way lookups understand it.
std::string WithSnapshot(std::string_view path, std::string_view name);

// PATH@NAME at the last @ of the last component; false where there is none.
bool SplitName(std::string_view argument, std::string_view& path, std::string_view& name);

// VOLUME:/PATH. False where the argument is a path in the host's filesystems.
bool SplitVolume(std::string_view argument, std::string_view& volume, std::string_view& path);

}  // namespace cow::ctl
