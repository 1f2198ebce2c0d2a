#include "cow/vm/page_set.h"

#include <algorithm>

namespace cow::vm {
namespace {

// Calls `part` with the number of each chunk that has some of the pages, and which of it.
template <typename Part>
void ForEachChunk(PageNumber page, uint64_t count, Part part) {
  for (uint64_t at = page.value(), end = at + count; at < end;) {
    const uint64_t chunk = at / kChunkPages;
    const uint64_t stop = std::min(end, (chunk + 1) * kChunkPages);
    std::bitset<kChunkPages> pages;
    pages.set();
    pages >>= kChunkPages - (stop - at);
    pages <<= at % kChunkPages;
    part(chunk, pages);
    at = stop;
  }
}

}  // namespace

void PageSet::Add(PageNumber page, uint64_t count) {
  ForEachChunk(page, count, [&](uint64_t chunk, const auto& pages) { chunks_[chunk] |= pages; });
}

void PageSet::Remove(PageNumber page, uint64_t count) {
  ForEachChunk(page, count, [&](uint64_t chunk, const auto& pages) {
    if (const auto found = chunks_.find(chunk); found != chunks_.end()) found->second &= ~pages;
  });
}

bool PageSet::ContainsAny(PageNumber page, uint64_t count) const {
  bool contains = false;
  ForEachChunk(page, count, [&](uint64_t chunk, const auto& pages) {
    const auto found = chunks_.find(chunk);
    contains = contains || (found != chunks_.end() && (found->second & pages).any());
  });
  return contains;
}

}  // namespace cow::vm
