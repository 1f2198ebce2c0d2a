#include "cow/vm/binder.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <new>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/base/trace.h"
#include "cow/os/features.h"
#include "cow/vm/layout.h"

namespace cow::vm {
namespace {

// A thread that touches one chunk after the other finds up to 32 MiB bound beforehand.
constexpr uint64_t kMostAhead = 16;
// A chunk in so many maps is always bound, while there are any; one in more only takes its part of
// what is left, so that there are some for the next.
constexpr uint64_t kFewMaps = 4;
constexpr uint64_t kPartOfMaps = 16;
constexpr uint64_t kPagesAtOnce = 16;

uint64_t ChunkOf(PageNumber page) { return page.value() / kChunkPages; }
PageNumber ChunkBegin(uint64_t chunk) { return PageNumber(chunk * kChunkPages); }

os::Protection ProtectionOf(Access access) {
  return access == Access::kRead ? os::Protection::kRead : os::Protection::kReadWrite;
}

}  // namespace

Binder::Binder(os::AddressRange& range, Access access, std::shared_ptr<Source> source,
               std::optional<uint64_t> map_limit, std::shared_ptr<FaultHandler> handler)
    : range_(range),
      access_(access),
      end_(range.size() >> kPageShift),
      source_(std::move(source)),
      map_limit_(map_limit),
      handler_(std::move(handler)) {}

absl::StatusOr<std::unique_ptr<Binder>> Binder::Start(os::AddressRange& range, Access access,
                                                      std::shared_ptr<Source> source,
                                                      std::optional<uint64_t> map_limit,
                                                      std::shared_ptr<FaultHandler> handler) {
  std::unique_ptr<Binder> binder(new Binder(range, access, std::move(source), map_limit, handler));
  const std::span<std::byte> memory(range.data(), range.size());
  COW_RETURN_IF_ERROR(range.KeepFromChildren(0, range.size()));
  if (access == Access::kWrite) {
    // A huge page is dirty as a whole.
    range.AvoidHugePages(0, range.size());
    absl::MutexLock lock(&binder->mu_);
    COW_ASSIGN_OR_RETURN(binder->dirty_,
                         TrackBoundByKernel(memory, std::shared_ptr<const os::Userfaultfd>(
                                                        handler, &handler->uffd())));
  }
  COW_RETURN_IF_ERROR(handler->uffd().RegisterMissing(memory, access == Access::kWrite));
  handler->Add(memory, *binder);
  {
    absl::MutexLock lock(&binder->mu_);
    binder->CountMaps();
  }
  return binder;
}

// Without the lock: in a child it may be one that a thread of the parent held.
Binder::~Binder() { MapAccount::Subtract(maps_used_); }

void Binder::Stop() { handler_->Remove({range_.data(), range_.size()}); }

bool Binder::IsBound(PageNumber page) const {
  return bindings_.Contains(page) || copied_.ContainsAny(page, 1);
}

std::span<std::byte> Binder::Memory(const PageRun& run) const {
  return {range_.data() + OffsetOf(run.page), run.count << kPageShift};
}

void Binder::ServeFault(std::byte* address) {
  const PageNumber page = PageOf(static_cast<uint64_t>(address - range_.data()));
  bool bound = false;
  const std::optional<PageRun> run = Claim(page, bound);
  if (run.has_value()) {
    BindClaimed(*run);
    BindAhead(*run);
  } else if (bound) {
    handler_->uffd().Wake(Memory({page, 1}));
  }
}

std::optional<PageRun> Binder::Claim(PageNumber page, bool& bound) {
  absl::MutexLock lock(&mu_);
  const uint64_t chunk = ChunkOf(page);
  // Whoever has claimed it wakes all who wait for it, after this.
  bound = false;
  if (page >= end_ || claimed_.contains(chunk)) return std::nullopt;
  bound = bindings_.Contains(page);
  if (bound) return std::nullopt;
  claimed_.insert(chunk);
  // It was copied in since the thread began to wait; or somebody dropped it.
  if (copied_.ContainsAny(page, 1)) return PageRun{page, 1};
  PageNumber begin = ChunkBegin(chunk);
  PageNumber end = std::min(end_, ChunkBegin(chunk + 1));
  if (bindings_.NextBound(begin, end) != end || copied_.ContainsAny(begin, end - begin)) {
    // Some were bound before, so that this one was poisoned, or could not be bound.
    const PageNumber chunk_begin = std::exchange(begin, page);
    while (begin > chunk_begin && !IsBound(begin - 1)) begin = begin - 1;
    const PageNumber chunk_end = std::exchange(end, page + 1);
    while (end < chunk_end && !IsBound(end)) ++end;
  }
  return PageRun{begin, end - begin};
}

// Invariant: who waits for a page of a claimed chunk is woken after the claim has ended.
void Binder::BindClaimed(const PageRun& run) {
  Found found{.run = run, .extents = {}, .bad = {}};
  try {
    Find(run.page, run.page + run.count, found);
  } catch (const std::bad_alloc&) {
    // The process has no memory, or no maps for it, for a moment or for ever; while nothing is done
    // yet, whoever waits can go on waiting.
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EndClaim(run);
    return;
  }
  // A whole hole at once: it takes one map, however much of it is touched.
  const bool hole = found.extents.empty() && found.bad.empty() && run.count > 1;
  if (hole) found.run.count = HoleEnd(run) - run.page;
  {
    absl::MutexLock lock(&mu_);
    if (hole) {
      const PageNumber begin = run.page;
      found.run.count = bindings_.NextBound(begin, begin + found.run.count) - begin;
      // Another thread, which had a chunk of the same hole, may have bound all.
      if (found.run.count == 0) found.run.count = 1;
    }
    if (!bindings_.Contains(run.page)) {
      std::vector<Piece> pieces = PiecesOf(found);
      const bool again = copied_.ContainsAny(run.page, 1);
      const size_t mapped = !again && FitsMaps(pieces.size()) ? MapPieces(pieces) : 0;
      // To fill a hole takes page tables for all of it: what is not touched can wait.
      if (hole && mapped == 0) {
        found.run.count = std::min(found.run.count, run.count);
        pieces[0].run = found.run;
      }
      CopyPieces(std::span(pieces).subspan(mapped));
      for (const BadPage& bad : found.bad) Poison({bad.page, 1}, bad.status);
      CountMaps();
      COW_TRACE(fault, run.page.value(), found.run.count, mapped, pieces.size() - mapped,
                found.bad.size());
    }
  }
  EndClaim(found.run);
}

void Binder::EndClaim(const PageRun& run) {
  const uint64_t chunk = ChunkOf(run.page);
  {
    absl::MutexLock lock(&mu_);
    claimed_.erase(chunk);
  }
  // Those who wait for other pages of the chunk were told that it is claimed.
  const PageNumber begin = ChunkBegin(chunk);
  const PageNumber end = std::max(run.page + run.count, std::min(end_, ChunkBegin(chunk + 1)));
  handler_->uffd().Wake(Memory({begin, end - begin}));
}

void Binder::BindAhead(const PageRun& run) {
  uint64_t ahead = 0;
  PageNumber next = run.page + run.count;
  {
    absl::MutexLock lock(&mu_);
    ahead_ = run.page == next_ ? std::clamp<uint64_t>(ahead_ * 2, 1, kMostAhead) : 0;
    ahead = ahead_;
    next_ = next;
  }
  for (; ahead > 0; --ahead) {
    {
      absl::MutexLock lock(&mu_);
      if (IsBound(next)) break;
    }
    bool bound = false;
    const std::optional<PageRun> more = Claim(next, bound);
    if (!more.has_value()) break;
    BindClaimed(*more);
    next = more->page + more->count;
    absl::MutexLock lock(&mu_);
    next_ = next;
  }
}

void Binder::Find(PageNumber begin, PageNumber end, Found& found) const {
  absl::StatusOr<std::vector<Extent>> extents = source_->Extents(begin, end);
  absl::Status status = extents.status();
  if (status.ok()) status = CheckExtents(*extents, begin, end, source_->descriptor());
  if (status.ok()) {
    found.extents.insert(found.extents.end(), extents->begin(), extents->end());
  } else if (end - begin == 1) {
    found.bad.push_back({begin, std::move(status)});
  } else {
    const PageNumber middle = begin + (end - begin) / 2;
    Find(begin, middle, found);
    Find(middle, end, found);
  }
}

PageNumber Binder::HoleEnd(const PageRun& run) const {
  const PageNumber end = run.page + run.count;
  const absl::StatusOr<PageNumber> data = source_->NextData(end);
  // Whoever touches what cannot be read hears of it then.
  if (!data.ok()) return end;
  if (*data >= end_) return end_;
  return std::max(end, ChunkBegin(ChunkOf(*data)));
}

std::vector<Binder::Piece> Binder::PiecesOf(const Found& found) {
  std::vector<Piece> pieces;
  PageNumber at = found.run.page;
  auto bad = found.bad.begin();
  const auto add_holes_until = [&](PageNumber end) {
    for (; bad != found.bad.end() && bad->page < end; ++bad) {
      if (bad->page > at) pieces.push_back({{at, bad->page - at}, std::nullopt});
      at = bad->page + 1;
    }
    if (end > at) pieces.push_back({{at, end - at}, std::nullopt});
  };
  for (const Extent& extent : found.extents) {
    add_holes_until(extent.page);
    pieces.push_back({{extent.page, extent.count}, extent.frame});
    at = extent.page + extent.count;
  }
  add_holes_until(found.run.page + found.run.count);
  return pieces;
}

bool Binder::FitsMaps(uint64_t pieces) const {
  if (map_limit_.has_value()) return bindings_.maps() + pieces + 1 <= *map_limit_;
  if (MapAccount::IsExhausted()) return false;
  return pieces <= kFewMaps || pieces <= MapAccount::Available() / kPartOfMaps;
}

size_t Binder::MapPieces(std::span<const Piece> pieces) {
  const os::Userfaultfd& uffd = handler_->uffd();
  size_t done = 0;
  for (; done < pieces.size(); ++done) {
    const auto& [part, frame] = pieces[done];
    const uint64_t at = OffsetOf(part.page);
    const uint64_t length = part.count << kPageShift;
    if (frame.has_value()) {
      if (!range_
               .MapFile(at, length, source_->descriptor(), OffsetOf(*frame), ProtectionOf(access_))
               .ok()) {
        break;
      }
      bindings_.AddFrames({part.page, *frame, part.count});
    } else {
      if (!uffd.Unregister(Memory(part)).ok()) break;
      bindings_.AddHole(part.page, part.count);
    }
  }
  // Between pages that are bad, which stay as they are.
  for (size_t i = 0, next = 0; i < done; i = next) {
    PageRun part = pieces[i].run;
    for (next = i + 1; next < done && pieces[next].run.page == part.page + part.count; ++next) {
      part.count += pieces[next].run.count;
    }
    FinishMapping(part, pieces.subspan(i, next - i));
  }
  return done;
}

void Binder::FinishMapping(const PageRun& part, std::span<const Piece> pieces) {
  std::vector<Extent> extents;
  for (const Piece& piece : pieces) {
    if (piece.frame.has_value()) {
      extents.push_back({piece.run.page, *piece.frame, piece.run.count});
    }
  }
  if (!extents.empty()) {
    const uint64_t at = OffsetOf(part.page);
    const uint64_t length = part.count << kPageShift;
    range_.KeepFromChildren(at, length)
        .IgnoreError();  // it has no other cause than that of the map
    if (access_ == Access::kWrite) {
      range_.AvoidHugePages(at, length);
      // Registered memory has no fault-around. What cannot be read now is told where it is touched.
      for (const Extent& extent : extents) {
        range_.PopulateForReading(OffsetOf(extent.page), extent.count << kPageShift).IgnoreError();
      }
    }
  }
  if (dirty_ != nullptr) dirty_->Bound(part, extents);
}

void Binder::CopyPieces(std::span<const Piece> pieces) {
  for (const Piece& piece : pieces) {
    const auto& [page, count] = piece.run;
    uint64_t done = 0;
    if (const absl::Status copied = CopyPiece(piece, done); !copied.ok()) {
      Poison({page + done, count - done}, copied);
    }
    if (done == 0 || copied_.ContainsAny(page, 1)) continue;
    copied_.Add(page, done);
    if (piece.frame.has_value()) copied_pages_ += done;
  }
}

absl::Status Binder::CopyPiece(const Piece& piece, uint64_t& done) {
  const os::Userfaultfd& uffd = handler_->uffd();
  if (!piece.frame.has_value()) {
    COW_RETURN_IF_ERROR(uffd.Zero(Memory(piece.run)));
    done = piece.run.count;
    return absl::OkStatus();
  }
  // Not allocated: that can take a map, and there may be none left.
  std::array<std::byte, kPagesAtOnce << kPageShift> buffer;
  while (done < piece.run.count) {
    const uint64_t count = std::min(kPagesAtOnce, piece.run.count - done);
    const std::span<std::byte> bytes(buffer.data(), count << kPageShift);
    COW_RETURN_IF_ERROR(os::ReadFrom(source_->descriptor(), OffsetOf(*piece.frame + done), bytes));
    COW_RETURN_IF_ERROR(
        uffd.Copy(Memory({piece.run.page + done, count}).data(), bytes, dirty_ != nullptr));
    if (dirty_ != nullptr) dirty_->Published(piece.run.page + done, bytes);
    done += count;
  }
  return absl::OkStatus();
}

void Binder::Poison(const PageRun& run, const absl::Status& cause) {
  if (status_.ok()) {
    status_ = Annotate(cause, absl::StrCat("page ", run.page.value(), " of the mapping"));
  }
  const bool can_poison = os::UsableFeatures().uffd_poison;
  for (PageNumber page = run.page; page < run.page + run.count; ++page) {
    const absl::Status poisoned = can_poison ? handler_->uffd().Poison(Memory({page, 1}))
                                             : range_.Forbid(OffsetOf(page), kPageSize);
    if (!poisoned.ok()) {
      // Whoever touches it comes here again, until there is memory for it, or it can be read.
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return;
    }
    if (dirty_ != nullptr) dirty_->Poisoned({page, 1});
  }
}

void Binder::CountMaps() {
  const uint64_t maps = bindings_.maps();
  MapAccount::Add(maps);
  MapAccount::Subtract(std::exchange(maps_used_, maps));
}

absl::Status Binder::Take(std::vector<PageRun>& taken) {
  absl::MutexLock lock(&mu_);
  return dirty_->Take(taken);
}

void Binder::Published(PageNumber page, std::span<const std::byte> bytes) {
  absl::MutexLock lock(&mu_);
  dirty_->Published(page, bytes);
}

absl::Status Binder::Reset() {
  absl::MutexLock lock(&mu_);
  COW_RETURN_IF_ERROR(range_.Drop(0, range_.size()));
  // They are missing again.
  copied_ = PageSet();
  copied_pages_ = 0;
  return absl::OkStatus();
}

absl::Status Binder::status() const {
  absl::MutexLock lock(&mu_);
  return status_;
}

uint64_t Binder::copied_pages() const {
  absl::MutexLock lock(&mu_);
  return copied_pages_;
}

}  // namespace cow::vm
