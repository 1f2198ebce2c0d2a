#include "cow/os/userfaultfd.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/os/kernel_abi.h"

namespace cow::os {

absl::StatusOr<Userfaultfd> Userfaultfd::Open(uint64_t features) {
  Descriptor descriptor(
      static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | abi::kUserModeOnly)));
  if (!descriptor.valid()) return ErrnoStatus(errno, "userfaultfd");
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = features;
  if (ioctl(descriptor.get(), UFFDIO_API, &api) != 0) {
    return ErrnoStatus(errno, absl::StrCat("userfaultfd with features ", absl::Hex(features)));
  }
  return Userfaultfd(std::move(descriptor));
}

absl::StatusOr<Userfaultfd> Userfaultfd::OpenForAsyncProtection() {
  return Open(UFFD_FEATURE_PAGEFAULT_FLAG_WP | abi::kWpHugetlbfsShmem | abi::kWpUnpopulated |
              abi::kWpAsync);
}

absl::Status Userfaultfd::Register(std::span<std::byte> range) {
  uffdio_register argument{};
  argument.range.start = reinterpret_cast<uint64_t>(range.data());
  argument.range.len = range.size();
  argument.mode = UFFDIO_REGISTER_MODE_WP;
  if (ioctl(descriptor_.get(), UFFDIO_REGISTER, &argument) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("registering ", range.size(), " bytes for protection"));
}

}  // namespace cow::os
