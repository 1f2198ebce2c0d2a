// Checking: every checksum, and every count against a full recount; and what only one version
// holds.
#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "cow/base/checksum.h"
#include "cow/store/core.h"
#include "cow/store/object_state.h"
#include "cow/store/table_state.h"

namespace cow::store {

using format::Entry;

namespace {

constexpr size_t kMostDamages = 1000;
constexpr uint64_t kProgressEvery = 4096;

// References to each frame as they are found, in leaves of 1024 as they are on disk.
class Recount {
 public:
  uint32_t Add(FrameNumber frame) { return ++Leaf(frame)[frame.value() % format::kCountsPerLeaf]; }
  uint32_t Get(FrameNumber frame) { return Leaf(frame)[frame.value() % format::kCountsPerLeaf]; }

 private:
  CountLeaf& Leaf(FrameNumber frame) {
    std::unique_ptr<CountLeaf>& leaf = leaves_[frame.value() / format::kCountsPerLeaf];
    if (leaf == nullptr) leaf = std::make_unique<CountLeaf>();
    return *leaf;
  }
  absl::flat_hash_map<uint64_t, std::unique_ptr<CountLeaf>> leaves_;
};

}  // namespace

// Walks everything that the superblock reaches.
class Checker {
 public:
  Checker(Core& core, const std::function<void(uint64_t, uint64_t)>& progress)
      : core_(core), progress_(progress), used_(core.allocator_.used_frames()) {}

  absl::StatusOr<CheckResult> Run() {
    CheckSuperblocks();
    for (auto [part, table] : {std::pair{Place::Part::kTrees, core_.trees_.get()},
                               std::pair{Place::Part::kCatalog, core_.catalog_.get()},
                               std::pair{Place::Part::kOrphans, core_.orphans_.get()}}) {
      place_ = {};
      place_.part = part;
      Walk(RootOf(*table), 0);
    }
    place_ = {};
    {
      absl::MutexLock lock(&core_.fold_mu_);
      for (const FrameLog::Item& item : core_.free_log_.items()) {
        recount_.Add(item.entry.frame());
      }
    }
    COW_RETURN_IF_ERROR(CompareCounts());
    if (progress_) progress_(result_.frames_checked, result_.frames_checked);
    return std::move(result_);
  }

 private:
  static Entry RootOf(TableState& table) {
    absl::MutexLock lock(&table.mu);
    return table.root;
  }

  void Report(std::string what, std::optional<PageNumber> page = std::nullopt) {
    if (result_.damages.size() >= kMostDamages) return;
    Place place = place_;
    place.page = page;
    result_.damages.push_back({place, std::move(what)});
  }

  // The copies of the newest slot. The other one matters only while a commit is under way, and the
  // next commit writes it anew.
  void CheckSuperblocks() {
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

  void Count() {
    ++result_.frames_checked;
    if (progress_ && result_.frames_checked % kProgressEvery == 0) {
      progress_(result_.frames_checked, std::max(used_, result_.frames_checked));
    }
  }

  // Visits what `entry` names, which covers the units from `first` on; what is below it only the
  // first time that it is found.
  void Walk(const Entry& entry, uint64_t first) {
    if (entry.empty()) return;
    const bool is_page = !entry.has_children();
    const std::optional<PageNumber> page =
        is_page ? std::optional(PageNumber(first)) : std::nullopt;
    if (format::InZoneHeader(entry.frame()) ||
        entry.frame().value() >= core_.allocator_.total_frames()) {
      Report(absl::StrFormat("refers to frame %d, which holds no content", entry.frame().value()),
             page);
      return;
    }
    if (recount_.Add(entry.frame()) > 1) return;
    Count();
    absl::Status verified = ReadFrame(entry);
    if (is_page) {
      if (!verified.ok()) Report(std::string(verified.message()), page);
      return;
    }
    absl::StatusOr<NodePointer> node = verified.ok() ? core_.nodes_.Get(entry) : verified;
    if (!node.ok()) {
      Report(absl::StrFormat("%s; %s below it cannot be reached", node.status().message(),
                             entry.table() ? "the objects" : "the pages"));
      return;
    }
    if (entry.level() > 0) {
      WalkChildren(entry, **node, first);
    } else {
      WalkRecords(entry, **node, first);
    }
  }

  void WalkChildren(const Entry& entry, const Node& node, uint64_t first) {
    const uint64_t span = Radix::Covers(entry.level() - 1);
    for (uint64_t i = 0; i < format::kFanout; ++i) {
      const Entry& child = node.content.entries[i];
      if (!child.empty() &&
          (child.level() + 1 != entry.level() || child.table() != entry.table())) {
        Report(absl::StrFormat("frame %d: an entry of another kind than its node",
                               entry.frame().value()));
        continue;
      }
      Walk(child, first + i * span);
    }
  }

  void WalkRecords(const Entry& entry, const Node& node, uint64_t leaf) {
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

  // The frame itself, not what is in memory of it.
  absl::Status ReadFrame(const Entry& entry) {
    std::array<std::byte, kPageSize> bytes;
    COW_RETURN_IF_ERROR(core_.file_->Read(OffsetOf(entry.frame()), bytes));
    const bool checked = core_.data_checksums_ || entry.has_children();
    if (checked && FrameChecksum(entry.frame(), entry.birth(), bytes) != entry.checksum()) {
      return absl::DataLossError(
          absl::StrFormat("frame %d: checksum does not match", entry.frame().value()));
    }
    return absl::OkStatus();
  }

  absl::Status CompareCounts() {
    const uint64_t total = core_.allocator_.total_frames();
    for (FrameNumber frame(0); frame.value() < total; ++frame) {
      if (format::InZoneHeader(frame)) continue;
      absl::StatusOr<uint32_t> count = core_.allocator_.Count(frame);
      if (!count.ok()) {
        Report(std::string(count.status().message()));
        // The rest of this leaf is unreadable for the same reason.
        frame = FrameNumber(frame.value() | (format::kCountsPerLeaf - 1));
        continue;
      }
      const uint32_t found = recount_.Get(frame);
      if (*count != found) {
        Report(absl::StrFormat("frame %d: the count is %d, and %d references exist", frame.value(),
                               *count, found));
      }
    }
    return absl::OkStatus();
  }

  Core& core_;
  const std::function<void(uint64_t, uint64_t)>& progress_;
  const uint64_t used_;
  Recount recount_;
  Place place_;  // where the walk is
  CheckResult result_;
};

absl::StatusOr<CheckResult> Store::Check(const std::function<void(uint64_t, uint64_t)>& progress) {
  Core& core = *core_;
  const bool writable = !core.read_only_ && core.CheckWritable().ok();
  // What can be folded under the gate is bounded by the space for writing it down.
  if (writable) COW_RETURN_IF_ERROR(core.Settle());
  const CommitPause pause(core);
  absl::MutexLock gate(&core.gate_);
  if (core.read_only_) COW_RETURN_IF_ERROR(core.LoadForCheck());
  COW_RETURN_IF_ERROR(core.Seal());
  COW_RETURN_IF_ERROR(core.WriteSealed());
  // In memory only, where the volume is open for reading.
  COW_RETURN_IF_ERROR(core.FoldAll());
  return Checker(core, progress).Run();
}

namespace {

// Frames below `entry`, itself included, that are reached through counts of one only.
absl::StatusOr<uint64_t> ExclusiveBelow(Core& core, const Entry& entry, Visited& visited) {
  if (entry.empty()) return 0;
  COW_ASSIGN_OR_RETURN(uint32_t count, core.allocator_.Count(entry.frame()));
  if (count != 1) return 0;
  uint64_t frames = 1;
  if (!entry.has_children()) return frames;
  COW_RETURN_IF_ERROR(visited.Add(entry.frame()));
  COW_ASSIGN_OR_RETURN(std::vector<Entry> children, core.Children(entry));
  for (const Entry& child : children) {
    // A tree has no tree in it; so the depth of this is bounded, whatever an image says.
    if (entry.level() == 0 && child.table()) {
      return MakeError(absl::StatusCode::kDataLoss, EIO, "a tree within a tree");
    }
    COW_ASSIGN_OR_RETURN(uint64_t below, ExclusiveBelow(core, child, visited));
    frames += below;
  }
  return frames;
}

// Whether the leaf of records `unit` is shared with another version of the table.
absl::StatusOr<bool> IsShared(Core& core, Entry entry, uint64_t unit) {
  while (!entry.empty()) {
    COW_ASSIGN_OR_RETURN(uint32_t count, core.allocator_.Count(entry.frame()));
    if (count != 1) return true;
    if (entry.level() == 0) return false;
    COW_ASSIGN_OR_RETURN(NodePointer node, core.nodes_.Get(entry));
    entry = node->content.entries[unit >> (8 * (entry.level() - 1)) & (format::kFanout - 1)];
  }
  return false;
}

}  // namespace

absl::StatusOr<uint64_t> Store::ExclusiveBytes(const Object& object) {
  Core& core = *core_;
  if (!core.read_only_) COW_RETURN_IF_ERROR(core.Settle());
  absl::MutexLock gate(&core.gate_);
  if (core.read_only_) COW_RETURN_IF_ERROR(core.LoadForCheck());
  COW_RETURN_IF_ERROR(core.Seal());
  COW_RETURN_IF_ERROR(core.FoldAll());
  Entry root;
  ObjectNumber number;
  std::shared_ptr<TableState> table;
  {
    absl::ReaderMutexLock lock(&object.state_->state_mu);
    root = object.state_->root;
    number = object.state_->record_number;
    table = object.state_->table;
  }
  Entry table_root;
  {
    absl::MutexLock lock(&table->mu);
    table_root = table->root;
  }
  if (table->owner != nullptr) {
    // A record of a tree that has snapshots is in them too, until its leaf is copied.
    COW_ASSIGN_OR_RETURN(bool shared,
                         IsShared(core, table_root, number.value() / format::kRecordsPerLeaf));
    if (shared) return 0;
  }
  Visited visited;
  COW_ASSIGN_OR_RETURN(uint64_t frames, ExclusiveBelow(core, root, visited));
  return frames * kPageSize;
}

}  // namespace cow::store
