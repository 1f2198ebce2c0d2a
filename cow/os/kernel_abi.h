// Constants and structures of the kernel that Debian 12's headers (6.1) lack. The names are this
// project's own, so that newer headers do not collide with them. Nothing else defines such numbers.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace cow::os::abi {

// madvise(2), kernel 5.18: as MADV_DONTNEED, also of locked memory.
inline constexpr int kMadviseDontNeedLocked = 24;

// userfaultfd(2), kernel 5.11: faults of system calls are refused and no privilege is needed.
inline constexpr int kUserModeOnly = 1;

// UFFDIO_API, uffdio_api::features.
inline constexpr uint64_t kWpHugetlbfsShmem = uint64_t{1} << 12;
inline constexpr uint64_t kWpUnpopulated = uint64_t{1} << 13;  // 6.4
inline constexpr uint64_t kPoison = uint64_t{1} << 14;         // 6.6
inline constexpr uint64_t kWpAsync = uint64_t{1} << 15;        // 6.7

// Ioctl on /dev/userfaultfd, kernel 6.1: makes one that hears of faults of system calls.
inline constexpr unsigned long kNewUserfaultfd = _IO(0xaa, 0x00);

// Ioctl UFFDIO_POISON, kernel 6.6.
struct PoisonArgument {
  uint64_t start;
  uint64_t length;
  uint64_t mode;
  int64_t updated;
};
inline constexpr unsigned long kPoisonPages = _IOWR(0xaa, 0x08, PoisonArgument);
inline constexpr uint64_t kPoisonDontWake = 1;

// ioctl PAGEMAP_SCAN on /proc/PID/pagemap, kernel 6.7.
struct PageRegion {
  uint64_t start;
  uint64_t end;
  uint64_t categories;
};
struct ScanArgument {
  uint64_t size;
  uint64_t flags;
  uint64_t start;
  uint64_t end;
  uint64_t walk_end;
  uint64_t vec;
  uint64_t vec_len;
  uint64_t max_pages;
  uint64_t category_inverted;
  uint64_t category_mask;
  uint64_t category_anyof_mask;
  uint64_t return_mask;
};
static_assert(sizeof(ScanArgument) == 96);
inline constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArgument);

// ScanArgument::flags.
inline constexpr uint64_t kScanWpMatching = 1 << 0;
inline constexpr uint64_t kScanCheckWpAsync = 1 << 1;

// Categories of pages.
inline constexpr uint64_t kPageIsWpAllowed = 1 << 0;
inline constexpr uint64_t kPageIsWritten = 1 << 1;
inline constexpr uint64_t kPageIsFile = 1 << 2;
inline constexpr uint64_t kPageIsPresent = 1 << 3;
inline constexpr uint64_t kPageIsSwapped = 1 << 4;
inline constexpr uint64_t kPageIsPfnZero = 1 << 5;

// Entries read from /proc/PID/pagemap.
inline constexpr uint64_t kEntryWriteProtected = uint64_t{1} << 57;  // 5.14
inline constexpr uint64_t kEntryFile = uint64_t{1} << 61;
inline constexpr uint64_t kEntrySwapped = uint64_t{1} << 62;
inline constexpr uint64_t kEntryPresent = uint64_t{1} << 63;

}  // namespace cow::os::abi
