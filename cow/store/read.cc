// Reading: finding the frames of pages, and their content.
#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/str_format.h"
#include "cow/base/checksum.h"
#include "cow/store/object_state.h"
#include "cow/store/table_state.h"

namespace cow::store {

using format::Entry;
using format::kFanout;

namespace {

// Frames are verified while they are still in the processor's cache.
constexpr uint64_t kVerifyPages = 32;
constexpr uint64_t kMostRemembered = 1024;

}  // namespace

size_t ConsecutiveFrom(std::span<const Entry> run, size_t begin) {
  size_t end = begin + 1;
  if (run[begin].empty()) {
    while (end < run.size() && run[end].empty()) ++end;
    return end - begin;
  }
  while (end < run.size() && !run[end].empty() &&
         run[end].frame() == run[begin].frame() + (end - begin)) {
    ++end;
  }
  return end - begin;
}

void LeafMemory::Put(uint64_t leaf, NodePointer node, uint64_t leaves) {
  ++epoch_;
  const uint64_t wanted = std::bit_ceil(std::clamp<uint64_t>(leaves, 1, kMostRemembered));
  if (wanted > slots_.size()) {
    const uint64_t bytes = (wanted - slots_.size()) * sizeof(Node);
    if (core_.memory_for_leaves_.load() + bytes <= core_.options_.cache_bytes / 2) {
      core_.memory_for_leaves_ += bytes;
      std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(wanted));
      for (Slot& slot : old) {
        if (slot.node != nullptr) slots_[slot.leaf & (wanted - 1)] = std::move(slot);
      }
    }
  }
  if (slots_.empty()) return;
  slots_[leaf & (slots_.size() - 1)] = {leaf, std::move(node)};
}

void LeafMemory::Clear() {
  ++epoch_;
  core_.memory_for_leaves_ -= slots_.size() * sizeof(Node);
  slots_.clear();
}

absl::Status ObjectState::EntriesOf(PageNumber page, uint64_t count, Entry* entries) const {
  NodePointer loaded;
  uint64_t epoch = 0;
  const uint64_t leaf = page.value() / kFanout;
  const uint64_t first = page.value() % kFanout;
  {
    absl::ReaderMutexLock lock(&state_mu);
    if (const Node* node = leaves.Find(leaf); node != nullptr) {
      std::copy_n(node->content.entries.begin() + static_cast<ptrdiff_t>(first), count, entries);
      return absl::OkStatus();
    }
    COW_RETURN_IF_ERROR(CheckPresent());
    std::fill_n(entries, count, Entry());
    if (root.empty()) return absl::OkStatus();
    if (root.level() == 0) {
      if (page.value() == 0) entries[0] = root;
      return absl::OkStatus();
    }
    COW_ASSIGN_OR_RETURN(loaded, radix.Leaf(root, page.value()));
    if (loaded == nullptr) return absl::OkStatus();
    std::copy_n(loaded->content.entries.begin() + static_cast<ptrdiff_t>(first), count, entries);
    epoch = leaves.epoch();
  }
  absl::MutexLock lock(&state_mu);
  if (epoch == leaves.epoch()) {
    leaves.Put(leaf, std::move(loaded), PagesFor(size) / kFanout + 1);
  }
  return absl::OkStatus();
}

absl::Status ObjectState::ReadFrames(std::span<const Entry> run, std::byte* buffer) const {
  bool all_good = true;
  for (const Entry& entry : run) all_good = all_good && core.good_.Contains(entry.frame());
  if (all_good || !core.data_checksums_) {
    return core.file_->Read(OffsetOf(run[0].frame()), {buffer, run.size() * kPageSize});
  }
  for (size_t begin = 0; begin < run.size(); begin += kVerifyPages) {
    auto part = run.subspan(begin, std::min<size_t>(kVerifyPages, run.size() - begin));
    std::span<std::byte> bytes(buffer + begin * kPageSize, part.size() * kPageSize);
    COW_RETURN_IF_ERROR(core.file_->Read(OffsetOf(part[0].frame()), bytes));
    for (size_t i = 0; i < part.size(); ++i) {
      const Entry& entry = part[i];
      if (core.good_.Contains(entry.frame())) continue;
      if (FrameChecksum(entry.frame(), entry.birth(), bytes.subspan(i * kPageSize, kPageSize)) !=
          entry.checksum()) {
        core.counters_.checksum_failures.Add();
        return MakeError(
            absl::StatusCode::kDataLoss, EIO,
            core.file_->name() +
                absl::StrFormat(": frame %d (data, object %d): checksum does not match; the disk "
                                "changed it; run `cowctl check`",
                                entry.frame().value(), number.value()));
      }
      // Two commits may say of one frame that it holds different things.
      if (!core.options_.commit_before) core.good_.Insert(entry.frame());
    }
  }
  return absl::OkStatus();
}

absl::Status ObjectState::VerifyFrames(std::span<const Entry> run) const {
  bool all_good = true;
  for (const Entry& entry : run) all_good = all_good && core.good_.Contains(entry.frame());
  if (all_good || !core.data_checksums_) return absl::OkStatus();
  // Not allocated: who waits for a page of a mapping may wait because there are no maps left.
  constexpr uint64_t kPages = kVerifyPages / 2;
  std::array<std::byte, kPages * kPageSize> buffer;
  for (size_t begin = 0; begin < run.size(); begin += kPages) {
    COW_RETURN_IF_ERROR(ReadFrames(run.subspan(begin, std::min<size_t>(kPages, run.size() - begin)),
                                   buffer.data()));
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> ObjectState::Read(uint64_t offset, std::span<std::byte> buffer) const {
  // From here on the frames found keep their content, whatever writers do.
  const ReaderSlots::Hold hold = core.readers_.Enter(core.generation());
  uint64_t end;
  {
    absl::ReaderMutexLock lock(&state_mu);
    COW_RETURN_IF_ERROR(CheckPresent());
    if (offset >= size) return 0;
    end = std::min<uint64_t>(size, offset + std::min<uint64_t>(buffer.size(), size));
  }
  LeafEntries leaf;
  std::array<Entry, kFanout>& entries = leaf.entries;
  alignas(64) std::array<std::byte, kPageSize> partial;
  for (uint64_t at = offset; at < end;) {
    const PageNumber first = PageOf(at);
    const uint64_t in_leaf = kFanout - first.value() % kFanout;
    const uint64_t count = std::min(in_leaf, PagesFor(end) - first.value());
    COW_RETURN_IF_ERROR(EntriesOf(first, count, entries.data()));
    const std::span<const Entry> run(entries.data(), count);
    for (size_t i = 0; i < count;) {
      const PageNumber page = first + i;
      const uint64_t page_begin = OffsetOf(page);
      std::byte* target = buffer.data() + (at - offset);
      size_t pages = ConsecutiveFrom(run, i);
      const bool whole = at == page_begin && end - at >= kPageSize;
      if (run[i].empty()) {
        const uint64_t part_end = std::min(end, page_begin + pages * kPageSize);
        std::memset(target, 0, part_end - at);
        at = part_end;
      } else if (whole) {
        pages = std::min<size_t>(pages, (end - at) / kPageSize);
        COW_RETURN_IF_ERROR(ReadFrames(run.subspan(i, pages), target));
        at += pages * kPageSize;
      } else {
        pages = 1;
        const uint64_t part_end = std::min(end, page_begin + kPageSize);
        if (core.good_.Contains(run[i].frame())) {
          COW_RETURN_IF_ERROR(core.file_->Read(OffsetOf(run[i].frame()) + (at - page_begin),
                                               {target, part_end - at}));
        } else {
          COW_RETURN_IF_ERROR(ReadFrames(run.subspan(i, 1), partial.data()));
          std::memcpy(target, partial.data() + (at - page_begin), part_end - at);
        }
        at = part_end;
      }
      i += pages;
    }
  }
  hold.Count(end - offset);
  return end - offset;
}

absl::StatusOr<size_t> Object::Read(uint64_t offset, std::span<std::byte> buffer) const {
  return state_->Read(offset, buffer);
}

absl::StatusOr<std::vector<Extent>> Object::Extents(PageNumber begin, PageNumber end,
                                                    bool verify) const {
  const ObjectState& state = *state_;
  const ReaderSlots::Hold hold = state.core.readers_.EnterBriefly(state.core.generation());
  std::vector<Extent> extents;
  LeafEntries leaf;
  std::array<Entry, kFanout>& entries = leaf.entries;
  end = std::min(end, PageNumber(PagesFor(size())));
  for (PageNumber page = begin; page < end;) {
    COW_ASSIGN_OR_RETURN(uint64_t data, [&]() -> absl::StatusOr<uint64_t> {
      absl::ReaderMutexLock lock(&state.state_mu);
      COW_RETURN_IF_ERROR(state.CheckPresent());
      COW_ASSIGN_OR_RETURN(auto next, state.radix.NextUsed(state.root, page.value()));
      return next.value_or(end.value());
    }());
    page = PageNumber(data);
    if (page >= end) break;
    const uint64_t count = std::min(kFanout - page.value() % kFanout, end - page);
    COW_RETURN_IF_ERROR(state.EntriesOf(page, count, entries.data()));
    const std::span<const Entry> run(entries.data(), count);
    for (size_t i = 0; i < count;) {
      const size_t length = ConsecutiveFrom(run, i);
      if (!run[i].empty()) {
        if (verify) COW_RETURN_IF_ERROR(state.VerifyFrames(run.subspan(i, length)));
        Extent* last = extents.empty() ? nullptr : &extents.back();
        if (last != nullptr && last->page + last->count == page + i &&
            last->frame + last->count == run[i].frame()) {
          last->count += length;
        } else {
          extents.push_back({page + i, run[i].frame(), length});
        }
      }
      i += length;
    }
    page += count;
  }
  return extents;
}

absl::StatusOr<uint64_t> Object::NextData(uint64_t offset) const {
  const ObjectState& state = *state_;
  absl::ReaderMutexLock lock(&state.state_mu);
  COW_RETURN_IF_ERROR(state.CheckPresent());
  if (offset < state.size) {
    COW_ASSIGN_OR_RETURN(auto next, state.radix.NextUsed(state.root, PageOf(offset).value()));
    if (next.has_value()) {
      const uint64_t found = std::max(offset, OffsetOf(PageNumber(*next)));
      if (found < state.size) return found;
    }
  }
  return MakeError(absl::StatusCode::kNotFound, ENXIO, "no data at or after the offset");
}

absl::StatusOr<uint64_t> Object::NextHole(uint64_t offset) const {
  const ObjectState& state = *state_;
  // No frame is used for another node of the object meanwhile.
  const ReaderSlots::Hold hold = state.core.readers_.Enter(state.core.generation());
  uint64_t size = 0;
  {
    absl::ReaderMutexLock lock(&state.state_mu);
    COW_RETURN_IF_ERROR(state.CheckPresent());
    size = state.size;
  }
  if (offset >= size) {
    return MakeError(absl::StatusCode::kNotFound, ENXIO, "the offset is past the end");
  }
  Visited full;
  LeafEntries leaf;
  std::array<Entry, kFanout>& entries = leaf.entries;
  for (PageNumber page = PageOf(offset); OffsetOf(page) < size;) {
    const uint64_t count = kFanout - page.value() % kFanout;
    COW_RETURN_IF_ERROR(state.EntriesOf(page, count, entries.data()));
    for (uint64_t i = 0; i < count; ++i) {
      if (entries[i].empty()) return std::min(size, std::max(offset, OffsetOf(page + i)));
    }
    {
      absl::ReaderMutexLock lock(&state.state_mu);
      COW_ASSIGN_OR_RETURN(const NodePointer node, state.radix.Leaf(state.root, page.value()));
      if (node != nullptr) COW_RETURN_IF_ERROR(full.Add(node->frame));
    }
    page += count;
  }
  return size;
}

}  // namespace cow::store
