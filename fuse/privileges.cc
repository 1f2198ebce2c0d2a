#include "fuse/privileges.h"

#include <sys/stat.h>

#include <cerrno>

#include "cow/base/status.h"
#include "fuse/server.h"

namespace cow::fuse {
namespace {

// Without a group that may execute it, the setgid bit of a file means mandatory locking.
uint32_t BitsToDrop(uint32_t mode) {
  uint32_t bits = mode & S_ISUID;
  if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP)) bits |= S_ISGID;
  return bits;
}

}  // namespace

absl::Status Privileges::DropCapability(uint64_t number) {
  // What was removed, and restored by a rollback as another node, is run by nobody any more.
  const std::optional<fs::NodeId> id = nodes_.Find(number);
  if (!id) return absl::OkStatus();
  const absl::StatusOr<std::string> value = fs_.GetXattr(*id, kCapability);
  if (!value.ok() && ErrnoOf(value.status()) == ENODATA) return absl::OkStatus();
  if (!value.ok()) return value.status();
  const absl::Status removed = fs_.RemoveXattr(*id, kCapability);
  return ErrnoOf(removed) == ENODATA ? absl::OkStatus() : removed;
}

absl::Status Privileges::DropForWrite(OpenFile& file, uid_t user) {
  if (const uint64_t epoch = epoch_; file.without_capability != epoch) {
    COW_RETURN_IF_ERROR(DropCapability(file.number));
    file.without_capability = epoch;
  }
  if (user == 0) return absl::OkStatus();
  COW_ASSIGN_OR_RETURN(const fs::Attributes attributes, file.handle.GetAttributes());
  const uint32_t bits = BitsToDrop(attributes.mode);
  if (bits == 0) return absl::OkStatus();
  COW_RETURN_IF_ERROR(
      file.handle
          .SetAttributes({.fields = fs::AttributeChange::kMode, .mode = attributes.mode & ~bits})
          .status());
  // The kernel would go on running it with the bits it knows.
  kernel_.DropAttributes(file.number);
  return absl::OkStatus();
}

absl::Status Privileges::DropForChange(uint64_t number, const fs::Attributes& attributes, bool bits,
                                       fs::AttributeChange& change) {
  using Change = fs::AttributeChange;
  if (!bits && (change.fields & (Change::kSize | Change::kUid | Change::kGid)) == 0) {
    return absl::OkStatus();
  }
  // As in the kernel: the bits go from all that is no directory, also from devices and fifos.
  if (attributes.type == fs::FileType::kDirectory) return absl::OkStatus();
  COW_RETURN_IF_ERROR(DropCapability(number));
  if (!bits) return absl::OkStatus();
  const uint32_t mode = (change.fields & Change::kMode) != 0 ? change.mode : attributes.mode;
  if (BitsToDrop(mode) == 0) return absl::OkStatus();
  change.fields |= Change::kMode;
  change.mode = mode & ~BitsToDrop(mode);
  return absl::OkStatus();
}

}  // namespace cow::fuse
