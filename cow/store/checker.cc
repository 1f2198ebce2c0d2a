#include "cow/store/checker.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_format.h"
#include "cow/base/checksum.h"
#include "cow/os/prefetch.h"
#include "cow/store/object_state.h"
#include "cow/store/table_state.h"

namespace cow::store {

using format::Entry;

namespace {

constexpr size_t kMostDamages = 1000;
// Read at once: little enough to be verified while it is in the processor's cache, and for whoever
// keeps to a rate.
constexpr size_t kPagesAtOnce = 32;
// Frames between two that are read with them, where that is sooner done than a second read.
constexpr uint64_t kNear = 8;
// Frames that the kernel is told to read before they are, and how many at a time.
constexpr uint64_t kAhead = 2048;
constexpr uint64_t kPrefetched = 512;
// Read in the order of their frames: 4 GiB, for 32 MiB of memory.
constexpr size_t kPagesInOrder = size_t{1} << 20;

}  // namespace

Reachable WhatIsReachable(Core& core) {
  Reachable found;
  for (auto [table, root] :
       {std::pair{core.trees_.get(), &found.trees}, std::pair{core.catalog_.get(), &found.catalog},
        std::pair{core.orphans_.get(), &found.orphans}}) {
    absl::MutexLock lock(&table->mu);
    *root = {table->root, table->next_object};
  }
  found.total_frames = core.allocator_.total_frames();
  found.used_frames = core.allocator_.used_frames();
  absl::MutexLock lock(&core.fold_mu_);
  found.freed.reserve(core.free_log_.size());
  for (const FrameLog::Item& item : core.free_log_.items()) {
    found.freed.push_back(item.entry.frame());
  }
  return found;
}

Checker::Checker(Core& core, Reachable reachable)
    : core_(core), reachable_(std::move(reachable)), buffer_(kPagesAtOnce * kPageSize) {}

// The copies of the newest slot. The other one matters only while a commit is under way, and the
// next commit writes it anew.
void Checker::CheckSuperblocks() {
  const int slot = core_.durable_slot_;
  for (int copy : {0, 1}) {
    const absl::StatusOr<format::Superblock> read = core_.ReadCopy(slot, copy);
    ++result_.frames_checked;
    std::string what(read.status().message());
    // A copy of an older commit is what a process leaves that is killed between the two; opening
    // for writing makes it good, so where that was done it is a write that was lost.
    if (read.ok() && read->generation.value() != core_.durable_.load() && !core_.read_only_) {
      what = "of an older commit";
    }
    if (what.empty()) continue;
    Report(absl::StrFormat("superblock %d, copy %d (frame %d): %s; the other copy is used", slot,
                           copy, format::SuperblockFrame(slot, copy).value(), what));
  }
}

void Checker::ReportUncounted(const absl::Status& status) {
  Report(absl::StrFormat("references cannot be counted: %s", status.message()));
  counted_ = false;
}

template <typename Visit>
void Checker::ForEachTable(const Visit& visit) {
  for (auto [part, table] : {std::pair{Place::Part::kTrees, &reachable_.trees},
                             std::pair{Place::Part::kCatalog, &reachable_.catalog},
                             std::pair{Place::Part::kOrphans, &reachable_.orphans}}) {
    place_ = {};
    place_.part = part;
    visit(table->root);
  }
  place_ = {};
}

bool Checker::WalkAll(const CheckProgress& progress) {
  progress_ = progress ? &progress : nullptr;
  ForEachTable([&](const Entry& root) { Walk(root, 0); });
  CheckPages();
  for (const FrameNumber frame : reachable_.freed) recount_.Add(frame);
  return !ended_;
}

void Checker::Report(std::string what, std::optional<PageNumber> page) {
  if (result_.damages.size() >= kMostDamages) return;
  Place place = place_;
  place.page = page;
  result_.damages.push_back({place, std::move(what)});
}

void Checker::ReportFrame(FrameNumber frame, std::string what, std::optional<PageNumber> page) {
  damaged_.emplace(frame, what);
  Report(std::move(what), page);
}

void Checker::Read(uint64_t frames) {
  result_.frames_checked += frames;
  if (progress_ == nullptr || ended_) return;
  ended_ = !(*progress_)(result_.frames_checked,
                         std::max(reachable_.used_frames, result_.frames_checked));
}

absl::StatusOr<NodePointer> Checker::ReadNode(const Entry& entry) {
  // From the disk, whatever there is in memory.
  std::array<std::byte, kPageSize> bytes;
  COW_RETURN_IF_ERROR(core_.file_->Read(OffsetOf(entry.frame()), bytes));
  if (FrameChecksum(entry.frame(), entry.birth(), bytes) != entry.checksum()) {
    return absl::DataLossError(
        absl::StrFormat("frame %d: checksum does not match", entry.frame().value()));
  }
  return core_.nodes_.Get(entry);
}

void Checker::Walk(const Entry& entry, uint64_t first) {
  if (ended_ || !IsNew(entry, first)) return;
  if (!entry.has_children()) return AddPage(entry, first);
  const absl::StatusOr<NodePointer> node = ReadNode(entry);
  Read(1);
  if (!node.ok()) {
    ++lost_nodes_;
    ReportFrame(entry.frame(),
                absl::StrFormat("%s; %s below it cannot be reached", node.status().message(),
                                entry.table() ? "the objects" : "the pages"));
    return;
  }
  if (entry.level() > 0) {
    WalkChildren(entry, **node, first);
  } else {
    WalkRecords(entry, **node, first);
  }
}

bool Checker::IsNew(const Entry& entry, uint64_t first) {
  if (entry.empty()) return false;
  if (format::InZoneHeader(entry.frame()) || entry.frame().value() >= reachable_.total_frames) {
    Report(absl::StrFormat("refers to frame %d, which holds no content", entry.frame().value()),
           entry.has_children() ? std::nullopt : std::optional(PageNumber(first)));
    return false;
  }
  return recount_.Add(entry.frame()) == 1;
}

void Checker::WalkChildren(const Entry& entry, const Node& node, uint64_t first) {
  const uint64_t span = Radix::Covers(entry.level() - 1);
  for (uint64_t i = 0; i < format::kFanout; ++i) Walk(node.content.entries[i], first + i * span);
}

void Checker::WalkRecords(const Entry& entry, const Node& node, uint64_t leaf) {
  std::optional<ObjectNumber>& object = place_.object.has_value() ? place_.member : place_.object;
  for (uint64_t slot = 0; slot < format::kRecordsPerLeaf; ++slot) {
    const format::Record& record = node.content.records[slot];
    if (!record.used() || record.root.empty()) continue;
    object = ObjectNumber(leaf * format::kRecordsPerLeaf + slot);
    // Trees stand in the table of trees and in the catalog, never within one another.
    if (record.root.table() && place_.member.has_value()) {
      Report(absl::StrFormat("frame %d: a tree within a tree", entry.frame().value()));
    } else {
      Walk(record.root, 0);
    }
  }
  object = std::nullopt;
}

void Checker::AddPage(const Entry& entry, uint64_t page) {
  if (places_.empty() || places_.back().object != place_.object ||
      places_.back().member != place_.member || places_.back().part != place_.part) {
    places_.push_back(place_);
  }
  pages_.push_back({entry, page, places_.size() - 1});
  if (pages_.size() == kPagesInOrder) CheckPages();
}

std::span<const Checker::FoundPage> Checker::FirstRun(std::span<const FoundPage> pages,
                                                      uint64_t most_frames) {
  size_t count = 1;
  while (count < pages.size() &&
         pages[count].entry.frame() <= pages[count - 1].entry.frame() + kNear &&
         pages[count].entry.frame() < pages[0].entry.frame() + most_frames) {
    ++count;
  }
  return pages.first(count);
}

uint64_t Checker::FramesOf(std::span<const FoundPage> run) {
  return run.back().entry.frame() - run.front().entry.frame() + 1;
}

// The frames of a file that was written at random lie scattered; those of many pages together lie
// close, and the disk reads them nearly from end to end.
void Checker::CheckPages() {
  std::ranges::sort(pages_, {}, [](const FoundPage& found) { return found.entry.frame(); });
  const Place walk = std::exchange(place_, {});
  const std::span<const FoundPage> pages(pages_);
  std::span<const FoundPage> ahead = pages;
  for (std::span<const FoundPage> left = pages; !left.empty() && !ended_;) {
    // The disk reads on while what came is verified.
    while (!ahead.empty() && ahead.front().entry.frame() < left.front().entry.frame() + kAhead) {
      const std::span<const FoundPage> run = FirstRun(ahead, kPrefetched);
      os::Prefetch(core_.file_->descriptor(), OffsetOf(run.front().entry.frame()),
                   FramesOf(run) * kPageSize);
      ahead = ahead.subspan(run.size());
    }
    const std::span<const FoundPage> run = FirstRun(left, kPagesAtOnce);
    CheckRun(run);
    left = left.subspan(run.size());
  }
  pages_.clear();
  places_.clear();
  place_ = walk;
}

// Reads the frames themselves, whatever is known of them.
void Checker::CheckRun(std::span<const FoundPage> run) {
  const FrameNumber first = run.front().entry.frame();
  const bool all =
      core_.file_->Read(OffsetOf(first), std::span(buffer_).first(FramesOf(run) * kPageSize)).ok();
  for (const FoundPage& found : run) {
    const FrameNumber frame = found.entry.frame();
    const std::span<std::byte> page =
        std::span(buffer_).subspan((frame.value() - first.value()) * kPageSize, kPageSize);
    // One by one, to name the frame that cannot be read.
    CheckPage(found, all ? absl::OkStatus() : core_.file_->Read(OffsetOf(frame), page), page);
  }
  Read(run.size());
}

void Checker::CheckPage(const FoundPage& found, const absl::Status& read,
                        std::span<const std::byte> bytes) {
  const Entry& entry = found.entry;
  std::string what(read.message());
  if (read.ok() && core_.data_checksums_ &&
      FrameChecksum(entry.frame(), entry.birth(), bytes) != entry.checksum()) {
    what = absl::StrFormat("frame %d: checksum does not match", entry.frame().value());
  }
  if (what.empty()) return;
  place_ = places_[found.place];
  ReportFrame(entry.frame(), std::move(what), PageNumber(found.page));
}

bool Checker::NameSharers(const CheckProgress& progress) {
  progress_ = progress ? &progress : nullptr;
  if (!damaged_.empty()) ForEachTable([&](const Entry& root) { NameBelow(root, 0); });
  return !ended_;
}

// In the order of the walk, so that what is found first is what the walk has reported. A node is
// looked into again only where there is damage below it; and each time that is a report, of which
// there is an end.
bool Checker::NameBelow(const Entry& entry, uint64_t first) {
  if (entry.empty() || ended_ || result_.damages.size() >= kMostDamages) return false;
  if (const auto found = damaged_.find(entry.frame()); found != damaged_.end()) {
    if (!named_.insert(entry.frame()).second) {
      Report(found->second, entry.has_children() ? std::nullopt : std::optional(PageNumber(first)));
    }
    return true;
  }
  if (!entry.has_children() || sound_.contains(entry.frame())) return false;
  const absl::StatusOr<NodePointer> node = core_.nodes_.Get(entry);
  Read(0);
  if (!node.ok()) return false;
  bool damage = false;
  if (entry.level() > 0) {
    const uint64_t span = Radix::Covers(entry.level() - 1);
    for (uint64_t i = 0; i < format::kFanout; ++i) {
      const Entry& child = (*node)->content.entries[i];
      if (child.level() == entry.level() - 1) damage |= NameBelow(child, first + i * span);
    }
  } else {
    std::optional<ObjectNumber>& object = place_.object.has_value() ? place_.member : place_.object;
    for (uint64_t slot = 0; slot < format::kRecordsPerLeaf; ++slot) {
      const format::Record& record = (*node)->content.records[slot];
      if (!record.used() || (record.root.table() && place_.member.has_value())) continue;
      object = ObjectNumber(first * format::kRecordsPerLeaf + slot);
      damage |= NameBelow(record.root, 0);
    }
    object = std::nullopt;
  }
  if (!damage) sound_.insert(entry.frame());
  return damage;
}

bool Checker::CompareCounts(uint64_t counted_frames, const CheckProgress& progress) {
  progress_ = progress ? &progress : nullptr;
  if (!counted_) return true;
  const uint64_t total = reachable_.total_frames;
  uint64_t used = 0;
  bool readable = true;
  CountLeaf counts;
  for (uint64_t begin = 0; begin < total && !ended_; begin += format::kCountsPerLeaf) {
    Read(0);
    const absl::Status read = core_.allocator_.FrozenCounts(begin / format::kCountsPerLeaf, counts);
    if (!read.ok()) {
      Report(std::string(read.message()));
      readable = false;
      continue;
    }
    for (FrameNumber frame(begin); frame.value() < std::min(total, begin + counts.size());
         ++frame) {
      if (format::InZoneHeader(frame)) continue;
      const uint32_t count = counts[frame.value() - begin];
      used += count > 0 ? 1 : 0;
      const uint32_t found = recount_.Get(frame);
      if (count != found) {
        Report(absl::StrFormat("frame %d: the count is %d, and %d references exist", frame.value(),
                               count, found));
      }
    }
  }
  if (readable && !ended_ && used != counted_frames) {
    Report(absl::StrFormat("%d frames are said to be in use, and %d are", counted_frames, used));
  }
  return !ended_;
}

}  // namespace cow::store
