#include "cow/fs/xattrs.h"

#include <cerrno>
#include <utility>

#include "cow/base/status.h"
#include "cow/fs/bytes.h"
#include "cow/fs/state.h"

namespace cow::fs {
namespace {

constexpr uint8_t kVersion = 1;

absl::Status NoData() { return ErrnoStatus(ENODATA, "no such attribute"); }

}  // namespace

std::string EncodeXattrs(const Xattrs& xattrs) {
  if (xattrs.empty()) return {};
  ByteWriter out;
  out.Put(kVersion);
  for (const auto& [name, value] : xattrs) {
    out.PutString(name).Put(static_cast<uint32_t>(value.size())).PutBytes(value);
  }
  return out.Take();
}

absl::StatusOr<Xattrs> DecodeXattrs(std::string_view bytes) {
  if (bytes.empty()) return Xattrs();
  ByteReader in(bytes);
  if (in.Get<uint8_t>() != kVersion) return Malformed("extended attributes of an unknown version");
  Xattrs xattrs;
  while (in.ok() && !in.at_end()) {
    std::string name(in.GetString());
    xattrs[std::move(name)] = std::string(in.GetBytes(in.Get<uint32_t>()));
  }
  if (!in.ok()) return Malformed("malformed extended attributes");
  return xattrs;
}

absl::StatusOr<Xattrs> State::LoadXattrs(const Inode& inode) {
  COW_ASSIGN_OR_RETURN(InodeRecord record, inode.Load());
  if (record.inline_kind == InodeRecord::Inline::kXattrs) return DecodeXattrs(record.inlined);
  if (record.xattrs == 0) return Xattrs();
  std::shared_ptr<store::Object> object;
  if (inode.object->read_only() && inode.id.in_snapshot()) {
    COW_ASSIGN_OR_RETURN(object, XattrsInSnapshot(inode, record));
  } else {
    COW_ASSIGN_OR_RETURN(auto table, TableOf(inode.id.tree));
    auto opened = table->Open(ObjectNumber(record.xattrs));
    // They went with the last name of the file.
    if (absl::IsNotFound(opened.status()) && record.nlink == 0) return Xattrs();
    COW_ASSIGN_OR_RETURN(object, std::move(opened));
  }
  if (object->size() > kMaxXattrTotal) return Malformed("too many extended attributes");
  std::string bytes(object->size(), '\0');
  COW_RETURN_IF_ERROR(object->Read(0, std::as_writable_bytes(std::span(bytes))).status());
  return DecodeXattrs(bytes);
}

absl::StatusOr<std::shared_ptr<store::Object>> State::XattrsInSnapshot(const Inode& inode,
                                                                       const InodeRecord& record) {
  COW_ASSIGN_OR_RETURN(auto version, TreeObject(inode.id.tree));
  if (version->is_tree()) {
    COW_ASSIGN_OR_RETURN(auto table, TableOf(inode.id.tree));
    return table->Open(ObjectNumber(record.xattrs));
  }
  COW_ASSIGN_OR_RETURN(auto snapshot, catalog_->Find(inode.id.snapshot()));
  if (!snapshot.has_value() || snapshot->xattrs == 0) return NotFound("no such snapshot");
  return versions().Open(ObjectNumber(snapshot->xattrs));
}

absl::Status State::StoreXattrs(store::Transaction& transaction, Inode& inode,
                                const std::string& bytes) {
  COW_ASSIGN_OR_RETURN(InodeRecord before, inode.Load());
  COW_ASSIGN_OR_RETURN(auto table, TableOf(inode.id.tree));
  const bool inlined =
      bytes.size() <= kMaxInline && before.inline_kind != InodeRecord::Inline::kLink;
  // A file without a name has no place in the table for one more object.
  if (!inlined && before.nlink == 0) return NotFound("the file was removed");
  std::shared_ptr<store::Object> object;
  if (before.xattrs != 0) {
    COW_ASSIGN_OR_RETURN(object, table->Open(ObjectNumber(before.xattrs)));
  }
  if (inlined) {
    if (object != nullptr) COW_RETURN_IF_ERROR(table->Remove(transaction, object));
    object = nullptr;
  } else {
    if (object == nullptr) {
      COW_ASSIGN_OR_RETURN(object, table->Create(transaction));
    }
    COW_RETURN_IF_ERROR(object->Write(transaction, 0, std::as_bytes(std::span(bytes))));
    COW_RETURN_IF_ERROR(object->Truncate(transaction, bytes.size()));
  }
  const timespec now = Now();
  return Change(transaction, inode, [&](InodeRecord& record) {
    record.xattrs = object == nullptr ? 0 : object->number().value();
    if (record.inline_kind != InodeRecord::Inline::kLink) {
      record.inline_kind =
          inlined && !bytes.empty() ? InodeRecord::Inline::kXattrs : InodeRecord::Inline::kNothing;
      record.inlined = inlined ? bytes : std::string();
    }
    record.ctime = now;
  });
}

absl::StatusOr<std::string> FileSystem::GetXattr(NodeId id, std::string_view name) {
  if (id.is_virtual() || id.is_stub()) return NoData();
  absl::ReaderMutexLock lock(&state_->names);
  COW_ASSIGN_OR_RETURN(auto inode, state_->GetInode(id));
  COW_ASSIGN_OR_RETURN(Xattrs xattrs, state_->LoadXattrs(*inode));
  const auto found = xattrs.find(name);
  if (found == xattrs.end()) return NoData();
  return std::move(found->second);
}

absl::StatusOr<std::vector<std::string>> FileSystem::ListXattrs(NodeId id) {
  std::vector<std::string> names;
  if (id.is_virtual() || id.is_stub()) return names;
  absl::ReaderMutexLock lock(&state_->names);
  COW_ASSIGN_OR_RETURN(auto inode, state_->GetInode(id));
  COW_ASSIGN_OR_RETURN(Xattrs xattrs, state_->LoadXattrs(*inode));
  for (const auto& [name, value] : xattrs) names.push_back(name);
  return names;
}

absl::Status FileSystem::SetXattr(NodeId id, std::string_view name, std::string_view value,
                                  XattrMode mode) {
  if (name.empty() || name.size() > kMaxName) {
    return ErrnoStatus(ERANGE, "names of attributes have 1 to 255 bytes");
  }
  if (value.size() > kMaxXattrValue) return ErrnoStatus(E2BIG, "attribute too large");
  State& state = *state_;
  absl::MutexLock lock(&state.names);
  COW_ASSIGN_OR_RETURN(auto inode, state.GetLive(id));
  COW_ASSIGN_OR_RETURN(Xattrs xattrs, state.LoadXattrs(*inode));
  const bool exists = xattrs.find(name) != xattrs.end();
  if (mode == XattrMode::kCreate && exists) return ErrnoStatus(EEXIST, "attribute exists");
  if (mode == XattrMode::kReplace && !exists) return NoData();
  xattrs[std::string(name)] = std::string(value);
  const std::string bytes = EncodeXattrs(xattrs);
  if (bytes.size() > kMaxXattrTotal) return ErrnoStatus(ENOSPC, "too many attributes");
  COW_ASSIGN_OR_RETURN(
      store::Transaction transaction,
      state.store->Begin(store::FramesToWrite(bytes.size()) + 3 * store::kFramesToChange));
  return state.StoreXattrs(transaction, *inode, bytes);
}

absl::Status FileSystem::RemoveXattr(NodeId id, std::string_view name) {
  State& state = *state_;
  absl::MutexLock lock(&state.names);
  COW_ASSIGN_OR_RETURN(auto inode, state.GetLive(id));
  COW_ASSIGN_OR_RETURN(Xattrs xattrs, state.LoadXattrs(*inode));
  const auto found = xattrs.find(name);
  if (found == xattrs.end()) return NoData();
  xattrs.erase(found);
  const std::string bytes = EncodeXattrs(xattrs);
  COW_ASSIGN_OR_RETURN(
      store::Transaction transaction,
      state.store->Begin(store::FramesToWrite(bytes.size()) + 3 * store::kFramesToChange,
                         /*use_reserve=*/true));
  return state.StoreXattrs(transaction, *inode, bytes);
}

}  // namespace cow::fs
