// Rolling back what is mounted: the kernel comes to see what the snapshot holds, and open files and
// maps with it.
#include <string>
#include <utility>
#include <vector>

#include "cow/base/status.h"
#include "fuse/control_server.h"

namespace cow::fuse {

absl::StatusOr<control::Entry> ControlServer::RollBack(const Request& request,
                                                       const Caller& caller) {
  COW_ASSIGN_OR_RETURN(const fs::SnapshotInfo snapshot, Owned(request, caller));
  if (!snapshot.of_tree) {
    // With the content comes its owner, and with that what the bits of its mode mean.
    COW_ASSIGN_OR_RETURN(const fs::Attributes then, fs_.GetAttributes(snapshot.node));
    COW_RETURN_IF_ERROR(CheckOwner(caller, then));
  }
  WriteOut(snapshot.owner, snapshot.of_tree);
  Names names;
  if (snapshot.of_tree) names = KnownNames(snapshot.owner.tree);
  const auto affected = [&] {
    return nodes_.Select(false, [&](const fs::NodeId& id) {
      return snapshot.of_tree ? id.tree == snapshot.owner.tree : id == snapshot.owner;
    });
  };
  fs::SnapshotInfo kept;
  {
    Rollbacks::Running running(rollbacks_, snapshot.owner, snapshot.of_tree);
    COW_ASSIGN_OR_RETURN(kept, fs_.RollBack(snapshot.number, [&] {
      if (snapshot.of_tree) RetireRemoved(snapshot.owner.tree);
    }));
    running.Succeeded();
    privileges_.Appeared();
    if (snapshot.of_tree) {
      DropNames(names);
      DropNames(KnownNames(snapshot.owner.tree));
    }
    for (const uint64_t number : affected()) kernel_.DropContent(number);
  }
  // Pages that came meanwhile, with stores that were ignored; all others are new ones by now.
  const std::vector<uint64_t> numbers = affected();
  for (const uint64_t number : numbers) kernel_.DropContent(number);
  kernel_.FetchAttributes(files_.OpenAmong(numbers));
  COW_RETURN_IF_ERROR(fs_.Sync());
  return EntryOf(kept);
}

void ControlServer::RetireRemoved(uint64_t tree) {
  for (const uint64_t number :
       nodes_.Select(false, [&](const fs::NodeId& id) { return id.tree == tree; })) {
    const std::optional<fs::NodeId> id = nodes_.Find(number);
    if (!id) continue;
    const absl::StatusOr<fs::Attributes> attributes = fs_.GetAttributes(*id);
    const bool removed =
        attributes.ok() ? attributes->nlink == 0 : absl::IsNotFound(attributes.status());
    if (removed) nodes_.Retire(number);
  }
}

ControlServer::Names ControlServer::KnownNames(uint64_t tree) {
  Names names;
  for (const uint64_t number :
       nodes_.Select(false, [&](const fs::NodeId& id) { return id.tree == tree; })) {
    const std::optional<fs::NodeId> id = nodes_.Find(number);
    if (!id) continue;
    const absl::StatusOr<fs::Attributes> attributes = fs_.GetAttributes(*id);
    if (!attributes.ok() || attributes->type != fs::FileType::kDirectory) continue;
    // A directory that cannot be read has no names to be dropped either.
    fs_.ReadDirectory(*id, 0,
                      [&](const fs::DirectoryEntry& entry) {
                        names.emplace_back(number, entry.name);
                        return true;
                      })
        .IgnoreError();
  }
  return names;
}

void ControlServer::DropNames(const Names& names) {
  for (const auto& [directory, name] : names) kernel_.DropEntry(directory, name);
}

}  // namespace cow::fuse
