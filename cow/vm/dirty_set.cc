#include "cow/vm/dirty_set.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <utility>

#include "absl/base/dynamic_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "cow/base/status.h"
#include "cow/os/pagemap.h"
#include "cow/os/userfaultfd.h"
#include "cow/vm/layout.h"
#include "cow/vm/page_set.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace cow::vm {
namespace {

PageRun RunOf(std::span<const std::byte> run, std::span<std::byte> memory) {
  return {PageOf(static_cast<uint64_t>(run.data() - memory.data())), run.size() >> kPageShift};
}

// Asynchronous write-protect: the kernel keeps the set.
class KernelDirtySet final : public BoundDirtySet {
 public:
  KernelDirtySet(std::span<std::byte> memory, std::shared_ptr<const os::Userfaultfd> uffd,
                 os::Pagemap pagemap)
      : memory_(memory), uffd_(std::move(uffd)), pagemap_(std::move(pagemap)) {}

  void AddBound(std::span<const Extent> extents) {
    for (const Extent& extent : extents) {
      of_volume_.Add(extent.page, extent.count);
      data_.Add(extent.page, extent.count);
    }
  }
  void AddCopied(std::span<const Extent> extents) {
    for (const Extent& extent : extents) data_.Add(extent.page, extent.count);
  }

  void Bound(const PageRun& run, std::span<const Extent> extents) override {
    const auto part = memory_.subspan(OffsetOf(run.page), run.count << kPageShift);
    AddBound(extents);
    if (!uffd_->Register(part).ok()) {
      unregistered_.push_back(part);
      return;
    }
    // What is not protected counts as written: a hole needs no protection, and an error, after which
    // some pages may be protected, costs time only.
    for (const Extent& extent : extents) {
      const auto frames = memory_.subspan(OffsetOf(extent.page), extent.count << kPageShift);
      if (!pagemap_.Protect(frames).ok() || !TakePrivate(frames, early_).ok()) incomplete_ = true;
    }
  }

  void Poisoned(const PageRun& run) override {
    for (uint64_t i = 0; i < run.count; ++i) poisoned_.insert(run.page + i);
  }

  absl::Status Take(std::vector<PageRun>& taken) override {
    while (!unregistered_.empty()) {
      COW_RETURN_IF_ERROR(uffd_->Register(unregistered_.back()));
      unregistered_.pop_back();
    }
    taken.insert(taken.end(), early_.begin(), early_.end());
    early_.clear();
    os::MemoryRuns written;
    os::MemoryRuns zeros;
    absl::Status status = pagemap_.TakeWritten(memory_, written, zeros);
    for (const auto& run : written) {
      ForEachReadable(run, [&](std::span<std::byte> part) { status.Update(TakeRun(part, taken)); });
    }
    for (const auto& run : zeros) TakeZeros(RunOf(run, memory_), taken);
    // What was protected and not named is among all that is private.
    if (incomplete_ && status.ok()) {
      ForEachReadable(memory_,
                      [&](std::span<std::byte> part) { status.Update(TakePrivate(part, taken)); });
    }
    incomplete_ = !status.ok();
    return status;
  }

  void Published(PageNumber page, std::span<const std::byte> bytes) override {
    data_.Add(page, bytes.size() >> kPageShift);
  }

 private:
  // What is poisoned looks like a page that was written and swapped out.
  template <typename Visit>
  void ForEachReadable(std::span<std::byte> memory, const Visit& visit) const {
    const PageRun run = RunOf(memory, memory_);
    uint64_t done = 0;
    for (auto at = poisoned_.lower_bound(run.page);
         at != poisoned_.end() && *at < run.page + run.count; ++at) {
      const uint64_t until = OffsetOf(*at) - OffsetOf(run.page);
      if (until > done) visit(memory.subspan(done, until - done));
      done = until + kPageSize;
    }
    if (done < memory.size()) visit(memory.subspan(done));
  }

  // A page that is still the volume's lost its protection, but was not written. It must not be
  // published: its frame would be used again while it is mapped here.
  absl::Status TakeRun(std::span<std::byte> run, std::vector<PageRun>& taken) {
    const PageRun pages = RunOf(run, memory_);
    if (of_volume_.ContainsAny(pages.page, pages.count)) return TakePrivate(run, taken);
    taken.push_back(pages);
    return absl::OkStatus();
  }

  absl::Status TakePrivate(std::span<std::byte> memory, std::vector<PageRun>& taken) {
    os::MemoryRuns found;
    COW_RETURN_IF_ERROR(pagemap_.FindPrivate(memory, found));
    for (const auto& run : found) {
      taken.push_back(RunOf(run, memory_));
      of_volume_.Remove(taken.back().page, taken.back().count);
    }
    return absl::OkStatus();
  }

  // Zeros were written where data was; elsewhere a hole was read.
  void TakeZeros(const PageRun& run, std::vector<PageRun>& taken) {
    for (PageNumber page = run.page; page < run.page + run.count; ++page) {
      if (data_.ContainsAny(page, 1)) taken.push_back({page, 1});
    }
  }

  const std::span<std::byte> memory_;
  const std::shared_ptr<const os::Userfaultfd> uffd_;  // the protection lasts as long as it
  const os::Pagemap pagemap_;
  PageSet of_volume_;  // bound pages that nobody found private; a private page stays that
  PageSet data_;       // pages that are not holes, in the version or by what was published
  std::set<PageNumber> poisoned_;
  bool incomplete_ = false;      // pages were protected that were not named
  std::vector<PageRun> early_;   // written before they were protected first
  os::MemoryRuns unregistered_;  // bound, and not registered for want of memory
};

// Comparing each private page with what it should hold.
class CompareDirtySet final : public DirtySet {
 public:
  CompareDirtySet(std::span<std::byte> memory, std::vector<Extent> bound, os::Pagemap pagemap)
      : memory_(memory), bound_(std::move(bound)), pagemap_(std::move(pagemap)) {}

  absl::Status Take(std::vector<PageRun>& taken) override {
    os::MemoryRuns found;
    COW_RETURN_IF_ERROR(pagemap_.FindPrivate(memory_, found));
    for (const auto& memory_run : found) {
      const PageRun run = RunOf(memory_run, memory_);
      for (PageNumber page = run.page; page < run.page + run.count; ++page) {
        if (Unchanged(page)) continue;
        if (!taken.empty() && taken.back().page + taken.back().count == page) {
          ++taken.back().count;
        } else {
          taken.push_back({page, 1});
        }
      }
    }
    return absl::OkStatus();
  }

  void Published(PageNumber page, std::span<const std::byte> bytes) override {
    for (; !bytes.empty(); bytes = bytes.subspan(kPageSize), ++page) {
      last_[page] = XXH3_128bits(bytes.data(), kPageSize);
    }
  }

 private:
  bool Unchanged(PageNumber page) const {
    static constexpr std::array<std::byte, kPageSize> kZeros{};
    const std::byte* const bytes = memory_.data() + OffsetOf(page);
    const IgnoreRacingReads ignore;
    if (const auto last = last_.find(page); last != last_.end()) {
      return XXH128_isEqual(XXH3_128bits(bytes, kPageSize), last->second) != 0;
    }
    // A bound page that is private was written: nothing else makes it so.
    return !IsBound(page) && std::memcmp(bytes, kZeros.data(), kPageSize) == 0;
  }

  bool IsBound(PageNumber page) const {
    const auto after =
        std::upper_bound(bound_.begin(), bound_.end(), page,
                         [](PageNumber a, const Extent& extent) { return a < extent.page; });
    return after != bound_.begin() && page < std::prev(after)->page + std::prev(after)->count;
  }

  const std::span<std::byte> memory_;
  const std::vector<Extent> bound_;
  const os::Pagemap pagemap_;
  // What was last published of a page, or copied in.
  absl::flat_hash_map<PageNumber, XXH128_hash_t> last_;
};

// The chunks that `extents` touch, joined where they touch one another.
std::vector<PageRun> ChunksOf(std::span<const Extent> extents, uint64_t pages) {
  std::vector<PageRun> runs;
  for (const Extent& extent : extents) {
    const uint64_t begin = extent.page.value() / kChunkPages * kChunkPages;
    const uint64_t end =
        (extent.page.value() + extent.count + kChunkPages - 1) / kChunkPages * kChunkPages;
    if (runs.empty() || (runs.back().page + runs.back().count).value() < begin) {
      runs.push_back({PageNumber(begin), end - begin});
    } else {
      runs.back().count = std::max(runs.back().count, end - runs.back().page.value());
    }
  }
  if (!runs.empty()) {
    runs.back().count = std::min(runs.back().count, pages - runs.back().page.value());
  }
  return runs;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DirtySet>> TrackByKernel(std::span<std::byte> memory,
                                                        std::span<const Extent> bound,
                                                        std::span<const Extent> copied) {
  COW_ASSIGN_OR_RETURN(os::Userfaultfd uffd, os::Userfaultfd::OpenForAsyncProtection());
  COW_ASSIGN_OR_RETURN(os::Pagemap pagemap, os::Pagemap::Open());
  COW_RETURN_IF_ERROR(uffd.Register(memory));
  // Chunks without frames stay unprotected until something is written there: an unpopulated page
  // cannot be dirty, so they cost no page tables, whatever their size.
  for (const auto extents : {bound, copied}) {
    for (const PageRun& run : ChunksOf(extents, memory.size() >> kPageShift)) {
      COW_RETURN_IF_ERROR(
          pagemap.Protect(memory.subspan(OffsetOf(run.page), run.count << kPageShift)));
    }
  }
  auto set = std::make_unique<KernelDirtySet>(
      memory, std::make_shared<os::Userfaultfd>(std::move(uffd)), std::move(pagemap));
  set->AddBound(bound);
  set->AddCopied(copied);
  return set;
}

absl::StatusOr<std::unique_ptr<BoundDirtySet>> TrackBoundByKernel(
    std::span<std::byte> memory, std::shared_ptr<const os::Userfaultfd> uffd) {
  COW_ASSIGN_OR_RETURN(os::Pagemap pagemap, os::Pagemap::Open());
  return std::make_unique<KernelDirtySet>(memory, std::move(uffd), std::move(pagemap));
}

absl::StatusOr<std::unique_ptr<DirtySet>> TrackByComparing(std::span<std::byte> memory,
                                                           std::vector<Extent> bound,
                                                           std::span<const Extent> copied) {
  COW_ASSIGN_OR_RETURN(os::Pagemap pagemap, os::Pagemap::Open());
  auto set = std::make_unique<CompareDirtySet>(memory, std::move(bound), std::move(pagemap));
  for (const Extent& extent : copied) {
    set->Published(extent.page, memory.subspan(OffsetOf(extent.page), extent.count << kPageShift));
  }
  return set;
}

IgnoreRacingReads::IgnoreRacingReads() { ABSL_ANNOTATE_IGNORE_READS_BEGIN(); }
IgnoreRacingReads::~IgnoreRacingReads() { ABSL_ANNOTATE_IGNORE_READS_END(); }

}  // namespace cow::vm
