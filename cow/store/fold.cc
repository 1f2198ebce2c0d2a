// Counting references, and freeing what has none.
//
// Changes to counts are logged in the order in which they happen and folded into the count table
// later, in that order (compare the pending operations of btrfs's delayed references, and ZFS's
// deadlists). Copying a node that is shared adds a reference to each of its children; where the
// node turns out to have been referred to only by who copied it, the copy took its children over,
// and nothing has to be counted: one item in place of 256.
//
// Invariant: a count is never below the number of references that exist; a drop may be late (a
// destroyed subtree is reaped node by node), an addition never.
//
// A frame whose count reaches zero goes to the free log, held by a count of one, until the commit
// that freed it is durable and no pin lies between its birth and then.
#include <algorithm>
#include <cerrno>

#include "absl/strings/str_format.h"
#include "cow/base/trace.h"
#include "cow/format/log_frame.h"
#include "cow/store/core.h"
#include "cow/store/object_state.h"

namespace cow::store {

using format::CountOperation;
using format::Entry;

namespace {

constexpr size_t kChildrenPerStep = 64;

}  // namespace

void Core::LogCount(const Entry& entry, CountOperation operation) {
  absl::MutexLock lock(&log_mu_);
  count_log_.Append(entry.With(operation), generation());
  changed_ = true;
}

void Core::LogDrops(std::span<const Entry> old, std::span<const Entry> fresh) {
  absl::MutexLock lock(&log_mu_);
  for (size_t i = 0; i < old.size(); ++i) {
    if (old[i].empty() || old[i].frame() == fresh[i].frame()) continue;
    count_log_.Append(old[i].With(CountOperation::kDrop), generation());
  }
  changed_ = true;
}

absl::StatusOr<std::vector<Entry>> Core::Children(const Entry& entry) {
  COW_ASSIGN_OR_RETURN(NodePointer node, nodes_.Get(entry));
  std::vector<Entry> children;
  if (entry.level() > 0) {
    for (const Entry& child : node->content.entries) {
      if (!child.empty()) children.push_back(child);
    }
  } else {
    for (const format::Record& record : node->content.records) {
      if (record.used() && !record.root.empty()) children.push_back(record.root);
    }
  }
  return children;
}

void Core::FreeFrame(const Entry& entry) {
  free_log_.Append(entry.With(CountOperation::kNone), generation());
}

absl::StatusOr<bool> Core::DropOne(const Entry& entry) {
  COW_ASSIGN_OR_RETURN(uint32_t left, allocator_.Drop(entry.frame()));
  if (left > 0) return false;
  if (entry.has_children()) {
    if (!dead_nodes_.insert(entry.frame()).second) {
      return MakeError(absl::StatusCode::kDataLoss, EIO,
                       file_->name() + absl::StrFormat(": frame %d: a node is freed twice; run "
                                                       "`cowctl check`",
                                                       entry.frame().value()));
    }
    reaped_.push_back({entry.With(CountOperation::kNone), 0});
    return true;
  }
  FreeFrame(entry);
  return false;
}

absl::Status Core::FoldOne(const Entry& entry) {
  switch (entry.operation()) {
    case CountOperation::kAdd:
      return allocator_.Add(entry.frame()).status();
    case CountOperation::kDrop:
      return DropOne(entry).status();
    case CountOperation::kDropFrame: {
      COW_ASSIGN_OR_RETURN(uint32_t left, allocator_.Drop(entry.frame()));
      if (left == 0) FreeFrame(entry);
      return absl::OkStatus();
    }
    case CountOperation::kShare: {
      COW_ASSIGN_OR_RETURN(uint32_t count, allocator_.Count(entry.frame()));
      if (count > 1) {
        COW_ASSIGN_OR_RETURN(std::vector<Entry> children, Children(entry));
        for (const Entry& child : children) {
          COW_RETURN_IF_ERROR(allocator_.Add(child.frame()).status());
        }
      }
      COW_ASSIGN_OR_RETURN(uint32_t left, allocator_.Drop(entry.frame()));
      if (left == 0) FreeFrame(entry);
      return absl::OkStatus();
    }
    case CountOperation::kNone:
      break;
  }
  return MakeError(absl::StatusCode::kDataLoss, EIO, "count log: unknown operation");
}

absl::Status Core::ReapOne() {
  format::Reaped& top = reaped_.back();
  const Entry node = top.node;
  const absl::StatusOr<std::vector<Entry>> children = Children(node);
  if (absl::IsDataLoss(children.status())) {
    // What it refers to cannot be known any more: it stays counted (a check names the frames), and
    // all else goes on. Removing a damaged file must not stop the volume.
    reaped_.pop_back();
    FreeFrame(node);
    return absl::OkStatus();
  }
  if (!children.ok()) return children.status();
  const size_t end = std::min<size_t>(children->size(), size_t{top.next} + kChildrenPerStep);
  while (top.next < end) {
    const Entry& child = (*children)[top.next++];
    // Depth first, so that what is reaped stays as short as the tree is high.
    COW_ASSIGN_OR_RETURN(bool deeper, DropOne(child));
    if (deeper) return absl::OkStatus();
  }
  if (top.next >= children->size()) {
    reaped_.pop_back();
    FreeFrame(node);
  }
  return absl::OkStatus();
}

absl::StatusOr<Core::FoldStep> Core::FoldNext(uint64_t most_frames) {
  FoldStep step;
  Entry entry;
  bool logged = false;  // of an item that says nothing FoldOne makes an error
  {
    absl::MutexLock log_lock(&log_mu_);
    step.left = count_log_.size() + reaped_.size();
    if (step.left == 0 || free_log_.FramesToPlan() >= most_frames) return step;
    logged = !count_log_.empty();
    if (logged) entry = count_log_.front().entry;
  }
  step.done = true;
  changed_ = true;
  ++progress_;
  counters_.folded_items.Add();
  COW_TRACE(fold, entry.frame().value(), static_cast<uint32_t>(entry.operation()));
  // Whole trees wait at the end of the log while enough of them are being reaped.
  const bool wait = entry.operation() == CountOperation::kDrop && entry.has_children() &&
                    reaped_.size() >= format::kMaxReaped / 2;
  const absl::Status status = logged && !wait ? FoldOne(entry) : ReapOne();
  if (!status.ok()) return Fail(Annotate(status, "counting references"));
  absl::MutexLock log_lock(&log_mu_);
  if (logged) {
    count_log_.PopFront();
    if (wait) count_log_.Append(entry, generation());
  }
  step.left = count_log_.size() + reaped_.size();
  return step;
}

absl::StatusOr<uint64_t> Core::Fold(uint64_t items) {
  // Who holds the gate may wait for fold_mu_: never for long.
  constexpr uint64_t kAtOnce = 256;
  FoldStep step;
  do {
    absl::MutexLock lock(&fold_mu_);
    const uint64_t most_frames = std::max<uint64_t>(8, allocator_.ready_frames() / 4);
    for (uint64_t done = 0; done < kAtOnce; ++done) {
      if (items == 0) {
        absl::MutexLock log_lock(&log_mu_);
        return count_log_.size() + reaped_.size();
      }
      COW_ASSIGN_OR_RETURN(step, FoldNext(most_frames));
      if (!step.done || step.left == 0) return step.left;
      --items;
    }
  } while (true);
}

absl::Status Core::FoldAll(uint64_t most) {
  // Where the volume is open for reading no commit comes.
  absl::MutexLock lock(&fold_mu_);
  const uint64_t most_frames =
      read_only_ ? UINT64_MAX : std::max<uint64_t>(8, allocator_.ready_frames() / 4);
  FoldStep step;
  do {
    COW_ASSIGN_OR_RETURN(step, FoldNext(most_frames));
  } while (step.done && step.left > 0 && --most > 0);
  if (step.left == 0) return absl::OkStatus();
  return MakeError(absl::StatusCode::kResourceExhausted, ENOSPC,
                   file_->name() + ": too little free space to count references now; free some");
}

absl::StatusOr<uint64_t> Core::ReleaseFreed() {
  absl::MutexLock lock(&fold_mu_);
  const Generation durable(durable_.load());
  uint64_t released = 0;
  if (free_log_.empty()) return released;
  COW_ASSIGN_OR_RETURN(std::vector<Generation> pins, PinnedByOthers(*file_, generation()));
  if (checked_.has_value()) pins.insert(std::ranges::lower_bound(pins, *checked_), *checked_);
  const std::optional<Generation> oldest_read = readers_.Oldest();
  // Pinned items are moved to the end, but not again before the log has doubled; where frames are
  // short, as often as there is room for writing the log anew.
  const bool rotate = free_log_.size() >= rotate_free_log_at_ ||
                      (frames_are_short_.load() && free_log_.size() / format::kItemsPerLogFrame <
                                                       allocator_.ready_frames() / 4);
  uint64_t rotated = 0;
  for (size_t left = free_log_.size(); left > 0; --left) {
    const FrameLog::Item item = free_log_.front();
    if (item.appended > durable) break;
    if (oldest_read.has_value() && *oldest_read <= item.appended) break;
    auto pin = std::lower_bound(pins.begin(), pins.end(), item.entry.birth());
    if (pin != pins.end() && *pin < item.appended) {
      if (!rotate) break;
      free_log_.PopFront();
      free_log_.Append(item.entry, item.appended);
      ++rotated;
      continue;
    }
    if (absl::Status status = allocator_.Release(item.entry.frame()); !status.ok()) {
      return Fail(status);
    }
    dead_nodes_.erase(item.entry.frame());
    free_log_.PopFront();
    ++released;
    ++progress_;
  }
  if (rotate || pins.empty()) rotate_free_log_at_ = pins.empty() ? 0 : 2 * rotated;
  if (released + rotated > 0) changed_ = true;
  return released;
}

bool Core::LogsAreLong() {
  // A commit writes its logs to frames that nobody can reserve; where little is free, there are
  // few. Each frame born since the last commit may yet become an item: dropped before it is sealed,
  // it is dropped alone.
  constexpr uint64_t kLong = 512;
  constexpr uint64_t kLongWhenTight = 8;
  constexpr uint64_t kTight = 8192;
  const bool tight = allocator_.tight() && allocator_.ready_frames() < kTight;
  const uint64_t born = allocator_.born_frames() / format::kItemsPerLogFrame;
  absl::MutexLock lock(&log_mu_);
  return count_log_.FramesToPlan() + born > (tight ? kLongWhenTight : kLong);
}

uint64_t Core::PendingItems() {
  absl::MutexLock lock(&fold_mu_);
  absl::MutexLock log_lock(&log_mu_);
  return count_log_.size() + reaped_.size();
}

uint64_t Core::DeferredFrames() {
  absl::MutexLock lock(&fold_mu_);
  return free_log_.size();
}

}  // namespace cow::store
