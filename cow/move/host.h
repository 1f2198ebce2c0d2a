// Entries of the host's filesystem, made new. Nothing that is there already is written, replaced or
// followed: making what exists is EEXIST.
//
// Errors: as the system call, with its errno. A HostIsOut error would meet every further file too.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/fs/inode.h"
#include "cow/os/descriptor.h"

namespace cow::move {

// Whether the host, and not this one file, is why something could not be written: it is full, or
// its disk fails.
bool HostIsOut(const absl::Status& status);
// Whether it was the name that the host would not take.
bool NameIsRefused(const absl::Status& status);

// A new file of `size` bytes that are all holes.
class NewFile {
 public:
  static absl::StatusOr<NewFile> Create(const std::string& path);
  absl::Status Resize(uint64_t size);
  absl::Status Write(uint64_t offset, std::span<const std::byte> bytes);

 private:
  explicit NewFile(os::Descriptor descriptor) : descriptor_(std::move(descriptor)) {}
  os::Descriptor descriptor_;
};

// By default for its owner alone, until it has its attributes.
absl::Status MakeDirectory(const std::string& path, mode_t mode = 0700);
absl::Status MakeLink(const std::string& target, const std::string& path);
absl::Status MakeHardLink(const std::string& existing, const std::string& path);
// A fifo, a socket or a device.
absl::Status MakeSpecial(const fs::InodeRecord& record, const std::string& path);

absl::Status SetXattr(const std::string& path, const std::string& name, std::string_view value);
// Where this process may give files away. Before extended attributes, some of which would go.
absl::Status SetOwner(const fs::InodeRecord& record, const std::string& path);
absl::Status SetModeAndTimes(const fs::InodeRecord& record, const std::string& path);

// Whether there is nothing at `path`, which can be the name of something.
bool IsFree(const std::string& path);

// Makes `path` a directory, which may be there if it is empty: ENOTEMPTY.
absl::Status MakeEmptyDirectory(const std::string& path);

}  // namespace cow::move
