// What this machine's kernel offers of what the library can make use of. Probed at run time, by
// trying; what is lacking is replaced by something slower.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace cow::os {

struct Features {
  bool userfaultfd = false;    // can be opened (without privilege, since 5.11)
  bool uffd_wp_async = false;  // asynchronous write-protect, also of unpopulated pages (6.7)
  bool pagemap_scan = false;   // PAGEMAP_SCAN (6.7); together with uffd_wp_async: it works
  bool pagemap = false;        // /proc/self/pagemap can be read
  bool populate = false;       // MADV_POPULATE_READ (5.14)
  bool uffd_missing = false;   // missing pages, of system calls too (needs privilege)
  bool uffd_poison = false;    // pages that cannot be read (6.6)
};

// One line about one feature.
struct FeatureInfo {
  std::string_view name;
  bool Features::*present;
  std::string_view use;      // what it is used for
  std::string_view instead;  // what is done where it is lacking
};
std::span<const FeatureInfo> AllFeatures();

// What may be used. The first call probes; later ones remember. The environment variable
// COW_WITHOUT, a list of names separated by commas, switches features off. Any thread.
Features UsableFeatures();

// Probes, by trying, all but the features named in `without` (names separated by commas; unknown
// ones are ignored) and those that build on them.
Features ProbeFeatures(std::string_view without);

// Release of the running kernel, as uname -r prints it.
std::string KernelRelease();

// For tests: UsableFeatures() answers `features` while this lives. One at a time.
class ScopedFeatures {
 public:
  explicit ScopedFeatures(const Features& features);
  ~ScopedFeatures();
  ScopedFeatures(const ScopedFeatures&) = delete;
  ScopedFeatures& operator=(const ScopedFeatures&) = delete;
};

}  // namespace cow::os
