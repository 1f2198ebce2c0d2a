// Copying within the volume: whole pages by reference, the rest by hand.
#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "cow/base/status.h"
#include "cow/fs/state.h"

namespace cow::fs {
namespace {

// Below this, freezing costs more than copying.
constexpr uint64_t kMinShared = 16 * kPageSize;
// Pages shared in one frozen transaction: 256 MiB.
constexpr uint64_t kMaxSharedPages = 65536;
constexpr uint64_t kCopyBuffer = 1 << 20;

absl::Status CopyBytes(const FileHandle& source, uint64_t from, FileHandle& target, uint64_t to,
                       uint64_t length) {
  std::vector<std::byte> buffer(std::min(length, kCopyBuffer));
  while (length > 0) {
    const std::span part = std::span(buffer).first(std::min<uint64_t>(length, buffer.size()));
    COW_ASSIGN_OR_RETURN(const size_t got, source.Read(from, part));
    // The source shrank meanwhile.
    if (got == 0) return absl::OkStatus();
    COW_RETURN_IF_ERROR(target.Write(to, part.first(got)));
    from += got;
    to += got;
    length -= got;
  }
  return absl::OkStatus();
}

// Shares whole pages.
absl::Status SharePages(State& state, const FileHandle& source, uint64_t from, FileHandle& target,
                        uint64_t to, uint64_t length) {
  while (length > 0) {
    const uint64_t part = std::min(length, kMaxSharedPages * kPageSize);
    const uint64_t pages = PagesFor(part);
    COW_ASSIGN_OR_RETURN(store::Transaction frozen,
                         state.store->BeginFrozen(pages / 128 + 4 * store::kFramesToChange));
    if (target.size() < to + part) {
      COW_RETURN_IF_ERROR(target.object().Truncate(frozen, to + part));
    }
    COW_RETURN_IF_ERROR(state.store->ShareRange(frozen, source.object(), PageOf(from),
                                                target.object(), PageOf(to), pages));
    COW_RETURN_IF_ERROR(target.Touch(frozen));
    from += part;
    to += part;
    length -= part;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status FileSystem::CloneWhole(const FileHandle& source, FileHandle& target) {
  if (target.object().read_only()) return ReadOnlyNode();
  COW_ASSIGN_OR_RETURN(store::Transaction frozen,
                       state_->store->BeginFrozen(3 * store::kFramesToChange));
  COW_RETURN_IF_ERROR(state_->store->Replace(frozen, target.object(), source.object()));
  return target.Touch(frozen);
}

absl::StatusOr<uint64_t> FileSystem::CopyRange(const FileHandle& source, uint64_t source_offset,
                                               FileHandle& target, uint64_t target_offset,
                                               uint64_t length) {
  if (target.object().read_only()) return ReadOnlyNode();
  const uint64_t size = source.size();
  if (source_offset >= size) return 0;
  length = std::min(length, size - source_offset);
  if (target_offset > store::kMaxSize || length > store::kMaxSize - target_offset) {
    return ErrnoStatus(EFBIG, "beyond the largest file size");
  }
  const uint64_t distance =
      source_offset > target_offset ? source_offset - target_offset : target_offset - source_offset;
  if (source.id() == target.id() && distance < length) {
    return ErrnoStatus(EINVAL, "the ranges overlap");
  }
  if (length < kMinShared || distance % kPageSize != 0) {
    COW_RETURN_IF_ERROR(CopyBytes(source, source_offset, target, target_offset, length));
    return length;
  }
  if (source_offset == 0 && target_offset == 0 && length == size && source.id() != target.id()) {
    COW_ASSIGN_OR_RETURN(store::Transaction frozen,
                         state_->store->BeginFrozen(3 * store::kFramesToChange));
    if (target.size() <= size && source.size() == size) {
      COW_RETURN_IF_ERROR(state_->store->Replace(frozen, target.object(), source.object()));
      COW_RETURN_IF_ERROR(target.Touch(frozen));
      return length;
    }
  }
  const uint64_t head = (kPageSize - source_offset % kPageSize) % kPageSize;
  const uint64_t shared = (length - head) / kPageSize * kPageSize;
  const uint64_t tail = length - head - shared;
  COW_RETURN_IF_ERROR(CopyBytes(source, source_offset, target, target_offset, head));
  COW_RETURN_IF_ERROR(
      SharePages(*state_, source, source_offset + head, target, target_offset + head, shared));
  COW_RETURN_IF_ERROR(CopyBytes(source, source_offset + head + shared, target,
                                target_offset + head + shared, tail));
  return length;
}

}  // namespace cow::fs
