// Checking: every checksum, and every count against a full recount; and making counts right again.
#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
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
  uint32_t Get(FrameNumber frame) const {
    auto leaf = leaves_.find(frame.value() / format::kCountsPerLeaf);
    return leaf == leaves_.end() ? 0 : (*leaf->second)[frame.value() % format::kCountsPerLeaf];
  }

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

  CheckResult Run() {
    CheckSuperblocks();
    WalkAll();
    CompareCounts();
    if (progress_) progress_(result_.frames_checked, result_.frames_checked);
    return std::move(result_);
  }

  // Finds every reference that exists.
  void WalkAll() {
    for (auto [part, table] : {std::pair{Place::Part::kTrees, core_.trees_.get()},
                               std::pair{Place::Part::kCatalog, core_.catalog_.get()},
                               std::pair{Place::Part::kOrphans, core_.orphans_.get()}}) {
      place_ = {};
      place_.part = part;
      Walk(RootOf(*table), 0);
    }
    place_ = {};
    absl::MutexLock lock(&core_.fold_mu_);
    for (const FrameLog::Item& item : core_.free_log_.items()) recount_.Add(item.entry.frame());
  }

  const Recount& recount() const { return recount_; }
  // Nodes that could not be read: what they refer to is not in the recount.
  uint64_t lost_nodes() const { return lost_nodes_; }
  // What a check says where references that are logged cannot be counted.
  void ReportUncounted(const absl::Status& status) {
    Report(absl::StrFormat("references cannot be counted: %s", status.message()));
    counted_ = false;
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
    if (!IsNew(entry, first)) return;
    if (!entry.has_children()) return CheckPages({&entry, 1}, first);
    std::array<std::byte, kPageSize> bytes;
    absl::Status read = core_.file_->Read(OffsetOf(entry.frame()), bytes);
    if (read.ok() && FrameChecksum(entry.frame(), entry.birth(), bytes) != entry.checksum()) {
      read = absl::DataLossError(
          absl::StrFormat("frame %d: checksum does not match", entry.frame().value()));
    }
    absl::StatusOr<NodePointer> node = read.ok() ? core_.nodes_.Get(entry) : read;
    if (!node.ok()) {
      ++lost_nodes_;
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

  // Whether `entry` names something that was not visited yet. Counts the reference.
  bool IsNew(const Entry& entry, uint64_t first) {
    if (entry.empty()) return false;
    if (format::InZoneHeader(entry.frame()) ||
        entry.frame().value() >= core_.allocator_.total_frames()) {
      Report(absl::StrFormat("refers to frame %d, which holds no content", entry.frame().value()),
             entry.has_children() ? std::nullopt : std::optional(PageNumber(first)));
      return false;
    }
    if (recount_.Add(entry.frame()) > 1) return false;
    Count();
    return true;
  }

  void WalkChildren(const Entry& entry, const Node& node, uint64_t first) {
    if (entry.level() == 1 && !entry.table()) return WalkPages(node, first);
    const uint64_t span = Radix::Covers(entry.level() - 1);
    for (uint64_t i = 0; i < format::kFanout; ++i) Walk(node.content.entries[i], first + i * span);
  }

  // Those in consecutive frames are read at once.
  void WalkPages(const Node& node, uint64_t first) {
    const std::span<const Entry> pages(node.content.entries);
    std::array<bool, format::kFanout> fresh;
    for (uint64_t i = 0; i < pages.size(); ++i) fresh[i] = IsNew(pages[i], first + i);
    for (uint64_t i = 0; i < pages.size();) {
      size_t length = fresh[i] ? 1 : 0;
      while (length > 0 && i + length < pages.size() && fresh[i + length] &&
             pages[i + length].frame() == pages[i].frame() + length) {
        ++length;
      }
      if (length > 0) CheckPages(pages.subspan(i, length), first + i);
      i += std::max<size_t>(length, 1);
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

  // Reads the frames themselves, whatever is known of them.
  void CheckPages(std::span<const Entry> run, uint64_t first) {
    const std::span<std::byte> bytes(buffer_.data(), run.size() * kPageSize);
    if (core_.file_->Read(OffsetOf(run[0].frame()), bytes).ok()) {
      for (size_t i = 0; i < run.size(); ++i) {
        CheckPage(run[i], bytes.subspan(i * kPageSize, kPageSize), first + i);
      }
      return;
    }
    // One by one, to name the frame that cannot be read.
    for (size_t i = 0; i < run.size(); ++i) {
      const std::span<std::byte> page = bytes.first(kPageSize);
      const absl::Status read = core_.file_->Read(OffsetOf(run[i].frame()), page);
      if (read.ok()) {
        CheckPage(run[i], page, first + i);
      } else {
        Report(std::string(read.message()), PageNumber(first + i));
      }
    }
  }

  void CheckPage(const Entry& entry, std::span<const std::byte> bytes, uint64_t page) {
    if (!core_.data_checksums_ ||
        FrameChecksum(entry.frame(), entry.birth(), bytes) == entry.checksum()) {
      return;
    }
    Report(absl::StrFormat("frame %d: checksum does not match", entry.frame().value()),
           PageNumber(page));
  }

  void CompareCounts() {
    if (!counted_) return;
    const uint64_t total = core_.allocator_.total_frames();
    uint64_t used = 0;
    bool readable = true;
    for (FrameNumber frame(0); frame.value() < total; ++frame) {
      if (format::InZoneHeader(frame)) continue;
      absl::StatusOr<uint32_t> count = core_.allocator_.Count(frame);
      if (!count.ok()) {
        Report(std::string(count.status().message()));
        readable = false;
        // The rest of this leaf is unreadable for the same reason.
        frame = FrameNumber(frame.value() | (format::kCountsPerLeaf - 1));
        continue;
      }
      used += *count > 0 ? 1 : 0;
      const uint32_t found = recount_.Get(frame);
      if (*count != found) {
        Report(absl::StrFormat("frame %d: the count is %d, and %d references exist", frame.value(),
                               *count, found));
      }
    }
    if (readable && used != core_.allocator_.counted_frames()) {
      Report(absl::StrFormat("%d frames are said to be in use, and %d are",
                             core_.allocator_.counted_frames(), used));
    }
  }

  Core& core_;
  const std::function<void(uint64_t, uint64_t)>& progress_;
  const uint64_t used_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(format::kFanout * kPageSize);
  Recount recount_;
  Place place_;  // where the walk is
  uint64_t lost_nodes_ = 0;
  bool counted_ = true;
  CheckResult result_;
};

absl::StatusOr<CheckResult> Store::Check(const std::function<void(uint64_t, uint64_t)>& progress) {
  Core& core = *core_;
  const bool writable = !core.read_only_ && core.CheckWritable().ok();
  // What can be folded under the gate is bounded by the space for writing it down.
  if (writable) core.Settle().IgnoreError();
  const CommitPause pause(core);
  absl::MutexLock gate(&core.gate_);
  if (core.read_only_) COW_RETURN_IF_ERROR(core.LoadForCheck());
  COW_RETURN_IF_ERROR(core.Seal());
  COW_RETURN_IF_ERROR(core.WriteSealed());
  Checker checker(core, progress);
  // In memory only, where the volume is open for reading.
  absl::Status folded = core.FoldAll();
  if (absl::IsDataLoss(folded)) {
    checker.ReportUncounted(folded);
  } else if (!folded.ok()) {
    return folded;
  }
  return checker.Run();
}

absl::StatusOr<RepairResult> Store::Repair(
    const std::function<void(uint64_t, uint64_t)>& progress) {
  Core& core = *core_;
  COW_RETURN_IF_ERROR(core.CheckWritable());
  const CommitPause pause(core);
  absl::MutexLock gate(&core.gate_);
  // A reader that holds a version may reach frames that nothing else does.
  COW_ASSIGN_OR_RETURN(const std::vector<Generation> pins,
                       PinnedByOthers(*core.file_, core.generation()));
  if (!pins.empty()) {
    return MakeError(absl::StatusCode::kUnavailable, EBUSY,
                     core.file_->name() + ": other processes read it; end them before a repair");
  }
  COW_RETURN_IF_ERROR(core.Seal());
  COW_RETURN_IF_ERROR(core.WriteSealed());
  // Reads under way may be of what is free already, but for the log that is dropped below.
  while (core.readers_.Oldest().has_value() && *core.readers_.Oldest() < core.generation()) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  Checker checker(core, progress);
  checker.WalkAll();
  RepairResult result;
  result.lost_nodes = checker.lost_nodes();
  // With references unknown, a count that looks too high may be right.
  if (result.lost_nodes > 0) return result;
  {
    // What is logged is in the recount already.
    absl::MutexLock fold_lock(&core.fold_mu_);
    absl::MutexLock log_lock(&core.log_mu_);
    core.reaped_.clear();
    core.dead_nodes_.clear();
    core.count_log_.Clear();
  }
  const Recount& recount = checker.recount();
  COW_ASSIGN_OR_RETURN(
      Allocator::Correction correction,
      core.allocator_.Correct([&recount](FrameNumber frame) { return recount.Get(frame); }));
  result.corrected_counts = correction.corrected;
  result.freed_frames = correction.unreferenced.size();
  // Two commits, so that no superblock refers to what has no reference; then it is free.
  for (int i = 0; i < 2; ++i) COW_RETURN_IF_ERROR(core.CommitUnderGate());
  for (const FrameNumber frame : correction.unreferenced) {
    COW_RETURN_IF_ERROR(core.allocator_.Release(frame));
  }
  COW_RETURN_IF_ERROR(core.CommitUnderGate());
  return result;
}

}  // namespace cow::store
