// Check: what the store finds, by the names that people know; and every directory, link count,
// parent and entry of the catalog. All of it as it was at one moment: nobody waits.
#include <algorithm>
#include <cerrno>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/fs/state.h"

namespace cow::fs {
namespace {

constexpr size_t kMaxDamages = 1000;
constexpr uint64_t kCatalogIndex = 1;

// "/a/b", "/a@monday/b"; what has no name, or none that can be read, goes by its numbers.
std::string Words(State& state, NodeId id) ABSL_SHARED_LOCKS_REQUIRED(state.names) {
  const absl::StatusOr<std::string> path = state.AnyPathOf(id);
  if (path.ok()) return absl::StrCat("/", *path);
  if (id.in_snapshot()) return absl::StrCat("snapshot ", id.snapshot(), ", object ", id.object);
  return absl::StrCat("tree ", id.tree, ", object ", id.object);
}

std::string PartWords(State& state, const store::Place& place)
    ABSL_SHARED_LOCKS_REQUIRED(state.names) {
  using Part = store::Place::Part;
  switch (place.part) {
    case Part::kVolume:
      return "the volume";
    case Part::kOrphans:
      return "files that were removed while open";
    case Part::kTrees:
      if (!place.object.has_value()) return "the table of trees";
      if (!place.member.has_value()) {
        return absl::StrCat("the files of tree ",
                            Words(state, {place.object->value(), kRootObject}));
      }
      return Words(state, {place.object->value(), place.member->value()});
    case Part::kCatalog: {
      if (!place.object.has_value()) return "the catalog of snapshots";
      if (place.object->value() == kCatalogIndex) return "the index of snapshots";
      const auto record = state.RecordOf(place.object->value());
      if (!record.ok()) return absl::StrCat("snapshot ", place.object->value());
      NodeId node = State::NodeOfSnapshot(*record);
      if (place.member.has_value()) node.object = place.member->value();
      return Words(state, node);
    }
  }
  return "the volume";
}

std::string PlaceWords(State& state, const store::Place& place)
    ABSL_SHARED_LOCKS_REQUIRED(state.names) {
  std::string words = PartWords(state, place);
  if (place.page.has_value()) {
    absl::StrAppend(&words, ", page ", place.page->value(), " (at byte ", OffsetOf(*place.page),
                    ")");
  }
  return words;
}

}  // namespace

// One check of a state that does not change. `go_on` is asked now and then; where it answers false,
// what was found until then is the result.
class NameCheck {
 public:
  NameCheck(State& state, const std::function<bool()>& go_on) : state_(state), go_on_(go_on) {}

  std::vector<Damage> Run() {
    absl::ReaderMutexLock lock(&state_.names);
    for (uint64_t number = 1;; ++number) {
      const auto next = state_.trees().NextObject(ObjectNumber(number));
      if (!next.ok()) Report("the table of trees", next.status());
      if (!next.ok() || !next->has_value()) break;
      number = (*next)->value();
      CheckTree(number);
    }
    CheckCatalog();
    return std::move(damages_);
  }

 private:
  // What was found of an object of a tree.
  struct Seen {
    uint64_t names = 0;        // entries that name it
    uint64_t directories = 0;  // of a directory: in it
    bool listed = false;
    FileType type = FileType::kRegular;
    uint64_t parent = 0;  // the last entry that names it
    uint64_t position = 0;
  };
  using Objects = absl::flat_hash_map<uint64_t, Seen>;

  void Report(std::string where, std::string what) {
    if (damages_.size() < kMaxDamages) damages_.push_back({std::move(where), std::move(what)});
  }
  void Report(std::string where, const absl::Status& status) {
    Report(std::move(where), std::string(status.message()));
  }
  std::string Where(uint64_t tree, uint64_t object) ABSL_SHARED_LOCKS_REQUIRED(state_.names) {
    return Words(state_, {tree, object});
  }

  void CheckTree(uint64_t tree) ABSL_SHARED_LOCKS_REQUIRED(state_.names) {
    const std::string where = absl::StrCat("tree ", tree);
    CheckTreeRecord(tree, where);
    Objects objects;
    objects[kRootObject] = {.names = 1, .type = FileType::kDirectory};
    std::vector<uint64_t> directories = {kRootObject};
    while (!directories.empty() && go_on_()) {
      const uint64_t directory = directories.back();
      directories.pop_back();
      ListDirectory(tree, directory, objects, directories);
    }
    std::set<uint64_t> xattrs;
    for (const auto& [object, seen] : objects) {
      if (!go_on_()) return;
      CheckInode(tree, object, seen, xattrs);
    }
    auto table = state_.TableOf(tree);
    if (!table.ok()) return Report(where, table.status());
    for (uint64_t number = 1;; ++number) {
      auto next = (*table)->NextObject(ObjectNumber(number));
      if (!next.ok()) return Report(where, next.status());
      if (!next->has_value()) return;
      number = (*next)->value();
      if (!objects.contains(number) && !xattrs.contains(number)) {
        Report(Where(tree, number), "no name leads to it");
      }
    }
  }

  void CheckTreeRecord(uint64_t tree, const std::string& where)
      ABSL_SHARED_LOCKS_REQUIRED(state_.names) {
    if (tree == kRoot.tree) return;
    auto record = state_.LoadTree(tree);
    if (!record.ok()) return Report(where, record.status());
    auto path = state_.PathOf({tree, kRootObject});
    if (!path.ok()) Report(where, absl::StrCat("has no path: ", path.status().message()));
    auto nested = state_.catalog().Nested(record->parent_tree);
    if (!nested.ok()) return Report(where, nested.status());
    if (std::ranges::find(*nested, tree) == nested->end()) {
      Report(where, "is not noted as nested in its parent");
    }
  }

  void ListDirectory(uint64_t tree, uint64_t directory, Objects& objects,
                     std::vector<uint64_t>& directories) ABSL_SHARED_LOCKS_REQUIRED(state_.names) {
    if (objects[directory].listed) return;
    objects[directory].listed = true;
    const auto where = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return Where(tree, directory); };
    auto inode = state_.GetInode({tree, directory});
    if (!inode.ok()) return Report(where(), inode.status());
    auto entries = state_.OpenDirectory(**inode);
    absl::Status status = entries.ok() ? entries->Check() : entries.status();
    if (!status.ok()) return Report(where(), status);
    status = entries->Scan(0, [&](const NamedEntry& entry) {
      if (entry.is_directory()) ++objects[directory].directories;
      if (entry.tree) return true;
      Seen& seen = objects[entry.object];
      if (seen.names++ > 0 && (seen.type != entry.type || entry.is_directory())) {
        Report(where(), absl::StrCat("entry ", entry.position, " names what has another name"));
      }
      seen.type = entry.type;
      seen.parent = directory;
      seen.position = entry.position;
      if (entry.is_directory()) directories.push_back(entry.object);
      return true;
    });
    if (!status.ok()) Report(where(), status);
  }

  void CheckInode(uint64_t tree, uint64_t object, const Seen& seen, std::set<uint64_t>& xattrs)
      ABSL_SHARED_LOCKS_REQUIRED(state_.names) {
    // Paths are looked up only for what is wrong.
    const auto where = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return Where(tree, object); };
    auto inode = state_.GetInode({tree, object});
    if (!inode.ok()) return Report(where(), inode.status());
    auto record = (*inode)->Load();
    if (!record.ok()) return Report(where(), record.status());
    if (record->type != seen.type) Report(where(), "has another type than its entry");
    const uint64_t links = seen.type == FileType::kDirectory ? 2 + seen.directories : seen.names;
    if (record->nlink != links) {
      Report(where(), absl::StrCat("has ", record->nlink, " links, but ", links, " were found"));
    }
    if (seen.type == FileType::kDirectory && object != kRootObject &&
        (record->parent != seen.parent || record->position != seen.position)) {
      Report(where(), "does not know the entry that names it");
    }
    if (record->xattrs == 0) return;
    if (!xattrs.insert(record->xattrs).second) {
      Report(where(), "shares the object of its extended attributes");
    }
    auto table = state_.TableOf(tree);
    if (!table.ok()) return Report(where(), table.status());
    auto opened = (*table)->Open(ObjectNumber(record->xattrs));
    if (!opened.ok()) Report(where(), "its extended attributes are missing");
  }

  void CheckCatalog() ABSL_SHARED_LOCKS_REQUIRED(state_.names) {
    auto records =
        state_.catalog().Check([this](std::string what) { Report("catalog", std::move(what)); });
    if (!records.ok()) return Report("catalog", records.status());
    std::set<uint64_t> known = {1};
    for (const SnapshotRecord& record : *records) {
      const std::string where = absl::StrCat("snapshot ", record.number);
      known.insert(record.number);
      if (record.xattrs != 0) known.insert(record.xattrs);
      auto node = state_.NodeOf(State::NodeOfSnapshot(record));
      if (!node.ok()) {
        Report(where, node.status());
      } else if (node->attributes.tree_root != record.owner.is_tree()) {
        Report(where, "is of another kind than its owner");
      }
    }
    for (uint64_t number = 1;; ++number) {
      auto next = state_.versions().NextObject(ObjectNumber(number));
      if (!next.ok()) return Report("catalog", next.status());
      if (!next->has_value()) return;
      number = (*next)->value();
      if (!known.contains(number)) {
        Report(absl::StrCat("catalog, object ", number), "no snapshot leads to it");
      }
    }
  }

  State& state_;
  const std::function<bool()>& go_on_;
  std::vector<Damage> damages_;
};

absl::StatusOr<CheckResult> FileSystem::Check(const store::CheckProgress& progress) {
  COW_ASSIGN_OR_RETURN(std::shared_ptr<store::PinnedGeneration> pinned, store().PinForCheck());
  COW_ASSIGN_OR_RETURN(store::CheckResult frames, pinned->Check(progress));
  CheckResult result = {.damages = {}, .frames_checked = frames.frames_checked};
  State then(state_->store, pinned, state_->options);
  const absl::Status loaded = then.Load();
  {
    State& names = loaded.ok() ? then : *state_;
    absl::ReaderMutexLock lock(&names.names);
    for (store::Damage& damage : frames.damages) {
      result.damages.push_back({PlaceWords(names, damage.place), std::move(damage.what)});
    }
  }
  if (!loaded.ok()) {
    result.damages.push_back({"the volume", std::string(loaded.message())});
    return result;
  }
  bool ended = false;
  const std::function<bool()> go_on = [&] {
    ended = ended || (progress && !progress(frames.frames_checked, frames.frames_checked));
    return !ended;
  };
  const std::vector<Damage> names = NameCheck(then, go_on).Run();
  if (ended) return MakeError(absl::StatusCode::kCancelled, ECANCELED, "the check was ended");
  result.damages.insert(result.damages.end(), names.begin(), names.end());
  return result;
}

}  // namespace cow::fs
