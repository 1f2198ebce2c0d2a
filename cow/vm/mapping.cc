#include "cow/vm/mapping.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/base/trace.h"
#include "cow/os/features.h"
#include "cow/vm/binder.h"
#include "cow/vm/dirty_set.h"
#include "cow/vm/layout.h"

namespace cow::vm {
namespace {

constexpr uint64_t kChunkBytes = kChunkPages * kPageSize;
constexpr uint64_t kPagesAtOnce = 256;

os::Protection ProtectionOf(Access access) {
  return access == Access::kRead ? os::Protection::kRead : os::Protection::kReadWrite;
}

absl::Status NeedsAccess(const char* what, const char* access) {
  return MakeError(absl::StatusCode::kFailedPrecondition, EINVAL,
                   absl::StrCat(what, " needs a mapping for ", access));
}

// A quarter of the machine's memory.
uint64_t MostCopiedPages() { return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) / 4; }

// Sorts `runs` and joins those that overlap or touch.
void Normalize(std::vector<PageRun>& runs) {
  std::sort(runs.begin(), runs.end(),
            [](const PageRun& a, const PageRun& b) { return a.page < b.page; });
  size_t kept = 0;
  for (const PageRun& run : runs) {
    if (kept > 0 && run.page <= runs[kept - 1].page + runs[kept - 1].count) {
      const uint64_t count = run.page + run.count - runs[kept - 1].page;
      runs[kept - 1].count = std::max(runs[kept - 1].count, count);
    } else {
      runs[kept++] = run;
    }
  }
  runs.resize(kept);
}

}  // namespace

Mapping::Mapping(Access access, uint64_t size, std::shared_ptr<Source> source,
                 os::AddressRange range)
    : access_(access),
      size_(size),
      source_(std::move(source)),
      tracking_(Tracking::kKernel),
      range_(std::move(range)) {}

Mapping::~Mapping() {
  if (binder_ != nullptr) binder_->Stop();
  MapAccount::Subtract(maps_used_);
}

Tracking Mapping::tracking() const { return tracking_; }

absl::StatusOr<std::unique_ptr<Mapping>> Mapping::Create(Access access, uint64_t size,
                                                         std::shared_ptr<Source> source,
                                                         const Options& options) {
  if (sysconf(_SC_PAGESIZE) != static_cast<long>(kPageSize)) {
    return absl::UnimplementedError("mappings need a system page size of 4 KiB");
  }
  if (size == 0) {
    return MakeError(absl::StatusCode::kInvalidArgument, EINVAL,
                     "a version of size 0 cannot be mapped");
  }
  if (size > std::numeric_limits<uint64_t>::max() / 2) return ErrnoStatus(ENOMEM, "mapping");
  COW_ASSIGN_OR_RETURN(
      os::AddressRange range,
      os::AddressRange::Reserve(PagesFor(size) << kPageShift, kChunkBytes, ProtectionOf(access)));
  std::unique_ptr<Mapping> mapping(new Mapping(access, size, std::move(source), std::move(range)));
  COW_RETURN_IF_ERROR(mapping->ChooseTracking(options));
  // A process may have lost the privilege since it was looked for.
  absl::StatusOr<std::shared_ptr<FaultHandler>> handler = nullptr;
  if (mapping->BindsOnTouch()) handler = FaultHandler::Get();
  if (handler.ok() && *handler != nullptr) {
    COW_ASSIGN_OR_RETURN(mapping->binder_, Binder::Start(mapping->range_, access, mapping->source_,
                                                         options.map_limit, *std::move(handler)));
  } else {
    COW_RETURN_IF_ERROR(mapping->Bind(options));
  }
  COW_TRACE(map, PagesFor(size), mapping->maps_used_, mapping->copied_pages_);
  return mapping;
}

bool Mapping::BindsOnTouch() const {
  // What is mapped in a process that locks its memory cannot be touched until it is unlocked.
  return os::UsableFeatures().uffd_missing && !range_.locks() &&
         (access_ != Access::kWrite || tracking_ == Tracking::kKernel);
}

uint64_t Mapping::copied_pages() const {
  return binder_ != nullptr ? binder_->copied_pages() : copied_pages_;
}

absl::Status Mapping::status() const {
  return binder_ != nullptr ? binder_->status() : absl::OkStatus();
}

absl::Status Mapping::ChooseTracking(const Options& options) {
  if (access_ != Access::kWrite) return absl::OkStatus();
  const bool kernel = os::UsableFeatures().pagemap_scan;
  tracking_ = options.tracking.value_or(kernel ? Tracking::kKernel : Tracking::kCompare);
  if (tracking_ == Tracking::kKernel && !kernel) {
    return absl::UnimplementedError("this kernel cannot track writes (PAGEMAP_SCAN)");
  }
  return absl::OkStatus();
}

absl::Status Mapping::Bind(const Options& options) {
  const uint64_t pages = PagesFor(size_);
  const int descriptor = source_->descriptor();
  COW_ASSIGN_OR_RETURN(std::vector<Extent> extents,
                       source_->Extents(PageNumber(0), PageNumber(pages)));
  COW_RETURN_IF_ERROR(CheckExtents(extents, PageNumber(0), PageNumber(pages), descriptor));
  Layout layout = PlanLayout(extents, pages, options.map_limit.value_or(MapAccount::Available()));
  if (layout.copied_pages > MostCopiedPages()) {
    return MakeError(absl::StatusCode::kResourceExhausted, ENOMEM,
                     absl::StrCat("a version in ", extents.size(),
                                  " extents takes too many maps; raise vm.max_map_count"));
  }
  maps_used_ = layout.maps;
  MapAccount::Add(maps_used_);
  copied_pages_ = layout.copied_pages;

  // Registering for write-protection turns fault-around off; populating beforehand makes up for it.
  const bool populate =
      access_ == Access::kWrite && tracking_ == Tracking::kKernel && os::UsableFeatures().populate;
  for (const Extent& extent : layout.bound) {
    COW_RETURN_IF_ERROR(range_.MapFile(OffsetOf(extent.page), extent.count << kPageShift,
                                       descriptor, OffsetOf(extent.frame), ProtectionOf(access_)));
  }
  // A huge page is dirty as a whole, and one of the volume file loses its protection as a whole. It
  // must be said once the extents are bound and before they are populated.
  if (access_ == Access::kWrite) range_.AvoidHugePages(0, range_.size());
  for (const Extent& extent : layout.bound) {
    if (!populate) break;
    COW_RETURN_IF_ERROR(
        range_.PopulateForReading(OffsetOf(extent.page), extent.count << kPageShift));
  }
  COW_RETURN_IF_ERROR(CopyIn(layout.copied));
  COW_RETURN_IF_ERROR(range_.KeepFromChildren(0, range_.size()));
  if (access_ == Access::kWrite) return TrackWrites(std::move(layout.bound), layout.copied);
  copied_ = std::move(layout.copied);
  return absl::OkStatus();
}

absl::Status Mapping::CopyIn(std::span<const Extent> extents) {
  if (extents.empty()) return absl::OkStatus();
  const bool read_only = access_ == Access::kRead;
  // Whole chunks, since an extent is one of very many.
  const auto protect_chunk = [&](PageNumber page, os::Protection protection) {
    const uint64_t at = OffsetOf(page) / kChunkBytes * kChunkBytes;
    return range_.Protect(at, std::min(kChunkBytes, range_.size() - at), protection);
  };
  for (size_t i = 0; i < extents.size(); ++i) {
    const Extent& extent = extents[i];
    const uint64_t chunk = extent.page.value() / kChunkPages;
    const bool first = i == 0 || extents[i - 1].page.value() / kChunkPages != chunk;
    const bool last = i + 1 == extents.size() || extents[i + 1].page.value() / kChunkPages != chunk;
    if (read_only && first) {
      COW_RETURN_IF_ERROR(protect_chunk(extent.page, os::Protection::kReadWrite));
    }
    COW_RETURN_IF_ERROR(range_.ReadFile(OffsetOf(extent.page), extent.count << kPageShift,
                                        source_->descriptor(), OffsetOf(extent.frame)));
    if (read_only && last) {
      COW_RETURN_IF_ERROR(protect_chunk(extent.page, os::Protection::kRead));
    }
  }
  return absl::OkStatus();
}

absl::Status Mapping::TrackWrites(std::vector<Extent> bound, std::span<const Extent> copied) {
  const std::span<std::byte> memory(range_.data(), range_.size());
  auto dirty = tracking_ == Tracking::kKernel ? TrackByKernel(memory, bound, copied)
                                              : TrackByComparing(memory, std::move(bound), copied);
  if (!dirty.ok()) return dirty.status();
  absl::MutexLock lock(&seal_mutex_);
  dirty_ = std::move(dirty).value();
  return absl::OkStatus();
}

absl::Status Mapping::Seal(Sink& sink) {
  if (access_ != Access::kWrite) return NeedsAccess("a seal", "writing");
  absl::MutexLock lock(&seal_mutex_);
  // What was taken is protected again and must not be forgotten, even after an error.
  const absl::Status taken = dirty().Take(pending_);
  Normalize(pending_);
  COW_RETURN_IF_ERROR(taken);
  std::span<PageRun> left(pending_);
  absl::Status status;
  while (!left.empty() && status.ok()) status = PublishSome(sink, left);
  pending_.erase(pending_.begin(), pending_.end() - static_cast<std::ptrdiff_t>(left.size()));
  return status;
}

absl::Status Mapping::PublishSome(Sink& sink, std::span<PageRun>& runs) {
  copy_.resize(kPagesAtOnce << kPageShift);
  std::array<PageNumber, kPagesAtOnce> pages;
  size_t count = 0;
  std::span<PageRun> left = runs;
  PageRun rest = left.front();
  const PageNumber whole_end = PageOf(size_);
  while (count < pages.size()) {
    // The last page of a version that does not fill it comes alone.
    const bool partial = rest.page >= whole_end;
    if (partial && count > 0) break;
    uint64_t part = std::min<uint64_t>(rest.count, pages.size() - count);
    if (!partial) part = std::min(part, whole_end - rest.page);
    {
      const IgnoreRacingReads ignore;
      std::memcpy(copy_.data() + (count << kPageShift), range_.data() + OffsetOf(rest.page),
                  part << kPageShift);
    }
    for (uint64_t i = 0; i < part; ++i) pages[count++] = rest.page + i;
    rest = {rest.page + part, rest.count - part};
    if (rest.count == 0) {
      left = left.subspan(1);
      if (left.empty()) break;
      rest = left.front();
    }
    if (partial) break;
  }
  const std::span<const std::byte> bytes(copy_.data(), count << kPageShift);
  const uint64_t end = size_ - OffsetOf(pages[0]);
  COW_RETURN_IF_ERROR(
      sink.Publish(std::span(pages).first(count), bytes.first(std::min(bytes.size(), end))));
  for (size_t begin = 0, next = 0; begin < count; begin = next) {
    next = begin + 1;
    while (next < count && pages[next] == pages[next - 1] + 1) ++next;
    dirty().Published(pages[begin],
                      bytes.subspan(begin << kPageShift, (next - begin) << kPageShift));
    COW_TRACE(seal, pages[begin].value(), next - begin);
  }
  if (!left.empty()) left.front() = rest;
  runs = left;
  return absl::OkStatus();
}

DirtySet& Mapping::dirty() { return binder_ != nullptr ? *binder_ : *dirty_; }

absl::Status Mapping::Reset() {
  if (access_ != Access::kScratch) return NeedsAccess("a reset", "scratch");
  if (binder_ != nullptr) return binder_->Reset();
  COW_RETURN_IF_ERROR(range_.Drop(0, range_.size()));
  return CopyIn(copied_);
}

}  // namespace cow::vm
