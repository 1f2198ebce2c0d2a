// Writing: a page whose frame was born in the current generation is overwritten in place, any other
// gets a fresh frame. Frames are written first and entered after; so a reader never finds a frame
// that is not there yet.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "cow/base/checksum.h"
#include "cow/store/object_state.h"
#include "cow/store/table_state.h"

namespace cow::store {

using format::CountOperation;
using format::Entry;
using format::kFanout;

namespace {

constexpr PageNumber kPagesEnd(uint64_t{1} << 40);

size_t CountRuns(std::span<const Entry> entries) {
  size_t runs = 0;
  for (size_t i = 0; i < entries.size(); i += ConsecutiveFrom(entries, i)) ++runs;
  return runs;
}

}  // namespace

// Pages of one leaf on their way to their frames.
struct ObjectState::PageWrite {
  PageNumber first;
  uint64_t count = 0;
  bool move = false;  // to fresh frames in fewer extents, or nowhere
  LeafEntries old_entries;
  LeafEntries fresh_entries;
  std::array<Entry, kFanout>& old = old_entries.entries;
  std::array<Entry, kFanout>& fresh = fresh_entries.entries;
  std::array<const std::byte*, kFanout> content;
  alignas(64) std::array<std::byte, kPageSize> head;  // of pages that are written in part
  alignas(64) std::array<std::byte, kPageSize> tail;
};

absl::Status ObjectState::WriteLocked(uint64_t& reserved, uint64_t offset,
                                      std::span<const std::byte> bytes, bool grow) {
  if (offset > kMaxSize || bytes.size() > kMaxSize - offset) {
    return MakeError(absl::StatusCode::kOutOfRange, EFBIG, "write beyond the largest file size");
  }
  while (!bytes.empty()) {
    const uint64_t leaf_end = (offset / (kFanout * kPageSize) + 1) * kFanout * kPageSize;
    const size_t part = std::min<uint64_t>(bytes.size(), leaf_end - offset);
    COW_RETURN_IF_ERROR(WriteWithinLeaf(reserved, offset, bytes.first(part), grow, /*move=*/false));
    offset += part;
    bytes = bytes.subspan(part);
  }
  return absl::OkStatus();
}

absl::Status ObjectState::WriteWithinLeaf(uint64_t& reserved, uint64_t offset,
                                          std::span<const std::byte> bytes, bool grow, bool move) {
  COW_RETURN_IF_ERROR(MakeDirty(reserved));
  const uint64_t end = offset + bytes.size();
  PageWrite write;
  write.move = move;
  write.first = PageOf(offset);
  write.count = PagesFor(end) - write.first.value();
  // A file of one page needs no node: its root is the page.
  const bool single = write.first.value() == 0 && write.count == 1 && root.level() == 0;
  NodePointer leaf;
  Entry* slots = &root;
  if (!single) {
    COW_ASSIGN_OR_RETURN(leaf, radix.MutableLeaf(root, write.first.value(), state_mu, reserved));
    slots = &leaf->content.entries[write.first.value() % kFanout];
  }
  std::copy_n(slots, write.count, write.old.begin());
  COW_RETURN_IF_ERROR(GatherContent(write, offset, bytes));
  COW_RETURN_IF_ERROR(AllocateFrames(write, reserved));
  const std::span<const Entry> old(write.old.data(), write.count);
  const std::span<const Entry> fresh(write.fresh.data(), write.count);
  if (move && 2 * CountRuns(fresh) > CountRuns(old)) {
    for (const Entry& entry : fresh) core.LogCount(entry, CountOperation::kDrop);
    return absl::OkStatus();
  }
  COW_RETURN_IF_ERROR(WriteFrames(write));
  uint64_t added = 0;
  {
    absl::MutexLock lock(&state_mu);
    std::copy_n(write.fresh.begin(), write.count, slots);
    for (uint64_t i = 0; i < write.count; ++i) added += write.old[i].empty() ? 1 : 0;
    pages += added;
    if (grow) size = std::max(size, end);
    if (leaf != nullptr) {
      leaves.Put(write.first.value() / kFanout, std::move(leaf), PagesFor(size) / kFanout + 1);
    }
  }
  core.LogDrops(old, fresh);
  return absl::OkStatus();
}

absl::Status ObjectState::WritePagesLocked(uint64_t& reserved, std::span<const PageNumber> numbers,
                                           std::span<const std::byte> bytes) {
  COW_RETURN_IF_ERROR(MakeDirty(reserved));
  PageWrite write;
  write.count = numbers.size();
  std::array<NodePointer, kFanout> leaf_of;  // of each page; a leaf's pages are beside each other
  std::array<Entry*, kFanout> slots;
  for (size_t i = 0; i < numbers.size(); ++i) {
    const uint64_t page = numbers[i].value();
    if (i > 0 && numbers[i - 1].value() / kFanout == page / kFanout) {
      leaf_of[i] = leaf_of[i - 1];
    } else {
      COW_ASSIGN_OR_RETURN(leaf_of[i], radix.MutableLeaf(root, page, state_mu, reserved));
    }
    slots[i] = &leaf_of[i]->content.entries[page % kFanout];
    write.old[i] = *slots[i];
    write.content[i] = bytes.data() + i * kPageSize;
  }
  COW_RETURN_IF_ERROR(AllocateFrames(write, reserved));
  COW_RETURN_IF_ERROR(WriteFrames(write));
  {
    absl::MutexLock lock(&state_mu);
    for (size_t i = 0; i < numbers.size(); ++i) {
      *slots[i] = write.fresh[i];
      pages += write.old[i].empty() ? 1 : 0;
      if (i + 1 == numbers.size() || leaf_of[i + 1] != leaf_of[i]) {
        leaves.Put(numbers[i].value() / kFanout, std::move(leaf_of[i]),
                   PagesFor(size) / kFanout + 1);
      }
    }
  }
  core.LogDrops(std::span(write.old).first(write.count), std::span(write.fresh).first(write.count));
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ObjectState::MoveTogether(uint64_t& reserved, PageNumber first,
                                                   uint64_t count) {
  COW_RETURN_IF_ERROR(CheckWritable());
  std::vector<Entry> old(count);
  COW_RETURN_IF_ERROR(EntriesOf(first, count, old.data()));
  const auto is_hole = [](const Entry& entry) { return entry.empty(); };
  if (CountRuns(old) < 2 || std::ranges::any_of(old, is_hole)) return 0;
  std::vector<std::byte> bytes(count * kPageSize);
  for (size_t i = 0; i < count;) {
    const size_t length = ConsecutiveFrom(old, i);
    COW_RETURN_IF_ERROR(
        ReadFrames(std::span(old).subspan(i, length), bytes.data() + i * kPageSize));
    i += length;
  }
  COW_RETURN_IF_ERROR(
      WriteWithinLeaf(reserved, OffsetOf(first), bytes, /*grow=*/false, /*move=*/true));
  std::vector<Entry> now(count);
  COW_RETURN_IF_ERROR(EntriesOf(first, count, now.data()));
  return now[0].frame() == old[0].frame() ? 0 : count;
}

// Points each page at what it is to hold: the caller's bytes, or a copy merged with the old page.
absl::Status ObjectState::GatherContent(PageWrite& write, uint64_t offset,
                                        std::span<const std::byte> bytes) const {
  const uint64_t end = offset + bytes.size();
  for (uint64_t i = 0; i < write.count; ++i) {
    const uint64_t page_begin = OffsetOf(write.first + i);
    const uint64_t from = std::max(offset, page_begin);
    const uint64_t to = std::min(end, page_begin + kPageSize);
    if (to - from == kPageSize) {
      write.content[i] = bytes.data() + (from - offset);
      continue;
    }
    std::array<std::byte, kPageSize>& page = i == 0 ? write.head : write.tail;
    if (write.old[i].empty()) {
      page.fill(std::byte{0});
    } else {
      COW_RETURN_IF_ERROR(ReadFrames(std::span(write.old).subspan(i, 1), page.data()));
    }
    std::memcpy(page.data() + (from - page_begin), bytes.data() + (from - offset), to - from);
    write.content[i] = page.data();
  }
  return absl::OkStatus();
}

absl::Status ObjectState::AllocateFrames(PageWrite& write, uint64_t& reserved) {
  const Generation generation = core.generation();
  auto in_place = [&](uint64_t i) {
    return !write.move && !write.old[i].empty() && write.old[i].birth() == generation;
  };
  for (uint64_t i = 0; i < write.count;) {
    if (in_place(i)) {
      write.fresh[i] = write.old[i];
      ++i;
      continue;
    }
    uint64_t wanted = 1;
    while (i + wanted < write.count && !in_place(i + wanted)) ++wanted;
    absl::StatusOr<FrameRun> run = core.allocator_.Allocate(wanted, FrameUse::kData, reserved);
    if (!run.ok()) {
      for (uint64_t j = 0; j < i; ++j) {
        if (!in_place(j)) core.LogCount(write.fresh[j], CountOperation::kDrop);
      }
      return run.status();
    }
    for (uint64_t j = 0; j < run->count; ++j) {
      write.fresh[i + j] = Entry(run->frame + j, generation, 0, 0, /*table=*/false);
      if (!write.old[i + j].empty()) core.counters_.copied_pages.Add();
    }
    i += run->count;
  }
  return absl::OkStatus();
}

absl::Status ObjectState::WriteFrames(PageWrite& write) {
  const absl::Status written = TryWriteFrames(write);
  if (written.ok()) return written;
  for (uint64_t i = 0; i < write.count; ++i) {
    core.good_.Erase(write.fresh[i].frame());
    if (write.fresh[i].frame() != write.old[i].frame()) {
      core.LogCount(write.fresh[i], CountOperation::kDrop);
    }
  }
  return core.Fail(written);
}

absl::Status ObjectState::TryWriteFrames(PageWrite& write) {
  std::array<iovec, kFanout> parts;
  for (uint64_t i = 0; i < write.count;) {
    // One system call for consecutive frames, one part for consecutive bytes.
    size_t used = 0;
    uint64_t j = i;
    for (; j < write.count && write.fresh[j].frame() == write.fresh[i].frame() + (j - i); ++j) {
      auto* base = const_cast<std::byte*>(write.content[j]);
      if (used > 0 &&
          static_cast<std::byte*>(parts[used - 1].iov_base) + parts[used - 1].iov_len == base) {
        parts[used - 1].iov_len += kPageSize;
      } else {
        parts[used++] = {base, kPageSize};
      }
      if (core.data_checksums_) {
        write.fresh[j].set_checksum(FrameChecksum(write.fresh[j].frame(), write.fresh[j].birth(),
                                                  {write.content[j], kPageSize}));
      }
      core.good_.Insert(write.fresh[j].frame());
    }
    const uint64_t at = OffsetOf(write.fresh[i].frame());
    COW_RETURN_IF_ERROR(
        used == 1
            ? core.file_->Write(at, {static_cast<std::byte*>(parts[0].iov_base), parts[0].iov_len})
            : core.file_->WriteVector(at, std::span(parts).first(used)));
    i = j;
  }
  return absl::OkStatus();
}

absl::Status ObjectState::ClearPages(uint64_t& reserved, PageNumber begin, PageNumber end) {
  COW_RETURN_IF_ERROR(MakeDirty(reserved));
  uint64_t dropped = pages;
  if (begin.value() != 0 || end < kPagesEnd) {
    COW_ASSIGN_OR_RETURN(dropped, radix.CountUsed(root, begin.value(), end.value()));
  }
  {
    // Readers walk from the root until the leaves are remembered anew.
    absl::MutexLock lock(&state_mu);
    leaves.Clear();
  }
  absl::Status cleared = radix.Clear(root, begin.value(), end.value(), state_mu, reserved);
  uint64_t left = pages - std::min(pages, dropped);
  if (!cleared.ok()) {
    // A part was cleared. Where that cannot be counted either, the number stays too high.
    left = radix.CountUsed(root, 0, kPagesEnd.value()).value_or(pages);
  }
  absl::MutexLock lock(&state_mu);
  leaves.Clear();
  pages = left;
  return cleared;
}

absl::Status ObjectState::ZeroWithinPage(uint64_t& reserved, uint64_t begin, uint64_t end) {
  COW_ASSIGN_OR_RETURN(Entry entry, radix.Find(root, PageOf(begin).value()));
  if (entry.empty() || begin >= end) return absl::OkStatus();
  const std::array<std::byte, kPageSize> zeroes = {};
  return WriteLocked(reserved, begin, std::span(zeroes).first(end - begin), /*grow=*/false);
}

absl::Status Object::Write(Transaction& transaction, uint64_t offset,
                           std::span<const std::byte> bytes) {
  absl::MutexLock lock(&state_->write_mu);
  COW_RETURN_IF_ERROR(state_->CheckWritable());
  state_->core.counters_.writes.Add();
  state_->core.counters_.written_bytes.Add(bytes.size());
  return state_->WriteLocked(transaction.reserved_, offset, bytes, /*grow=*/true);
}

absl::Status Object::WritePages(Transaction& transaction, std::span<const PageNumber> pages,
                                std::span<const std::byte> bytes) {
  ObjectState& state = *state_;
  absl::MutexLock lock(&state.write_mu);
  COW_RETURN_IF_ERROR(state.CheckWritable());
  if (pages.empty() || pages.size() > kFanout || bytes.size() != pages.size() * kPageSize ||
      OffsetOf(pages.back()) + kPageSize > state.size ||
      !std::ranges::is_sorted(pages, std::less_equal<>())) {
    return MakeError(absl::StatusCode::kInvalidArgument, EINVAL,
                     "pages to write are none of the file, or out of order");
  }
  state.core.counters_.writes.Add();
  state.core.counters_.written_bytes.Add(bytes.size());
  return state.WritePagesLocked(transaction.reserved_, pages, bytes);
}

absl::Status Object::Truncate(Transaction& transaction, uint64_t size) {
  ObjectState& state = *state_;
  absl::MutexLock lock(&state.write_mu);
  COW_RETURN_IF_ERROR(state.CheckWritable());
  if (size > kMaxSize) {
    return MakeError(absl::StatusCode::kOutOfRange, EFBIG, "beyond the largest file size");
  }
  COW_RETURN_IF_ERROR(state.MakeDirty(transaction.reserved_));
  const uint64_t old_size = state.size;
  if (size < old_size) {
    // The part that stays of the last page first: should it fail, nothing has changed.
    const uint64_t page_end = PagesFor(size) * kPageSize;
    COW_RETURN_IF_ERROR(state.ZeroWithinPage(transaction.reserved_, size,
                                             std::min(page_end, std::max(old_size, size))));
    COW_RETURN_IF_ERROR(
        state.ClearPages(transaction.reserved_, PageNumber(PagesFor(size)), kPagesEnd));
  }
  absl::MutexLock state_lock(&state.state_mu);
  state.size = size;
  return absl::OkStatus();
}

absl::Status Object::Punch(Transaction& transaction, uint64_t offset, uint64_t length) {
  ObjectState& state = *state_;
  absl::MutexLock lock(&state.write_mu);
  COW_RETURN_IF_ERROR(state.CheckWritable());
  if (length == 0 || offset >= state.size) return absl::OkStatus();
  // Beyond the end of the file there is nothing: the rest of its last page goes too.
  const bool to_end = length >= state.size - offset;
  const uint64_t end = to_end ? PagesFor(state.size) * kPageSize : offset + length;
  const uint64_t first_whole = PagesFor(offset);
  const uint64_t end_whole = end / kPageSize;
  uint64_t& reserved = transaction.reserved_;
  if (first_whole > end_whole) return state.ZeroWithinPage(reserved, offset, end);
  COW_RETURN_IF_ERROR(state.ZeroWithinPage(reserved, offset, first_whole * kPageSize));
  COW_RETURN_IF_ERROR(state.ZeroWithinPage(reserved, end_whole * kPageSize, end));
  return state.ClearPages(reserved, PageNumber(first_whole), PageNumber(end_whole));
}

absl::Status Object::SetAttributes(Transaction& transaction, std::string attributes) {
  ObjectState& state = *state_;
  if (attributes.size() > kMaxAttributes) {
    return MakeError(absl::StatusCode::kInvalidArgument, EINVAL, "too many attribute bytes");
  }
  absl::MutexLock lock(&state.write_mu);
  COW_RETURN_IF_ERROR(state.CheckWritable());
  COW_RETURN_IF_ERROR(state.MakeDirty(transaction.reserved_));
  absl::MutexLock state_lock(&state.state_mu);
  state.attributes = std::move(attributes);
  return absl::OkStatus();
}

}  // namespace cow::store
