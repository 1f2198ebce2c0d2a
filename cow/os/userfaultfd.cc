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
#include "cow/base/types.h"
#include "cow/os/kernel_abi.h"

namespace cow::os {
namespace {

uffdio_range RangeOf(std::span<std::byte> range) {
  return {.start = reinterpret_cast<uint64_t>(range.data()), .len = range.size()};
}

// One that hears of faults of system calls too.
Descriptor OpenPrivileged() {
  Descriptor descriptor(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  if (descriptor.valid()) return descriptor;
  const Descriptor device(open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  if (!device.valid()) return descriptor;
  return Descriptor(ioctl(device.get(), abi::kNewUserfaultfd, O_CLOEXEC | O_NONBLOCK));
}

// Does `step` for the rest of a range until all is done. It takes the rest, and returns what the
// kernel says it did: bytes, or a negative error number.
template <typename Step>
absl::Status Fill(std::span<std::byte> range, const char* what, const Step& step) {
  while (!range.empty()) {
    const int64_t done = step(range);
    if (done > 0) {
      range = range.subspan(static_cast<size_t>(done));
    } else if (done == -EEXIST) {
      range = range.subspan(kPageSize);
    } else if (done != -EAGAIN) {
      return ErrnoStatus(static_cast<int>(-done),
                         absl::StrCat(what, " ", range.size(), " bytes of a mapping"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

const uint64_t Userfaultfd::kProtection =
    UFFD_FEATURE_PAGEFAULT_FLAG_WP | abi::kWpHugetlbfsShmem | abi::kWpUnpopulated | abi::kWpAsync;

absl::StatusOr<Userfaultfd> Userfaultfd::Enable(Descriptor descriptor, uint64_t features) {
  if (!descriptor.valid()) return ErrnoStatus(errno, "userfaultfd");
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = features;
  if (ioctl(descriptor.get(), UFFDIO_API, &api) != 0) {
    return ErrnoStatus(errno, absl::StrCat("userfaultfd with features ", absl::Hex(features)));
  }
  return Userfaultfd(std::move(descriptor), features);
}

absl::StatusOr<Userfaultfd> Userfaultfd::Open(uint64_t features) {
  return Enable(Descriptor(static_cast<int>(
                    syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | abi::kUserModeOnly))),
                features);
}

absl::StatusOr<Userfaultfd> Userfaultfd::OpenForAsyncProtection() { return Open(kProtection); }

absl::StatusOr<Userfaultfd> Userfaultfd::OpenForMissing() {
  for (const uint64_t features : {kProtection | abi::kPoison, abi::kPoison}) {
    absl::StatusOr<Userfaultfd> uffd = Enable(OpenPrivileged(), features);
    if (uffd.ok()) return uffd;
  }
  return Enable(OpenPrivileged(), 0);
}

bool Userfaultfd::poisons() const { return (features_ & abi::kPoison) != 0; }

absl::Status Userfaultfd::RegisterFor(std::span<std::byte> range, uint64_t modes) const {
  uffdio_register argument{};
  argument.range = RangeOf(range);
  argument.mode = modes;
  if (ioctl(descriptor_.get(), UFFDIO_REGISTER, &argument) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("registering ", range.size(), " bytes of a mapping"));
}

absl::Status Userfaultfd::Register(std::span<std::byte> range) const {
  return RegisterFor(range, UFFDIO_REGISTER_MODE_WP);
}

absl::Status Userfaultfd::RegisterMissing(std::span<std::byte> range, bool protection) const {
  return RegisterFor(range,
                     UFFDIO_REGISTER_MODE_MISSING | (protection ? UFFDIO_REGISTER_MODE_WP : 0));
}

absl::Status Userfaultfd::Unregister(std::span<std::byte> range) const {
  uffdio_range argument = RangeOf(range);
  if (ioctl(descriptor_.get(), UFFDIO_UNREGISTER, &argument) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("unregistering ", range.size(), " bytes of a mapping"));
}

std::byte* Userfaultfd::ReadFault() const {
  uffd_msg message;
  for (;;) {
    const ssize_t n = read(descriptor_.get(), &message, sizeof(message));
    if (n < 0 && errno == EINTR) continue;
    if (n != static_cast<ssize_t>(sizeof(message))) return nullptr;
    if (message.event != UFFD_EVENT_PAGEFAULT) continue;
    return reinterpret_cast<std::byte*>(message.arg.pagefault.address & ~(kPageSize - 1));
  }
}

void Userfaultfd::Wake(std::span<std::byte> range) const {
  uffdio_range argument = RangeOf(range);
  ioctl(descriptor_.get(), UFFDIO_WAKE, &argument);
}

absl::Status Userfaultfd::Copy(std::byte* to, std::span<const std::byte> bytes,
                               bool protect) const {
  const std::byte* const end = bytes.data() + bytes.size();
  return Fill({to, bytes.size()}, "copying in", [&](std::span<std::byte> rest) -> int64_t {
    uffdio_copy argument{};
    argument.dst = reinterpret_cast<uint64_t>(rest.data());
    argument.src = reinterpret_cast<uint64_t>(end - rest.size());
    argument.len = rest.size();
    argument.mode = UFFDIO_COPY_MODE_DONTWAKE | (protect ? UFFDIO_COPY_MODE_WP : 0);
    if (ioctl(descriptor_.get(), UFFDIO_COPY, &argument) != 0 && argument.copy == 0) return -errno;
    return argument.copy;
  });
}

absl::Status Userfaultfd::Zero(std::span<std::byte> range) const {
  return Fill(range, "zeroing", [&](std::span<std::byte> rest) -> int64_t {
    uffdio_zeropage argument{};
    argument.range = RangeOf(rest);
    argument.mode = UFFDIO_ZEROPAGE_MODE_DONTWAKE;
    if (ioctl(descriptor_.get(), UFFDIO_ZEROPAGE, &argument) != 0 && argument.zeropage == 0) {
      return -errno;
    }
    return argument.zeropage;
  });
}

absl::Status Userfaultfd::Poison(std::span<std::byte> range) const {
  return Fill(range, "poisoning", [&](std::span<std::byte> rest) -> int64_t {
    abi::PoisonArgument argument{};
    argument.start = reinterpret_cast<uint64_t>(rest.data());
    argument.length = rest.size();
    argument.mode = abi::kPoisonDontWake;
    if (ioctl(descriptor_.get(), abi::kPoisonPages, &argument) != 0 && argument.updated == 0) {
      return -errno;
    }
    return argument.updated;
  });
}

}  // namespace cow::os
