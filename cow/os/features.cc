#include "cow/os/features.h"

#include <sys/mman.h>
#include <sys/utsname.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <optional>

#include "absl/base/attributes.h"
#include "absl/base/const_init.h"
#include "absl/base/thread_annotations.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "cow/base/types.h"
#include "cow/os/address_range.h"
#include "cow/os/file.h"
#include "cow/os/pagemap.h"
#include "cow/os/userfaultfd.h"

namespace cow::os {
namespace {

constexpr FeatureInfo kFeatures[] = {
    {"userfaultfd", &Features::userfaultfd, "tracking writes to mappings", "see uffd_wp_async"},
    {"uffd_wp_async", &Features::uffd_wp_async, "tracking writes to mappings in the kernel",
     "a seal compares each private page with its frame"},
    {"pagemap_scan", &Features::pagemap_scan, "finding written pages in one call",
     "a seal compares each private page with its frame"},
    {"pagemap", &Features::pagemap, "finding private pages", "no mapping for writing"},
    {"populate", &Features::populate, "entering frames into the page tables in one call",
     "one fault a page"},
    {"uffd_missing", &Features::uffd_missing, "binding mappings where they are first touched",
     "all of a version is verified and bound when it is mapped; needs CAP_SYS_PTRACE, "
     "vm.unprivileged_userfaultfd=1 or access to /dev/userfaultfd"},
    {"uffd_poison", &Features::uffd_poison, "SIGBUS for a page that cannot be read", "SIGSEGV"},
};

// Tries the real thing, on a private map of a file and on anonymous memory: exactly the pages that
// are written must be found.
bool AsyncTrackingWorks() {
  auto file = OpenMemoryFile("cow-probe");
  auto uffd = Userfaultfd::OpenForAsyncProtection();
  auto pagemap = Pagemap::Open();
  auto range = AddressRange::Reserve(8 * kPageSize, kPageSize, Protection::kReadWrite);
  if (!file.ok() || !uffd.ok() || !pagemap.ok() || !range.ok()) return false;
  if (!(*file)->Resize(4 * kPageSize).ok() ||
      !range->MapFile(0, 4 * kPageSize, (*file)->descriptor(), 0, Protection::kReadWrite).ok()) {
    return false;
  }
  const std::span<std::byte> bytes(range->data(), range->size());
  if (!uffd->Register(bytes).ok() || !pagemap->Protect(bytes).ok()) return false;
  auto* const memory = reinterpret_cast<volatile unsigned char*>(bytes.data());
  memory[1 * kPageSize] = 1;
  static_cast<void>(memory[2 * kPageSize]);
  memory[6 * kPageSize] = 1;
  static_cast<void>(memory[7 * kPageSize]);
  MemoryRuns first;
  MemoryRuns second;
  MemoryRuns zeros;
  if (!pagemap->TakeWritten(bytes, first, zeros).ok() ||
      !pagemap->TakeWritten(bytes, second, zeros).ok()) {
    return false;
  }
  return second.empty() && first.size() == 2 && first[0].data() == bytes.data() + kPageSize &&
         first[0].size() == kPageSize && first[1].data() == bytes.data() + 6 * kPageSize &&
         first[1].size() == kPageSize;
}

bool PopulateWorks() {
  auto range = AddressRange::Reserve(kPageSize, kPageSize, Protection::kRead);
  return range.ok() && madvise(range->data(), range->size(), MADV_POPULATE_READ) == 0;
}

// Tries that a page is missed, and can be filled, before anybody waits for one.
void ProbeMissing(Features& features) {
  auto uffd = Userfaultfd::OpenForMissing();
  auto range = AddressRange::Reserve(2 * kPageSize, kPageSize, Protection::kRead);
  if (!uffd.ok() || !range.ok()) return;
  const std::span<std::byte> bytes(range->data(), range->size());
  const std::array<std::byte, kPageSize> page = {std::byte{1}};
  features.uffd_missing = uffd->RegisterMissing(bytes, false).ok() &&
                          uffd->Copy(bytes.data(), page, false).ok() && bytes[0] == page[0];
  features.uffd_poison =
      features.uffd_missing && uffd->poisons() && uffd->Poison(bytes.subspan(kPageSize)).ok();
}

bool PagemapWorks() {
  auto pagemap = Pagemap::Open();
  auto range = AddressRange::Reserve(kPageSize, kPageSize, Protection::kReadWrite);
  if (!pagemap.ok() || !range.ok()) return false;
  const std::span<std::byte> bytes(range->data(), range->size());
  reinterpret_cast<volatile unsigned char*>(bytes.data())[0] = 1;
  MemoryRuns found;
  return pagemap->FindPrivate(bytes, found).ok() && found.size() == 1;
}

ABSL_CONST_INIT absl::Mutex override_mutex(absl::kConstInit);
std::optional<Features> override_features ABSL_GUARDED_BY(override_mutex);

}  // namespace

std::span<const FeatureInfo> AllFeatures() { return kFeatures; }

Features ProbeFeatures(std::string_view without) {
  Features features;
  features.userfaultfd = Userfaultfd::Open(0).ok();
  features.uffd_wp_async = Userfaultfd::OpenForAsyncProtection().ok();
  features.pagemap = PagemapWorks();
  features.pagemap_scan = features.uffd_wp_async && AsyncTrackingWorks();
  features.populate = PopulateWorks();
  ProbeMissing(features);
  for (absl::string_view name :
       absl::StrSplit(absl::string_view(without.data(), without.size()), ',')) {
    for (const FeatureInfo& info : kFeatures) {
      if (std::string_view(name.data(), name.size()) == info.name) features.*info.present = false;
    }
  }
  // Each builds on the ones before it.
  features.uffd_wp_async = features.uffd_wp_async && features.userfaultfd;
  features.pagemap_scan = features.pagemap_scan && features.uffd_wp_async && features.pagemap;
  features.uffd_missing = features.uffd_missing && features.userfaultfd;
  features.uffd_poison = features.uffd_poison && features.uffd_missing;
  return features;
}

Features UsableFeatures() {
  {
    absl::MutexLock lock(&override_mutex);
    if (override_features.has_value()) return *override_features;
  }
  const char* const without = std::getenv("COW_WITHOUT");
  static const Features probed = ProbeFeatures(without == nullptr ? "" : without);
  return probed;
}

std::string KernelRelease() {
  utsname name;
  return uname(&name) == 0 ? name.release : "unknown";
}

ScopedFeatures::ScopedFeatures(const Features& features) {
  absl::MutexLock lock(&override_mutex);
  override_features = features;
}

ScopedFeatures::~ScopedFeatures() {
  absl::MutexLock lock(&override_mutex);
  override_features.reset();
}

}  // namespace cow::os
