// Which commit a volume is opened with.
//
// The newest, unless it was written with one flush and a crash came before that flush was done: then
// some of what it refers to may be missing, and the commit before it, which the other slot has, is
// the last that was acknowledged. Everything younger than that one is read and compared with its
// checksum. Where the other slot has anything else, a later commit had begun to overwrite it, so the
// newest was acknowledged: what does not match in it is rot, and not a reason to go back.
#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "cow/base/checksum.h"
#include "cow/format/log_frame.h"
#include "cow/format/record.h"
#include "cow/store/core.h"
#include "cow/store/node.h"

namespace cow::store {

using format::Entry;

namespace {

constexpr size_t kSector = 512;

// Looks at everything that a superblock reaches and that is younger than its commit before.
class Completion {
 public:
  // `whole`: the file has all frames of the volume, unless growing it was undone by the crash.
  Completion(const os::File& file, const format::Superblock& superblock, bool whole)
      : file_(file), superblock_(superblock), whole_(whole) {}

  // An error where something cannot be read: that does not tell what is there.
  absl::StatusOr<bool> Holds() {
    const bool holds = EverythingMatches();
    if (!read_.ok()) return read_;
    return holds;
  }

 private:
  bool EverythingMatches() {
    const format::Superblock& s = superblock_;
    const absl::StatusOr<uint64_t> size = file_.Size();
    read_ = size.status();
    if (!size.ok() || (whole_ && *size < s.total_frames * kPageSize)) return false;
    for (const Entry& root : {s.trees.root, s.catalog.root, s.orphans.root, s.counts}) Add(root);
    for (const format::Reaped& reaped : s.reaped) {
      if (!ReapedHolds(reaped)) return false;
    }
    if (!LogHolds(s.count_log.tail, /*of_counts=*/true)) return false;
    if (!LogHolds(s.free_log.tail, /*of_counts=*/false)) return false;
    while (!entries_.empty()) {
      const Entry entry = entries_.back();
      entries_.pop_back();
      if (!Matches(entry)) return false;
      if (entry.has_children()) AddChildren(entry);
    }
    return true;
  }

  bool IsYoung(const Entry& entry) const {
    return !entry.empty() && entry.birth() > superblock_.flushed;
  }

  void Add(const Entry& entry) {
    if (IsYoung(entry) && seen_.insert(entry.frame()).second) entries_.push_back(entry);
  }

  // Whether the frame, which is in node_ then, is what `entry` says. More frames than a commit with
  // one flush can have are those of an image that no commit wrote.
  bool Matches(const Entry& entry) {
    if (seen_.size() > kMostUnflushed) return false;
    const std::span<std::byte> bytes = std::as_writable_bytes(std::span(node_.entries));
    read_ = file_.Read(OffsetOf(entry.frame()), bytes);
    return read_.ok() && FrameChecksum(entry.frame(), entry.birth(), bytes) == entry.checksum();
  }

  // A node that is not well formed is reported by who uses it. The first `done` children are left
  // away.
  void AddChildren(const Entry& entry, uint32_t done = 0) {
    const auto add = [&](const Entry& child) {
      if (child.empty()) return;
      if (done == 0) return Add(child);
      --done;
    };
    if (entry.level() > 0) {
      for (const Entry& child : node_.entries) add(child);
      return;
    }
    for (const format::Record& record : node_.records) {
      if (record.used()) add(record.root);
    }
  }

  // Children that have lost their reference are free from this commit on, and may be used again while
  // it is the newest.
  bool ReapedHolds(const format::Reaped& reaped) {
    if (!IsYoung(reaped.node) || !seen_.insert(reaped.node.frame()).second) return true;
    if (!Matches(reaped.node)) return false;
    if (reaped.node.has_children()) AddChildren(reaped.node, reaped.next);
    return true;
  }

  // What a log of counts names is still referred to by what is not counted yet, and nothing else may.
  bool LogHolds(const Entry& tail, bool of_counts) {
    Entry at = tail;
    while (IsYoung(at)) {
      if (!seen_.insert(at.frame()).second || !Matches(at)) return false;
      const auto log_frame = format::DecodeLogFrame(std::as_bytes(std::span(node_.entries)));
      if (!log_frame.ok()) return false;
      for (const Entry& item : log_frame->items) {
        const bool node = item.has_children();
        if (of_counts && node && item.operation() != format::CountOperation::kDropFrame) Add(item);
      }
      at = log_frame->previous;
    }
    return true;
  }

  const os::File& file_;
  const format::Superblock& superblock_;
  const bool whole_;
  std::vector<Entry> entries_;  // to be looked at
  absl::flat_hash_set<FrameNumber> seen_;
  Node::Content node_;
  absl::Status read_;  // the last; nothing is looked at after one that failed
};

std::optional<std::array<std::byte, kPageSize>> Bytes(
    const std::optional<format::Superblock>& superblock) {
  if (!superblock.has_value()) return std::nullopt;
  return EncodeSuperblock(*superblock, FrameNumber(0));
}

}  // namespace

bool operator==(const Slots& a, const Slots& b) {
  return Bytes(a.slot[0]) == Bytes(b.slot[0]) && Bytes(a.slot[1]) == Bytes(b.slot[1]);
}

absl::StatusOr<format::Superblock> Core::ReadCopy(int slot, int copy) const {
  const FrameNumber frame = format::SuperblockFrame(slot, copy);
  std::array<std::byte, kPageSize> bytes;
  COW_RETURN_IF_ERROR(file_->Read(OffsetOf(frame), bytes));
  return format::DecodeSuperblock(bytes, frame);
}

absl::StatusOr<Slots> Core::ReadSlots() const {
  absl::Status error;
  Slots slots;
  for (int slot : {0, 1}) {
    std::optional<format::Superblock>& newer = slots.slot[slot];
    int unread = 0;
    for (int copy : {0, 1}) {
      const FrameNumber frame = format::SuperblockFrame(slot, copy);
      std::array<std::byte, kPageSize> bytes;
      const absl::Status got = file_->Read(OffsetOf(frame), bytes);
      unread += got.ok() ? 0 : 1;
      absl::StatusOr<format::Superblock> read =
          got.ok() ? format::DecodeSuperblock(bytes, frame) : got;
      if (read.ok()) {
        if (!newer.has_value() || newer->generation < read->generation) newer = *std::move(read);
      } else if (error.ok() || absl::IsUnimplemented(read.status()) ||
                 (!absl::IsNotFound(read.status()) && absl::IsNotFound(error))) {
        // What says most: a newer format, then rot, then that there is no superblock.
        error = read.status();
      }
    }
    // It may be the newest, which has two good copies: only salvage goes on without.
    if (unread == 2 && !options_.truncated) return error;
  }
  if (absl::IsUnimplemented(error)) {
    return MakeError(absl::StatusCode::kUnimplemented, EOPNOTSUPP,
                     absl::StrCat(file_->name(), ": ", error.message()));
  }
  const std::optional<format::Superblock>& first = slots.slot[0];
  const std::optional<format::Superblock>& second = slots.slot[1];
  slots.newest =
      second.has_value() && (!first.has_value() || second->generation > first->generation);
  if (slots.slot[slots.newest].has_value()) return slots;
  if (absl::IsNotFound(error)) {
    return MakeError(absl::StatusCode::kInvalidArgument, EINVAL,
                     file_->name() + ": not a cow volume: it has no superblock");
  }
  return MakeError(absl::StatusCode::kDataLoss, EIO,
                   absl::StrCat(file_->name(), ": ", error.message(), ", in no copy"));
}

absl::StatusOr<int> Core::Completed(const Slots& slots) const {
  const format::Superblock& newest = *slots.slot[slots.newest];
  const std::optional<format::Superblock>& before = slots.slot[1 - slots.newest];
  if (newest.flushed.value() == 0 || !before.has_value() || before->generation != newest.flushed) {
    return slots.newest;
  }
  const absl::StatusOr<bool> holds = Completion(*file_, newest, !options_.truncated).Holds();
  // Only salvage goes on with what may be: a commit given up for an error that passes is lost.
  if (!holds.ok() && !options_.truncated) {
    return MakeError(
        holds.status().code(), ErrnoOf(holds.status()),
        absl::StrCat(holds.status().message(),
                     ", on looking whether the newest commit was completed; try again; "
                     "if it stays so, `cowctl salvage` copies out what can be read"));
  }
  return holds.value_or(true) ? slots.newest : 1 - slots.newest;
}

absl::StatusOr<Slots> Core::PinForReading() {
  // A commit between the read and the pin may have freed what the superblock refers to; so the pin
  // holds only if the superblocks are still the same. Counts and logs are not pinned: where they are
  // looked at beside a writer, they may have been overwritten, and then the superblocks differ too.
  constexpr int kTries = 1000;
  COW_ASSIGN_OR_RETURN(Slots slots, ReadSlots());
  int chosen = slots.newest;
  for (int i = 0; i < kTries; ++i) {
    const uint64_t pin = kPinLocks + slots.slot[chosen]->generation.value();
    COW_ASSIGN_OR_RETURN(const bool locked, file_->TryLock(pin, os::LockKind::kShared));
    COW_ASSIGN_OR_RETURN(Slots again, ReadSlots());
    bool same = again == slots;
    int completed = chosen;
    if (locked && same) {
      COW_ASSIGN_OR_RETURN(completed, Completed(slots));
      if (completed == chosen) {
        durable_slot_ = chosen;
        return slots;
      }
      COW_ASSIGN_OR_RETURN(again, ReadSlots());
      same = again == slots;
    }
    if (locked) COW_RETURN_IF_ERROR(file_->Unlock(pin));
    chosen = same ? completed : again.newest;
    slots = std::move(again);
  }
  return MakeError(absl::StatusCode::kUnavailable, EAGAIN,
                   file_->name() + ": commits come too fast to pin one; try again");
}

absl::StatusOr<Slots> Core::FindForWriting() {
  COW_ASSIGN_OR_RETURN(Slots slots, ReadSlots());
  COW_ASSIGN_OR_RETURN(durable_slot_, Completed(slots));
  return slots;
}

absl::Status Core::Recover(const Slots& slots) {
  const format::Superblock& superblock = *slots.slot[durable_slot_];
  // Only a copy that is not what it should be is written: the other one stays whatever happens. A
  // place that cannot be written is no reason not to open: the next commit says so.
  for (int copy : {0, 1}) {
    const absl::StatusOr<format::Superblock> read = ReadCopy(durable_slot_, copy);
    if (read.ok() && read->generation == superblock.generation) continue;
    const FrameNumber frame = format::SuperblockFrame(durable_slot_, copy);
    file_->Write(OffsetOf(frame), format::EncodeSuperblock(superblock, frame)).IgnoreError();
    break;
  }
  // What a crash left of a later commit must not become whole again when the next one is torn too:
  // its first sector, which has the checksum, goes.
  for (int copy : {0, 1}) {
    const absl::StatusOr<format::Superblock> read = ReadCopy(1 - durable_slot_, copy);
    if (read.ok() && read->generation < superblock.generation) continue;
    const std::array<std::byte, kSector> nothing = {};
    const absl::Status erased =
        file_->Write(OffsetOf(format::SuperblockFrame(1 - durable_slot_, copy)), nothing);
    if (read.ok()) COW_RETURN_IF_ERROR(erased);
  }
  // The superblock may come from the page cache, written by a process that was killed before its
  // flush. What it does not refer to is reused from here on, so it has to be durable itself.
  return file_->Flush();
}

}  // namespace cow::store
