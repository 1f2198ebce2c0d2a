// A set of pages: a bit each, in the chunks that have any. 1/32768 of what it covers.
#pragma once

#include <bitset>
#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "cow/base/types.h"
#include "cow/vm/layout.h"

namespace cow::vm {

// Not synchronised.
class PageSet {
 public:
  // Pages [page, page + count).
  void Add(PageNumber page, uint64_t count);
  void Remove(PageNumber page, uint64_t count);
  bool ContainsAny(PageNumber page, uint64_t count) const;

 private:
  absl::flat_hash_map<uint64_t, std::bitset<kChunkPages>> chunks_;
};

}  // namespace cow::vm
