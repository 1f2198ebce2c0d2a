#include "fuse/control_server.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/fs/statistics.h"

namespace cow::fuse {
namespace {

using control::Command;
using control::Entry;
using control::Kind;
using control::Reply;

int64_t Nanoseconds(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

Kind KindOf(const fs::Attributes& attributes) {
  switch (attributes.type) {
    case fs::FileType::kRegular:
      return Kind::kFile;
    case fs::FileType::kDirectory:
      return attributes.tree_root ? Kind::kTree : Kind::kDirectory;
    case fs::FileType::kSymlink:
      return Kind::kLink;
    default:
      return Kind::kOther;
  }
}

bool HasVersions(const fs::Attributes& attributes) {
  return attributes.tree_root || attributes.type == fs::FileType::kRegular;
}

// Whether `path` is `top` or below it.
bool IsUnder(const std::string& path, const std::string& top) {
  return top.empty() || path == top || (path.starts_with(top) && path[top.size()] == '/');
}

std::string Trimmed(std::string path) {
  while (path.ends_with('/')) path.pop_back();
  path.erase(0, path.find_first_not_of('/'));
  return path;
}

}  // namespace

Entry ControlServer::EntryOf(const fs::SnapshotInfo& snapshot) {
  return {.path = snapshot.path,
          .name = snapshot.name,
          .kind = snapshot.of_tree ? Kind::kTree : Kind::kFile,
          .removed = snapshot.removed,
          .size = snapshot.size,
          .created_ns = Nanoseconds(snapshot.created)};
}

Reply ControlServer::Execute(const Request& request, const Caller& caller) {
  Reply reply;
  switch (request.command) {
    case Command::kPing:
      reply.info = Ping();
      return reply;
    case Command::kStatistics:
      reply.info = Ping();
      reply.statistics = fs::StatisticsOf<control::Statistics>(fs_.store());
      return reply;
    case Command::kList:
      return List(request, caller);
    case Command::kDefragment:
      return Defragment(request, caller);
    case Command::kStartCheck:
    case Command::kPollCheck:
      return Check(request, caller);
    default:
      break;
  }
  absl::StatusOr<Entry> entry = ExecuteOne(request, caller);
  reply.status = entry.status();
  if (entry.ok()) reply.Add(*std::move(entry));
  return reply;
}

absl::StatusOr<Entry> ControlServer::ExecuteOne(const Request& request, const Caller& caller) {
  switch (request.command) {
    case Command::kSnapshot:
      return TakeSnapshot(request, caller);
    case Command::kClone:
      return Clone(request, caller);
    case Command::kRollBack:
      return RollBack(request, caller);
    case Command::kRename:
      return Rename(request, caller);
    case Command::kDestroy:
      return Destroy(request, caller);
    case Command::kStat:
      return Stat(request, caller);
    case Command::kCreateTree:
      return CreateTree(request, caller);
    default:
      return MakeError(absl::StatusCode::kUnimplemented, EOPNOTSUPP,
                       "this cowfs does not know the command");
  }
}

control::Info ControlServer::Ping() const {
  const fs::VolumeSpace space = fs_.StatFs();
  return {.volume = volume_,
          .uuid = control::UuidText(fs_.store().uuid()),
          .process = static_cast<uint64_t>(getpid()),
          .total_bytes = space.total_bytes,
          .used_bytes = space.used_bytes,
          .available_bytes = space.available_bytes,
          .features = kernel_.Features()};
}

void ControlServer::WriteOut(fs::NodeId head, bool of_tree) {
  kernel_.WriteOut(nodes_.Select(
      true, [&](const fs::NodeId& id) { return of_tree ? id.tree == head.tree : id == head; }));
}

absl::StatusOr<Entry> ControlServer::TakeSnapshot(const Request& request, const Caller& caller) {
  COW_ASSIGN_OR_RETURN(const fs::Node node, Walk(fs_, caller, request.path));
  COW_RETURN_IF_ERROR(CheckOwner(caller, node.attributes));
  WriteOut(node.id, node.attributes.tree_root);
  COW_ASSIGN_OR_RETURN(const fs::SnapshotInfo snapshot, fs_.TakeSnapshot(node.id, request.name));
  COW_RETURN_IF_ERROR(fs_.Sync());
  return EntryOf(snapshot);
}

absl::StatusOr<fs::Attributes> ControlServer::OwnerAttributes(const fs::SnapshotInfo& snapshot) {
  return fs_.GetAttributes(snapshot.removed ? snapshot.node : snapshot.owner);
}

absl::StatusOr<fs::SnapshotInfo> ControlServer::Owned(const Request& request,
                                                      const Caller& caller) {
  // The directory that it is in must be open to the caller; the file itself may be gone.
  const std::string path = Trimmed(request.path);
  const size_t slash = path.rfind('/');
  const bool at_root = slash == std::string::npos;
  COW_ASSIGN_OR_RETURN(const fs::Node directory,
                       Walk(fs_, caller, at_root ? std::string() : path.substr(0, slash)));
  COW_RETURN_IF_ERROR(CheckRights(caller, directory.attributes, kExecute));
  COW_ASSIGN_OR_RETURN(fs::SnapshotInfo snapshot, fs_.FindSnapshot(path, request.name));
  COW_ASSIGN_OR_RETURN(const fs::Attributes owner, OwnerAttributes(snapshot));
  if (!Sees(caller.uid, directory.id, owner)) return ErrnoStatus(ENOENT, "no such snapshot");
  COW_RETURN_IF_ERROR(CheckOwner(caller, owner));
  if (!snapshot.removed || directory.id == fs::kDeletedDirectory) return snapshot;
  // Whoever repeats a command for the file that has the name now does not mean the one before it.
  const auto live = fs_.Lookup(directory.id, at_root ? path : path.substr(slash + 1));
  if (!live.ok()) return snapshot;
  return MakeError(
      absl::StatusCode::kNotFound, ENOENT,
      request.command == Command::kRollBack
          ? "another file has the name now; copy the snapshot over it to get its content back"
          : absl::StrCat("another file has the name now, without such a snapshot; that of the "
                         "one before it is ",
                         snapshot.deleted_path, "@", snapshot.name));
}

bool ControlServer::MayList(const fs::SnapshotInfo& snapshot, const Caller& caller) {
  const absl::StatusOr<fs::Attributes> owner = OwnerAttributes(snapshot);
  if (!owner.ok()) return false;  // destroyed meanwhile
  if (CheckOwner(caller, *owner).ok()) return true;
  const absl::StatusOr<fs::Node> node = Walk(
      fs_, caller,
      absl::StrCat(snapshot.path.empty() ? ".snapshots/" : snapshot.path + "@", snapshot.name));
  return node.ok() && node->id == snapshot.node &&
         CheckRights(caller, node->attributes, kRead).ok();
}

void ControlServer::ShowNew(fs::NodeId directory, const std::string& name) {
  const uint64_t number = nodes_.NumberOf(directory);
  if (number == 0) return;
  kernel_.DropEntry(number, name);
  kernel_.DropContent(number);
}

absl::StatusOr<Entry> ControlServer::Rename(const Request& request, const Caller& caller) {
  COW_ASSIGN_OR_RETURN(const fs::SnapshotInfo snapshot, Owned(request, caller));
  COW_ASSIGN_OR_RETURN(const fs::SnapshotInfo renamed,
                       fs_.RenameSnapshot(snapshot.number, request.target));
  COW_RETURN_IF_ERROR(fs_.Sync());
  return EntryOf(renamed);
}

absl::StatusOr<Entry> ControlServer::Destroy(const Request& request, const Caller& caller) {
  COW_ASSIGN_OR_RETURN(const fs::SnapshotInfo snapshot, Owned(request, caller));
  COW_RETURN_IF_ERROR(fs_.DestroySnapshot(snapshot.number));
  COW_RETURN_IF_ERROR(fs_.Sync());
  return EntryOf(snapshot);
}

absl::Status ControlServer::CheckOwnsTree(const Caller& caller, const fs::Node& root) {
  if (!root.id.in_snapshot()) return CheckOwner(caller, root.attributes);
  COW_ASSIGN_OR_RETURN(const fs::SnapshotInfo snapshot, fs_.GetSnapshot(root.id.snapshot()));
  COW_ASSIGN_OR_RETURN(const fs::Attributes owner, OwnerAttributes(snapshot));
  return CheckOwner(caller, owner);
}

absl::StatusOr<Entry> ControlServer::Clone(const Request& request, const Caller& caller) {
  COW_ASSIGN_OR_RETURN(const fs::Node source, Walk(fs_, caller, request.path));
  COW_RETURN_IF_ERROR(CheckRights(caller, source.attributes, kRead));
  // The clone of a tree holds other users' files as they are, set-uid programs among them.
  if (source.attributes.tree_root) COW_RETURN_IF_ERROR(CheckOwnsTree(caller, source));
  COW_ASSIGN_OR_RETURN(const auto target, WalkToNew(fs_, caller, request.target));
  const auto& [directory, name] = target;
  if (!source.id.in_snapshot()) WriteOut(source.id, source.attributes.tree_root);
  // What is made belongs to who makes it.
  std::optional<fs::CloneMaker> maker;
  if (caller.uid != 0) maker = {.uid = caller.uid, .gid = caller.gid};
  const absl::StatusOr<fs::Node> clone = fs_.Clone(source.id, directory.id, name, maker);
  // Whatever follows: the kernel may not go on with "not there", by which it checks no rights.
  ShowNew(directory.id, name);
  COW_RETURN_IF_ERROR(clone.status());
  COW_RETURN_IF_ERROR(fs_.Sync());
  return HeadEntry(Trimmed(request.target), *clone);
}

absl::StatusOr<Entry> ControlServer::CreateTree(const Request& request, const Caller& caller) {
  COW_ASSIGN_OR_RETURN(const auto target, WalkToNew(fs_, caller, request.path));
  const auto& [directory, name] = target;
  const absl::StatusOr<fs::Node> tree = fs_.CreateTree(
      directory.id, name,
      {.type = fs::FileType::kDirectory, .mode = 0755, .uid = caller.uid, .gid = caller.gid});
  ShowNew(directory.id, name);
  COW_RETURN_IF_ERROR(tree.status());
  COW_RETURN_IF_ERROR(fs_.Sync());
  return HeadEntry(Trimmed(request.path), *tree);
}

absl::StatusOr<Entry> ControlServer::HeadEntry(const std::string& path, const fs::Node& node) {
  Entry entry = {.path = path,
                 .kind = KindOf(node.attributes),
                 .size = node.attributes.type == fs::FileType::kRegular ? node.attributes.size : 0,
                 .created_ns = Nanoseconds(node.attributes.btime)};
  if (HasVersions(node.attributes) && !node.id.in_snapshot()) {
    COW_ASSIGN_OR_RETURN(entry.snapshots, fs_.CountSnapshots(node.id));
  }
  return entry;
}

absl::Status ControlServer::AddSpace(fs::NodeId id, Entry& entry) {
  const absl::StatusOr<fs::SpaceInfo> space = fs_.SpaceOf(id);
  // Mounted for reading, while another process writes the volume: all else is known.
  if (absl::IsUnavailable(space.status())) return absl::OkStatus();
  if (!space.ok()) return space.status();
  entry.has_space = true;
  entry.referenced = space->referenced;
  entry.exclusive = space->exclusive;
  return absl::OkStatus();
}

absl::StatusOr<Entry> ControlServer::Stat(const Request& request, const Caller& caller) {
  COW_ASSIGN_OR_RETURN(const fs::Node node, Walk(fs_, caller, request.path));
  Entry entry;
  bool counted = HasVersions(node.attributes);
  if (node.id.in_snapshot()) {
    COW_ASSIGN_OR_RETURN(const fs::SnapshotInfo snapshot, fs_.GetSnapshot(node.id.snapshot()));
    counted = snapshot.node == node.id;
    if (counted) {
      entry = EntryOf(snapshot);
    } else {
      COW_ASSIGN_OR_RETURN(entry, HeadEntry(Trimmed(request.path), node));
    }
  } else {
    COW_ASSIGN_OR_RETURN(entry, HeadEntry(Trimmed(request.path), node));
    if (counted) WriteOut(node.id, node.attributes.tree_root);
  }
  if (counted) COW_RETURN_IF_ERROR(AddSpace(node.id, entry));
  return entry;
}

absl::Status ControlServer::MayBeEmpty(const absl::StatusOr<fs::Node>& head, const Caller& caller) {
  if (!head.ok()) return head.status();
  if (CheckOwner(caller, head->attributes).ok()) return absl::OkStatus();
  return CheckRights(caller, head->attributes, kRead);
}

Reply ControlServer::List(const Request& request, const Caller& caller) {
  Reply reply;
  const std::string top = Trimmed(request.path);
  absl::StatusOr<std::vector<fs::SnapshotInfo>> all = fs_.ListSnapshots();
  const absl::StatusOr<fs::Node> head = Walk(fs_, caller, top);
  if (!all.ok()) reply.status = all.status();
  if (!head.ok() && ErrnoOf(head.status()) != ENOENT) reply.status = head.status();
  if (!reply.status.ok()) return reply;

  std::erase_if(*all, [&](const fs::SnapshotInfo& snapshot) {
    return !IsUnder(snapshot.path, top) ||
           (snapshot.removed && snapshot.path.empty() && !top.empty());
  });
  // By path, oldest first; so the cursor is a place in that order, kept as the number of the
  // snapshot that comes next.
  std::sort(all->begin(), all->end(), [](const auto& a, const auto& b) {
    return std::tie(a.path, a.number) < std::tie(b.path, b.number);
  });
  auto next = all->begin();
  if (request.cursor != 0) {
    next = std::find_if(all->begin(), all->end(), [&](const fs::SnapshotInfo& snapshot) {
      return snapshot.number == request.cursor;
    });
    if (next == all->end()) {
      reply.status = MakeError(absl::StatusCode::kAborted, EAGAIN,
                               "snapshots were destroyed meanwhile; list again");
    }
  }
  for (; next != all->end() && reply.status.ok(); ++next) {
    if (!MayList(*next, caller)) continue;
    Entry entry = EntryOf(*next);
    if (request.space) {
      const absl::Status counted = AddSpace(next->node, entry);
      if (!counted.ok() && ErrnoOf(counted) == ENOENT) continue;
      reply.status = counted;
    }
    if (!reply.Add(std::move(entry))) {
      reply.next = next->number;
      break;
    }
  }
  if (reply.entries.empty() && reply.status.ok() && request.cursor == 0) {
    reply.status = MayBeEmpty(head, caller);
  }
  return reply;
}

Reply ControlServer::Defragment(const Request& request, const Caller& caller) {
  Reply reply;
  reply.status = [&]() -> absl::Status {
    COW_ASSIGN_OR_RETURN(const fs::Node node, Walk(fs_, caller, request.path));
    COW_RETURN_IF_ERROR(CheckOwner(caller, node.attributes));
    COW_ASSIGN_OR_RETURN(fs::FileHandle file, fs_.OpenFile(node.id));
    constexpr uint64_t kStep = fs::FileHandle::kDefragmentStep;
    const uint64_t at = request.cursor / kStep * kStep;
    COW_ASSIGN_OR_RETURN(const auto step, file.Defragment(at, request.unshare));
    reply.defragmented = {.extents_before = step.extents_before,
                          .extents_after = step.extents_after,
                          .moved_bytes = step.moved_pages * kPageSize,
                          .shared_bytes = step.shared_pages * kPageSize,
                          .file_bytes = file.size()};
    if (at + kStep < file.size()) reply.next = at + kStep;
    return absl::OkStatus();
  }();
  return reply;
}

Reply ControlServer::Check(const Request& request, const Caller& caller) {
  Reply reply;
  const absl::StatusOr<fs::Attributes> root = fs_.GetAttributes(fs::kRoot);
  reply.status = root.ok() ? CheckOwner(caller, *root) : root.status();
  if (!reply.status.ok()) return reply;
  if (request.command == Command::kPollCheck) {
    return checker_.Poll(request.check_id, request.cursor);
  }
  const absl::StatusOr<control::CheckState> state = checker_.Start(request.rate);
  reply.status = state.status();
  if (state.ok()) reply.check = *state;
  return reply;
}

}  // namespace cow::fuse
