// Reading and changing attributes; the targets of links.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "cow/base/status.h"
#include "cow/fs/state.h"

namespace cow::fs {

absl::StatusOr<Attributes> FileSystem::GetAttributes(NodeId id) {
  COW_ASSIGN_OR_RETURN(Node node, state_->NodeOf(id));
  return node.attributes;
}

absl::StatusOr<Attributes> FileSystem::SetAttributes(NodeId id, const AttributeChange& change) {
  COW_ASSIGN_OR_RETURN(auto inode, state_->GetLive(id));
  return state_->SetAttributes(*inode, change);
}

absl::StatusOr<Attributes> FileHandle::SetAttributes(const AttributeChange& change) {
  if (inode_->object->read_only()) return ReadOnlyNode();
  return state_->SetAttributes(*inode_, change);
}

absl::StatusOr<Attributes> State::SetAttributes(Inode& inode, const AttributeChange& change) {
  using Field = AttributeChange::Field;
  const auto has = [&](Field field) { return (change.fields & field) != 0; };
  COW_ASSIGN_OR_RETURN(InodeRecord before, inode.Load());
  if (has(Field::kSize) && before.type != FileType::kRegular) {
    return ErrnoStatus(before.is_directory() ? EISDIR : EINVAL, "only files can be truncated");
  }
  const bool shrinks = has(Field::kSize) && change.size < inode.object->size();
  COW_ASSIGN_OR_RETURN(store::Transaction transaction,
                       store->Begin(3 * store::kFramesToChange, shrinks));
  if (has(Field::kSize)) {
    COW_RETURN_IF_ERROR(inode.object->Truncate(transaction, change.size));
  }
  const timespec now = Now();
  COW_RETURN_IF_ERROR(Change(transaction, inode, [&](InodeRecord& record) {
    if (has(Field::kMode)) record.mode = change.mode & 07777;
    if (has(Field::kUid)) record.uid = change.uid;
    if (has(Field::kGid)) record.gid = change.gid;
    if (has(Field::kSize)) record.mtime = now;
    if (has(Field::kAtime)) record.atime = change.atime;
    if (has(Field::kMtime)) record.mtime = change.mtime;
    if (has(Field::kAtimeNow)) record.atime = now;
    if (has(Field::kMtimeNow)) record.mtime = now;
    record.ctime = has(Field::kCtime) ? change.ctime : now;
  }));
  return AttributesOf(inode);
}

absl::StatusOr<std::string> FileSystem::ReadLink(NodeId id) {
  if (id.is_virtual() || id.is_stub()) return ErrnoStatus(EINVAL, "not a symbolic link");
  COW_ASSIGN_OR_RETURN(auto inode, state_->GetInode(id));
  COW_ASSIGN_OR_RETURN(InodeRecord record, inode->Load());
  if (record.type != FileType::kSymlink) return ErrnoStatus(EINVAL, "not a symbolic link");
  if (record.inline_kind == InodeRecord::Inline::kLink) return std::move(record.inlined);
  std::string target(std::min<uint64_t>(inode->object->size(), kMaxLink), '\0');
  COW_RETURN_IF_ERROR(inode->object->Read(0, std::as_writable_bytes(std::span(target))).status());
  return target;
}

}  // namespace cow::fs
