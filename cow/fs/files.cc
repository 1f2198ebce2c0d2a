// Content of files. None of this takes the namespace lock.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "cow/base/status.h"
#include "cow/fs/state.h"

namespace cow::fs {
namespace {

// Bytes of one transaction: others get their turn between them.
constexpr uint64_t kMaxWrite = 4 << 20;

absl::Status CheckRange(uint64_t offset, uint64_t length) {
  if (length == 0) return ErrnoStatus(EINVAL, "an empty range");
  if (offset > store::kMaxSize || length > store::kMaxSize - offset) {
    return ErrnoStatus(EFBIG, "beyond the largest file size");
  }
  return absl::OkStatus();
}

}  // namespace

FileHandle::FileHandle(State* state, std::shared_ptr<Inode> inode)
    : state_(state), inode_(std::move(inode)) {}
FileHandle::~FileHandle() = default;

NodeId FileHandle::id() const { return inode_->id; }
uint64_t FileHandle::size() const { return inode_->object->size(); }
store::Object& FileHandle::object() const { return *inode_->object; }

absl::StatusOr<Attributes> FileHandle::GetAttributes() const {
  return state_->AttributesOf(*inode_);
}

absl::Status FileHandle::Touch(store::Transaction& transaction) {
  const timespec now = state_->Now();
  return state_->Change(transaction, *inode_,
                        [&](InodeRecord& record) { record.mtime = record.ctime = now; });
}

absl::StatusOr<size_t> FileHandle::Read(uint64_t offset, std::span<std::byte> buffer) const {
  return inode_->object->Read(offset, buffer);
}

absl::Status FileHandle::Write(uint64_t offset, std::span<const std::byte> bytes) {
  if (inode_->object->read_only()) return ReadOnlyNode();
  while (!bytes.empty()) {
    const size_t part = std::min<uint64_t>(bytes.size(), kMaxWrite);
    COW_ASSIGN_OR_RETURN(store::Transaction transaction,
                         state_->store->Begin(store::FramesToWrite(part) + store::kFramesToChange));
    COW_RETURN_IF_ERROR(inode_->object->Write(transaction, offset, bytes.first(part)));
    COW_RETURN_IF_ERROR(Touch(transaction));
    offset += part;
    bytes = bytes.subspan(part);
  }
  return absl::OkStatus();
}

absl::Status FileHandle::WritePages(std::span<const PageNumber> pages,
                                    std::span<const std::byte> bytes) {
  if (inode_->object->read_only()) return ReadOnlyNode();
  COW_ASSIGN_OR_RETURN(store::Transaction transaction,
                       state_->store->Begin(store::FramesToWrite(pages) + store::kFramesToChange));
  COW_RETURN_IF_ERROR(inode_->object->WritePages(transaction, pages, bytes));
  return Touch(transaction);
}

absl::StatusOr<uint64_t> FileHandle::Append(std::span<const std::byte> bytes) {
  if (inode_->object->read_only()) return ReadOnlyNode();
  if (bytes.size() > kMaxWrite) return ErrnoStatus(EINVAL, "more than one transaction holds");
  COW_ASSIGN_OR_RETURN(
      store::Transaction transaction,
      state_->store->Begin(store::FramesToWrite(bytes.size()) + store::kFramesToChange));
  // No rollback comes between the two.
  const uint64_t end = size();
  COW_RETURN_IF_ERROR(inode_->object->Write(transaction, end, bytes));
  COW_RETURN_IF_ERROR(Touch(transaction));
  return end;
}

absl::Status FileHandle::Truncate(uint64_t size) {
  if (inode_->object->read_only()) return ReadOnlyNode();
  COW_ASSIGN_OR_RETURN(
      store::Transaction transaction,
      state_->store->Begin(3 * store::kFramesToChange, /*use_reserve=*/size < this->size()));
  COW_RETURN_IF_ERROR(inode_->object->Truncate(transaction, size));
  return Touch(transaction);
}

absl::Status FileHandle::Allocate(uint64_t offset, uint64_t length, bool keep_size) {
  if (inode_->object->read_only()) return ReadOnlyNode();
  COW_RETURN_IF_ERROR(CheckRange(offset, length));
  COW_ASSIGN_OR_RETURN(store::Transaction transaction,
                       state_->store->Begin(2 * store::kFramesToChange));
  if (PagesFor(length) > state_->store->space().available_frames) {
    return ErrnoStatus(ENOSPC, "allocate");
  }
  if (keep_size || offset + length <= size()) return absl::OkStatus();
  COW_RETURN_IF_ERROR(inode_->object->Truncate(transaction, offset + length));
  return Touch(transaction);
}

absl::Status FileHandle::Punch(uint64_t offset, uint64_t length) {
  return ZeroRange(offset, length, /*keep_size=*/true);
}

absl::Status FileHandle::ZeroRange(uint64_t offset, uint64_t length, bool keep_size) {
  if (inode_->object->read_only()) return ReadOnlyNode();
  COW_RETURN_IF_ERROR(CheckRange(offset, length));
  COW_ASSIGN_OR_RETURN(store::Transaction transaction,
                       state_->store->Begin(4 * store::kFramesToChange, /*use_reserve=*/true));
  COW_RETURN_IF_ERROR(inode_->object->Punch(transaction, offset, length));
  if (!keep_size && offset + length > size()) {
    COW_RETURN_IF_ERROR(inode_->object->Truncate(transaction, offset + length));
  }
  return Touch(transaction);
}

absl::StatusOr<store::DefragmentResult> FileHandle::Defragment(uint64_t offset, bool unshare) {
  // Every object of a volume that was opened for reading is read-only; Begin says that it was.
  if (state_->store->read_only()) return state_->store->Begin(0).status();
  if (inode_->object->read_only()) return ReadOnlyNode();
  return state_->store->Defragment(*inode_->object, PageOf(offset),
                                   PageOf(offset + kDefragmentStep), unshare);
}

absl::StatusOr<uint64_t> FileHandle::SeekData(uint64_t offset) const {
  return inode_->object->NextData(offset);
}

absl::StatusOr<uint64_t> FileHandle::SeekHole(uint64_t offset) const {
  return inode_->object->NextHole(offset);
}

absl::StatusOr<FileHandle> FileSystem::OpenFile(NodeId id) {
  const absl::Status directory =
      MakeError(absl::StatusCode::kInvalidArgument, EISDIR, "a directory");
  if (id.is_virtual() || id.is_stub()) return directory;
  COW_ASSIGN_OR_RETURN(auto inode, state_->GetInode(id));
  COW_ASSIGN_OR_RETURN(InodeRecord record, inode->Load());
  if (record.is_directory()) return directory;
  if (record.type != FileType::kRegular) {
    return MakeError(absl::StatusCode::kInvalidArgument, EINVAL, "not a regular file");
  }
  return FileHandle(state_.get(), std::move(inode));
}

}  // namespace cow::fs
