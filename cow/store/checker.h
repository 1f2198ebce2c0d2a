// Walks everything that can be reached, reads each frame of it once, and counts references anew.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "cow/store/core.h"

namespace cow::store {

// References to each frame as they are found, in leaves of 1024 as they are on disk.
class Recount {
 public:
  uint32_t Add(FrameNumber frame) {
    std::unique_ptr<CountLeaf>& leaf = leaves_[frame.value() / format::kCountsPerLeaf];
    if (leaf == nullptr) leaf = std::make_unique<CountLeaf>();
    return ++(*leaf)[frame.value() % format::kCountsPerLeaf];
  }
  uint32_t Get(FrameNumber frame) const {
    auto leaf = leaves_.find(frame.value() / format::kCountsPerLeaf);
    return leaf == leaves_.end() ? 0 : (*leaf->second)[frame.value() % format::kCountsPerLeaf];
  }

 private:
  absl::flat_hash_map<uint64_t, std::unique_ptr<CountLeaf>> leaves_;
};

// What can be reached at one moment.
struct Reachable {
  format::TableRoot trees;
  format::TableRoot catalog;
  format::TableRoot orphans;
  std::vector<FrameNumber> freed;  // that the free log holds
  uint64_t total_frames = 0;       // of the volume
  uint64_t used_frames = 0;
};

// Of this moment: the gate is held alone, and nothing is left to be counted.
Reachable WhatIsReachable(Core& core);

// Invariant: what `reachable` names stays as it is, in its frames, while this walks.
class Checker {
 public:
  Checker(Core& core, Reachable reachable);

  // While no commit is under way.
  void CheckSuperblocks();
  // What a check says where references that are logged cannot be counted.
  void ReportUncounted(const absl::Status& status);

  // Finds every reference that exists. False where `progress` ended it.
  bool WalkAll(const CheckProgress& progress);
  const Recount& recount() const { return recount_; }
  // Nodes that could not be read: what they refer to is not in the recount.
  uint64_t lost_nodes() const { return lost_nodes_; }

  // After the walk: where else what it found damaged is referred to from. False where `progress`
  // ended it.
  bool NameSharers(const CheckProgress& progress);

  // After the walk: with the counts as they were when they were frozen, `counted_frames` of them
  // above zero. False where `progress` ended it.
  bool CompareCounts(uint64_t counted_frames, const CheckProgress& progress);

  const CheckResult& result() const { return result_; }

 private:
  void Report(std::string what, std::optional<PageNumber> page = std::nullopt);
  void ReportFrame(FrameNumber frame, std::string what,
                   std::optional<PageNumber> page = std::nullopt);
  template <typename Visit>
  void ForEachTable(const Visit& visit);
  // Reports what is damaged below `entry`, but for the first place of each frame; whether anything is.
  bool NameBelow(const format::Entry& entry, uint64_t first);
  // Tells that `frames` more were read.
  void Read(uint64_t frames);
  // Visits what `entry` names, which covers the units from `first` on; what is below it only the
  // first time that it is found.
  void Walk(const format::Entry& entry, uint64_t first);
  // Whether `entry` names something that was not visited yet. Counts the reference.
  bool IsNew(const format::Entry& entry, uint64_t first);
  absl::StatusOr<NodePointer> ReadNode(const format::Entry& entry);
  void WalkChildren(const format::Entry& entry, const Node& node, uint64_t first);
  void WalkRecords(const format::Entry& entry, const Node& node, uint64_t leaf);
  // A page of data that was found and is still to be read, and where it stands.
  struct FoundPage {
    format::Entry entry;
    uint64_t page;
    size_t place;  // in places_
  };
  void AddPage(const format::Entry& entry, uint64_t page);
  // Reads what AddPage collected, in the order of frames.
  void CheckPages();
  // What of `pages`, which are in the order of frames, is read at once: what is nearly consecutive.
  static std::span<const FoundPage> FirstRun(std::span<const FoundPage> pages,
                                             uint64_t most_frames);
  // From the first to the last.
  static uint64_t FramesOf(std::span<const FoundPage> run);
  void CheckRun(std::span<const FoundPage> run);
  // The frame of `found` was read with the status `read`.
  void CheckPage(const FoundPage& found, const absl::Status& read,
                 std::span<const std::byte> bytes);

  Core& core_;
  const Reachable reachable_;
  const CheckProgress* progress_ = nullptr;
  bool ended_ = false;  // by progress_
  std::vector<std::byte> buffer_;
  Recount recount_;
  Place place_;  // where the walk is
  std::vector<FoundPage> pages_;
  std::vector<Place> places_;                              // of pages_
  absl::flat_hash_map<FrameNumber, std::string> damaged_;  // and what is wrong
  absl::flat_hash_set<FrameNumber> named_;                 // of these: found by NameSharers
  absl::flat_hash_set<FrameNumber> sound_;                 // nodes with no damage below
  uint64_t lost_nodes_ = 0;
  bool counted_ = true;
  CheckResult result_;
};

}  // namespace cow::store
