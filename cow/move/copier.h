// Copies one object at a time to the host, and keeps account of what was copied and what is lost.
//
// Invariant: what an object held is in its copy, or a loss names it.
//
// Each method answers an error only where the host takes no more; all else that goes wrong is a
// loss.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/fs/inode.h"
#include "cow/fs/xattrs.h"
#include "cow/move/host.h"
#include "cow/move/salvage.h"
#include "cow/store/store.h"

namespace cow::move {

// Why what is found is called by its number.
absl::Status NoName();

// Where a copy goes on the host, and what losses of it are called.
struct Place {
  std::string host;
  std::string path;

  Place Below(const std::string& name) const { return {host + "/" + name, path + "/" + name}; }
};

// What came of copying something.
enum class Outcome {
  kCopied,   // perhaps with losses
  kRefused,  // the host does not take the name; reported
  kLost,     // there is no copy; reported
};

class Copier {
 public:
  using XattrsObject = absl::StatusOr<std::shared_ptr<store::Object>>;
  // Opens the object as it was in the commit before; nullptr where that has it not.
  using OpenBefore = std::function<std::shared_ptr<store::Object>()>;

  // `volume`: its name, which messages about its frames begin with.
  Copier(std::string volume, std::function<void(uint64_t)> progress)
      : volume_(std::move(volume)), progress_(std::move(progress)) {}

  // Anything but a directory. `xattrs`: the object that holds its extended attributes, where its
  // record says that one does. `before`: where content that no node leads to any more may be, but
  // for what the last commit changed in it.
  absl::StatusOr<Outcome> Copy(const store::Object& object, const fs::InodeRecord& record,
                               const XattrsObject& xattrs, const Place& place,
                               const OpenBefore& before = {});
  // An empty directory; Finish gives it its attributes when all is in it.
  absl::StatusOr<Outcome> CopyDirectory(const Place& place);
  absl::Status Finish(const fs::InodeRecord& record, const XattrsObject& xattrs,
                      const Place& place);
  // A further name of what was copied to `existing`. False: it has to be copied once more.
  absl::StatusOr<bool> CopyHardLink(const std::string& existing, const Place& place);

  void Lose(std::string path, std::string part, const absl::Status& cause);
  void LoseBytes(const std::string& path, uint64_t begin, uint64_t end, const absl::Status& cause);
  // What the last commit changed in `part`, which is as it was before it; empty: in all.
  void LoseChanges(const std::string& path, const std::string& part, const absl::Status& cause);

  // Reports what was copied.
  void Tell() const {
    if (progress_) progress_(result.bytes);
  }

  // Losses [first, end) are of `path` too.
  void LoseAlso(size_t first, size_t end, const std::string& path);

  SalvageResult result;

 private:
  // What came of making something with `status`.
  absl::StatusOr<Outcome> Made(const absl::Status& status, const Place& place);
  // OK, or the error where the host takes no more; others are losses, of `part`.
  absl::Status Kept(const absl::Status& status, const Place& place, const std::string& part);
  absl::StatusOr<Outcome> CopyFile(const store::Object& object, const Place& place,
                                   const OpenBefore& before);
  // A range that lies behind a node that cannot be read, because of `cause`.
  absl::Status CopyFromBefore(const store::Object* before, NewFile& file, uint64_t begin,
                              uint64_t end, const absl::Status& cause, const Place& place);
  absl::Status CopyRange(const store::Object& object, NewFile& file, uint64_t begin, uint64_t end,
                         const Place& place);
  absl::StatusOr<Outcome> CopyLink(const store::Object& object, const fs::InodeRecord& record,
                                   const Place& place);
  void CopyXattrs(const fs::InodeRecord& record, const XattrsObject& xattrs, const Place& place);
  std::string CauseOf(const absl::Status& status) const;

  const std::string volume_;
  const std::function<void(uint64_t)> progress_;
  std::vector<std::byte> buffer_;
};

}  // namespace cow::move
