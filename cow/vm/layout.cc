#include "cow/vm/layout.h"

#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <limits>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/os/address_range.h"

namespace cow::vm {
namespace {

// Appends to `extents`, joined with the last one where pages and frames both go on.
void AppendJoined(std::vector<Extent>& extents, const Extent& next) {
  if (!extents.empty()) {
    Extent& last = extents.back();
    if (last.page + last.count == next.page && last.frame + last.count == next.frame) {
      last.count += next.count;
      return;
    }
  }
  extents.push_back(next);
}

// Maps of the kernel for these bound extents: one each, and one for each run of pages between.
uint64_t CountMaps(std::span<const Extent> bound, uint64_t pages) {
  uint64_t maps = 0;
  PageNumber end(0);
  for (const Extent& extent : bound) {
    maps += extent.page > end ? 2 : 1;
    end = extent.page + extent.count;
  }
  return maps + (end < PageNumber(pages) ? 1 : 0);
}

// The part of a version that lies in one chunk: pieces [first, last).
struct Chunk {
  size_t first = 0;
  size_t last = 0;
  uint64_t pages = 0;
  bool copied = false;

  size_t pieces() const { return last - first; }
};

std::vector<Extent> SplitAtChunks(std::span<const Extent> extents) {
  std::vector<Extent> pieces;
  for (Extent left : extents) {
    while (left.count > 0) {
      const uint64_t room = kChunkPages - left.page.value() % kChunkPages;
      const uint64_t count = std::min(left.count, room);
      pieces.push_back({left.page, left.frame, count});
      left = {left.page + count, left.frame + count, left.count - count};
    }
  }
  return pieces;
}

std::vector<Chunk> ChunksOf(std::span<const Extent> pieces) {
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const uint64_t number = pieces[i].page.value() / kChunkPages;
    if (i == 0 || number != pieces[i - 1].page.value() / kChunkPages) {
      chunks.push_back({.first = i, .last = i});
    }
    chunks.back().last = i + 1;
    chunks.back().pages += pieces[i].count;
  }
  return chunks;
}

Layout LayoutOf(std::span<const Extent> pieces, std::span<const Chunk> chunks, uint64_t pages) {
  Layout layout;
  for (const Chunk& chunk : chunks) {
    for (const Extent& piece : pieces.subspan(chunk.first, chunk.pieces())) {
      if (chunk.copied) {
        layout.copied.push_back(piece);
      } else {
        AppendJoined(layout.bound, piece);
      }
    }
    if (chunk.copied) layout.copied_pages += chunk.pages;
  }
  layout.maps = CountMaps(layout.bound, pages);
  return layout;
}

std::atomic<uint64_t> maps_used{0};
// What the kernel lets a process have, as it was last read: 0 for never.
std::atomic<uint64_t> most_maps{0};

// Whether `fits` is true of the number of maps a process may have. It is read again before the answer
// is no, since it can be raised.
template <typename Fits>
bool FitsMost(const Fits& fits) {
  if (const uint64_t known = most_maps.load(); known != 0 && fits(known)) return true;
  const uint64_t most = os::MaxMapCount();
  most_maps = most;
  return fits(most);
}

}  // namespace

absl::Status CheckExtents(std::span<const Extent> extents, PageNumber begin, PageNumber end,
                          int descriptor) {
  if (extents.empty()) return absl::OkStatus();
  struct stat info;
  if (fstat(descriptor, &info) != 0) return ErrnoStatus(errno, "volume: stat");
  const uint64_t frames = S_ISREG(info.st_mode) ? static_cast<uint64_t>(info.st_size) >> kPageShift
                                                : std::numeric_limits<uint64_t>::max();
  for (const Extent& extent : extents) {
    const PageNumber page = extent.page;
    if (page < begin || page >= end || extent.count == 0 || extent.count > end - page) {
      return absl::InternalError(absl::StrCat("extent of ", extent.count, " pages at page ",
                                              page.value(),
                                              " is out of order or outside the version"));
    }
    begin = page + extent.count;
    const uint64_t frame = extent.frame.value();
    if (frame >= frames || extent.count > frames - frame) {
      return MakeError(absl::StatusCode::kDataLoss, EIO,
                       absl::StrCat("page ", page.value(), ": frame ", frame + extent.count - 1,
                                    " is outside the volume"));
    }
  }
  return absl::OkStatus();
}

Layout PlanLayout(std::span<const Extent> extents, uint64_t pages, uint64_t map_limit) {
  Layout layout;
  for (const Extent& extent : extents) AppendJoined(layout.bound, extent);
  layout.maps = CountMaps(layout.bound, pages);
  if (layout.maps <= map_limit) return layout;

  const std::vector<Extent> pieces = SplitAtChunks(layout.bound);
  std::vector<Chunk> chunks = ChunksOf(pieces);
  // Cheapest first: fewest pages to copy for each piece that needs no map of its own then.
  std::vector<size_t> order(chunks.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return chunks[a].pages * chunks[b].pieces() < chunks[b].pages * chunks[a].pieces();
  });
  // The least number of chunks that suffices. (A copied chunk in the middle of a long extent costs
  // a map, so the count does not only fall; copying all always ends at one map.)
  size_t enough = order.size();
  size_t too_few = 0;
  const auto mark = [&](size_t count) {
    for (size_t i = 0; i < order.size(); ++i) chunks[order[i]].copied = i < count;
  };
  while (enough - too_few > 1) {
    const size_t middle = too_few + (enough - too_few) / 2;
    mark(middle);
    if (LayoutOf(pieces, chunks, pages).maps <= map_limit) {
      enough = middle;
    } else {
      too_few = middle;
    }
  }
  mark(enough);
  return LayoutOf(pieces, chunks, pages);
}

uint64_t MapAccount::Available() {
  constexpr uint64_t kHandful = 8;
  const uint64_t used = maps_used.load(std::memory_order_relaxed);
  uint64_t available = kHandful;
  FitsMost([&](uint64_t most) {
    available = std::max(kHandful, most / 4 > used ? (most / 4 - used) / 2 : 0);
    return available > kHandful;
  });
  return available;
}

bool MapAccount::IsExhausted() {
  const uint64_t used = maps_used.load(std::memory_order_relaxed);
  return !FitsMost([&](uint64_t most) { return used < most / 2; });
}

void MapAccount::Add(uint64_t maps) { maps_used.fetch_add(maps, std::memory_order_relaxed); }

void MapAccount::Subtract(uint64_t maps) { maps_used.fetch_sub(maps, std::memory_order_relaxed); }

}  // namespace cow::vm
