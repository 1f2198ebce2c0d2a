// Bringing what lies scattered together: pages in short extents are read, and written to a long one.
//
// What other versions refer to as well stays where it is unless it is asked for: a copy of it would
// take new space, and free none (as defragmenting breaks what files share in btrfs). Which frames
// these are, the counts tell once everything pending is folded.
#include <algorithm>
#include <vector>

#include "cow/store/core.h"
#include "cow/store/object_state.h"

namespace cow::store {

using format::kFanout;

namespace {

// Pages of a transaction: those of one node, so that a run of them is one write.
constexpr uint64_t kStep = kFanout;

// Extents that begin in [begin, end), among those of pages that may begin before.
uint64_t CountBegun(const std::vector<Extent>& extents, PageNumber begin) {
  return static_cast<uint64_t>(
      std::ranges::count_if(extents, [&](const Extent& extent) { return extent.page >= begin; }));
}

// Calls `move` with each run of consecutive pages that lie in two short extents or more, in parts
// that are of one node each.
template <typename Move>
absl::Status ForEachScattered(const std::vector<Extent>& extents, const Move& move) {
  for (size_t i = 0; i < extents.size();) {
    if (extents[i].count >= kLongExtent) {
      ++i;
      continue;
    }
    size_t next = i + 1;
    while (next < extents.size() && extents[next].count < kLongExtent &&
           extents[next].page == extents[next - 1].page + extents[next - 1].count) {
      ++next;
    }
    const PageNumber end = extents[next - 1].page + extents[next - 1].count;
    for (PageNumber page = extents[i].page; next - i > 1 && page < end;) {
      const PageNumber part_end = std::min(end, PageNumber((page.value() / kStep + 1) * kStep));
      COW_RETURN_IF_ERROR(move(page, part_end));
      page = part_end;
    }
    i = next;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DefragmentResult> Store::Defragment(Object& head, PageNumber begin, PageNumber end,
                                                   bool unshare) {
  ObjectState& state = *head.state_;
  COW_RETURN_IF_ERROR(state.CheckWritable());
  DefragmentResult result;
  // One page more, so that an extent that began before is not counted again.
  const PageNumber before(begin.value() - std::min<uint64_t>(begin.value(), 1));
  COW_ASSIGN_OR_RETURN(std::vector<Extent> extents, head.Extents(before, end, /*verify=*/false));
  result.extents_before = result.extents_after = CountBegun(extents, begin);
  if (!extents.empty() && extents[0].page < begin) {
    const Extent& first = extents[0];
    if (first.count == 1) {
      extents.erase(extents.begin());
    } else {
      extents[0] = {begin, first.frame + 1, first.count - 1};
    }
  }
  bool scattered = false;
  COW_RETURN_IF_ERROR(ForEachScattered(extents, [&](PageNumber, PageNumber) {
    scattered = true;
    return absl::OkStatus();
  }));
  if (!scattered) return result;

  std::vector<bool> exclusive(end - begin, true);
  if (!unshare) {
    COW_ASSIGN_OR_RETURN(exclusive, ExclusivePages(head, begin, end));
  }
  COW_RETURN_IF_ERROR(ForEachScattered(extents, [&](PageNumber from, PageNumber to) {
    while (from < to) {
      PageNumber run_end = from;
      while (run_end < to && exclusive[run_end - begin] == exclusive[from - begin]) run_end += 1;
      if (exclusive[from - begin]) {
        COW_ASSIGN_OR_RETURN(const uint64_t moved, MoveTogether(state, from, run_end));
        result.moved_pages += moved;
      } else {
        result.shared_pages += run_end - from;
      }
      from = run_end;
    }
    return absl::OkStatus();
  }));
  COW_ASSIGN_OR_RETURN(extents, head.Extents(before, end, /*verify=*/false));
  result.extents_after = CountBegun(extents, begin);
  return result;
}

absl::StatusOr<uint64_t> Store::MoveTogether(ObjectState& state, PageNumber begin, PageNumber end) {
  core_->allocator_.SeekLongExtent();
  COW_ASSIGN_OR_RETURN(Transaction transaction, Begin(FramesToWrite((end - begin) * kPageSize)));
  absl::MutexLock lock(&state.write_mu);
  return state.MoveTogether(transaction.reserved_, begin, end - begin);
}

}  // namespace cow::store
