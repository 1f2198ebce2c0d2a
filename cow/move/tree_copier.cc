#include "cow/move/tree_copier.h"

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/store/strays.h"

namespace cow::move {
namespace {

constexpr uint64_t kRootObject = 1;

absl::Status TwoNames() {
  return MakeError(absl::StatusCode::kDataLoss, EIO, "it has another name, and is copied there");
}

std::string Range(std::string_view what, uint64_t begin, uint64_t end) {
  return absl::StrCat(absl::string_view(what.data(), what.size()), " ", begin, " to ", end);
}

}  // namespace

const std::string* TreeCopier::PathOf(fs::NodeId id) const {
  const auto found = paths_.find(id);
  return found == paths_.end() ? nullptr : &found->second;
}

absl::StatusOr<fs::InodeRecord> TreeCopier::RecordOf(const Tree& tree, uint64_t number) const {
  COW_ASSIGN_OR_RETURN(const auto found, tree.table.Open(number));
  return RecordOf(tree, *found.object);
}

absl::StatusOr<fs::InodeRecord> TreeCopier::RecordOf(const Tree& tree,
                                                     const store::Object& object) {
  COW_ASSIGN_OR_RETURN(fs::InodeRecord record, fs::InodeRecord::Decode(object.attributes()));
  if (tree.strays == nullptr) return record;
  // Nothing vouches for the record, which a user may have written: it grants nothing.
  record.mode &= 0777;
  if (record.type == fs::FileType::kCharacterDevice || record.type == fs::FileType::kBlockDevice) {
    return MakeError(absl::StatusCode::kDataLoss, EIO, "a device that nothing vouches for");
  }
  return record;
}

Copier::XattrsObject TreeCopier::XattrsOf(const Tree& tree, const fs::InodeRecord& record) const {
  if (record.xattrs == 0) return nullptr;
  COW_ASSIGN_OR_RETURN(auto found, tree.table.Open(record.xattrs));
  return std::move(found.object);
}

// `path`: of the directory, to report what is lost of it; nullptr: not this time.
std::vector<fs::NamedEntry> TreeCopier::EntriesOf(const Tree& tree, const store::Object& object,
                                                  const std::string* path) {
  bool lost = false;
  const auto lose = [&](uint64_t begin, uint64_t end, const absl::Status& cause) {
    lost = lost_names_ = true;
    if (path != nullptr) copier_.Lose(*path, Range("names in bytes", begin, end), cause);
  };
  absl::StatusOr<std::vector<fs::NamedEntry>> entries = fs::Directory::Remains(object, lose);
  if (!entries.ok()) {
    lose(0, object.size(), entries.status());
    entries.emplace();
  }
  if (lost) AddNamesBefore(tree, object.number(), *entries);
  std::ranges::sort(*entries, {}, &fs::NamedEntry::name);  // the same each time
  return *std::move(entries);
}

void TreeCopier::AddNamesBefore(const Tree& tree, ObjectNumber directory,
                                std::vector<fs::NamedEntry>& entries) {
  const auto before = tree.table.OpenBefore(directory.value());
  if (before == nullptr) return;
  const auto older = fs::Directory::Remains(*before, [](uint64_t, uint64_t, const auto&) {});
  if (!older.ok()) return;
  absl::flat_hash_set<std::string> names;
  absl::flat_hash_set<std::pair<bool, uint64_t>> targets;
  for (const fs::NamedEntry& entry : entries) {
    names.insert(entry.name);
    targets.insert({entry.tree, entry.object});
  }
  for (const fs::NamedEntry& entry : *older) {
    if (names.contains(entry.name) || targets.contains({entry.tree, entry.object})) continue;
    // What was removed since is not lost.
    if (!entry.tree && absl::IsNotFound(tree.table.Open(entry.object).status())) continue;
    entries.push_back(entry);
  }
}

absl::Status TreeCopier::FindTrees() {
  const auto lose = [this](uint64_t begin, uint64_t count, const absl::Status& cause, bool older) {
    lost_names_ = true;
    const std::string part = Range("trees", begin, begin + count - 1);
    older ? copier_.LoseChanges("/", part, cause) : copier_.Lose("/", part, cause);
  };
  const auto find = [&](uint64_t number) -> absl::Status {
    COW_ASSIGN_OR_RETURN(auto found, list_.Open(number));
    COW_ASSIGN_OR_RETURN(auto table, store_.OpenTree(found.object));
    const auto open_before = [this, number]() -> TableRemains::TablePointer {
      const auto before = list_.OpenBefore(number);
      return before == nullptr ? nullptr : store_.OpenTree(before).value_or(nullptr);
    };
    trees_.emplace(number, Tree{.number = number,
                                .live = true,
                                .object = std::move(found.object),
                                .table = TableRemains(std::move(table), open_before),
                                .path = absl::StrCat("tree ", number),
                                .lost = std::move(found.lost)});
    return absl::OkStatus();
  };
  return list_.Survey(
      [&](uint64_t number) {
        if (const absl::Status found = find(number); !found.ok()) lose(number, 1, found, false);
      },
      lose);
}

absl::Status TreeCopier::CopyLive(const Place& place) {
  COW_RETURN_IF_ERROR(FindTrees());
  paths_[fs::kRoot] = "";
  lost_.above = place;
  if (const auto root = trees_.find(fs::kRoot.tree); root == trees_.end()) {
    COW_RETURN_IF_ERROR(MakeDirectory(place.host, 0777));
  } else {
    COW_RETURN_IF_ERROR(OpenRoot(root->second, place).status());
    if (!stack_.empty()) COW_RETURN_IF_ERROR(Fill(0));
  }
  // What has no name may itself lead to other trees; those that still were not reached then have
  // no name either.
  absl::flat_hash_set<uint64_t> done;
  const auto copy_rest = [&]() -> absl::Status {
    for (bool more = true; std::exchange(more, false);) {
      for (auto& [number, tree] : trees_) {
        if (!tree.reached || !done.insert(number).second) continue;
        COW_RETURN_IF_ERROR(CopyNameless(tree, lost_));
        more = true;
      }
    }
    return absl::OkStatus();
  };
  COW_RETURN_IF_ERROR(copy_rest());
  for (auto& [number, tree] : trees_) {
    if (tree.reached) continue;
    COW_RETURN_IF_ERROR(CopyTo(lost_, tree, kRootObject));
    COW_RETURN_IF_ERROR(copy_rest());
  }
  if (!stack_.empty()) {
    root_ = std::move(stack_.back());
    stack_.pop_back();
  }
  return absl::OkStatus();
}

absl::Status TreeCopier::FinishLive() {
  if (!root_.has_value()) return absl::OkStatus();
  stack_.push_back(*std::exchange(root_, std::nullopt));
  return FinishTop(0);
}

absl::StatusOr<Outcome> TreeCopier::CopySnapshot(uint64_t number,
                                                 std::shared_ptr<store::Object> version,
                                                 const Place& place) {
  COW_ASSIGN_OR_RETURN(auto table, store_.OpenTree(version));
  Tree tree{.number = number,
            .object = std::move(version),
            .table = TableRemains(std::move(table), {}),  // what never changes has no other
            .path = place.path};
  return CopyWhole(tree, place);
}

absl::StatusOr<Outcome> TreeCopier::CopyWhole(Tree& tree, const Place& place) {
  LostAndFound lost{.above = place};
  COW_ASSIGN_OR_RETURN(const Outcome outcome, OpenRoot(tree, place));
  if (outcome != Outcome::kCopied) return outcome;
  if (!stack_.empty()) COW_RETURN_IF_ERROR(Fill(0));
  COW_RETURN_IF_ERROR(CopyNameless(tree, lost));
  COW_RETURN_IF_ERROR(FinishTop(0));
  return outcome;
}

absl::StatusOr<Outcome> TreeCopier::OpenRoot(Tree& tree, const Place& place) {
  const size_t depth = stack_.size();
  tree.path = place.path;
  COW_ASSIGN_OR_RETURN(Outcome outcome, CopyObject(tree, kRootObject, place));
  tree.reached = tree.reached || outcome != Outcome::kRefused;
  if (!tree.lost.ok()) copier_.LoseChanges(place.path, "", std::exchange(tree.lost, {}));
  if (outcome == Outcome::kLost && stack_.size() == depth && IsFree(place.host)) {
    COW_RETURN_IF_ERROR(MakeDirectory(place.host, 0777));
    outcome = Outcome::kCopied;
  }
  return outcome;
}

absl::Status TreeCopier::Fill(size_t depth) {
  for (;;) {
    Open& top = stack_.back();
    if (top.next < top.entries.size()) {
      const fs::NamedEntry entry = std::move(top.entries[top.next++]);
      COW_RETURN_IF_ERROR(CopyEntry(top, entry));
      continue;
    }
    if (stack_.size() == depth + 1) return absl::OkStatus();
    COW_RETURN_IF_ERROR(FinishTop(stack_.size() - 1));
  }
}

absl::Status TreeCopier::FinishTop(size_t depth) {
  if (stack_.size() <= depth) return absl::OkStatus();
  const Open top = std::move(stack_.back());
  stack_.pop_back();
  return copier_.Finish(top.record, XattrsOf(*top.tree, top.record), top.place);
}

absl::Status TreeCopier::CopyEntry(const Open& directory, const fs::NamedEntry& entry) {
  const Place place = directory.place.Below(entry.name);
  if (entry.tree) return CopyNestedTree(directory, entry, place);
  Remember(*directory.tree, directory.number, entry, place.path);
  return CopyObject(*directory.tree, entry.object, place).status();
}

absl::Status TreeCopier::CopyNestedTree(const Open& directory, const fs::NamedEntry& entry,
                                        const Place& place) {
  const auto copy_stub = [&]() -> absl::Status {
    COW_ASSIGN_OR_RETURN(const Outcome outcome, copier_.CopyDirectory(place));
    if (outcome != Outcome::kCopied) return absl::OkStatus();
    fs::InodeRecord stub = directory.record;
    stub.xattrs = 0;
    stub.inline_kind = fs::InodeRecord::Inline::kNothing;
    return copier_.Finish(stub, nullptr, place);
  };
  if (!directory.tree->live) return copy_stub();
  const auto found = trees_.find(entry.object);
  if (found == trees_.end()) {
    // Gone, where the table says so; else it may have been any.
    const absl::Status status = list_.Open(entry.object).status();
    if (absl::IsNotFound(status)) return copy_stub();
    copier_.Lose(place.path, "", status);
    return absl::OkStatus();
  }
  Tree& tree = found->second;
  const absl::StatusOr<fs::TreeRecord> record = fs::TreeRecord::Decode(tree.object->attributes());
  if (!record.ok()) {
    copier_.Lose(place.path, "", record.status());
    return absl::OkStatus();
  }
  if (record->parent_tree != directory.tree->number || record->parent != directory.number ||
      record->position != entry.position) {
    return copy_stub();
  }
  if (tree.reached) {
    copier_.Lose(place.path, "", TwoNames());
    return absl::OkStatus();
  }
  const fs::NodeId root = {tree.number, kRootObject};
  if (wanted_.contains(root)) paths_[root] = place.path.substr(1);
  return OpenRoot(tree, place).status();
}

void TreeCopier::Remember(const Tree& tree, uint64_t directory, const fs::NamedEntry& entry,
                          const std::string& path) {
  const fs::NodeId id = {tree.number, entry.object};
  if (!tree.live || !wanted_.contains(id)) return;
  const auto [known, added] = paths_.try_emplace(id, path.substr(1));
  if (added) return;
  // Of several names the last that was made, as ever.
  const absl::StatusOr<fs::InodeRecord> record = RecordOf(tree, entry.object);
  if (record.ok() && record->parent == directory && record->position == entry.position) {
    known->second = path.substr(1);
  }
}

absl::StatusOr<Outcome> TreeCopier::CopyObject(Tree& tree, uint64_t number, const Place& place) {
  const absl::StatusOr<TableRemains::Found> found = tree.table.Open(number);
  absl::StatusOr<fs::InodeRecord> record =
      found.ok() ? RecordOf(tree, *found->object) : found.status();
  if (!record.ok()) {
    tree.seen.insert(number);
    lost_names_ = true;  // it may have been a directory
    copier_.Lose(place.path, "", record.status());
    return Outcome::kLost;
  }
  if (record->is_directory()) {
    if (tree.seen.contains(number)) {
      copier_.Lose(place.path, "", TwoNames());
      return Outcome::kLost;
    }
    COW_ASSIGN_OR_RETURN(const Outcome outcome, copier_.CopyDirectory(place));
    if (outcome != Outcome::kRefused) tree.seen.insert(number);
    if (outcome == Outcome::kCopied) {
      if (!found->lost.ok()) copier_.LoseChanges(place.path, "", found->lost);
      std::vector<fs::NamedEntry> entries = EntriesOf(tree, *found->object, &place.path);
      stack_.push_back(
          {&tree, number, found->object, *std::move(record), place, std::move(entries)});
    }
    return outcome;
  }
  Outcome outcome = Outcome::kLost;
  if (const auto first = tree.linked.find(number); first != tree.linked.end()) {
    COW_ASSIGN_OR_RETURN(const bool linked, copier_.CopyHardLink(first->second.host, place));
    if (linked) {
      outcome = Outcome::kCopied;
      copier_.LoseAlso(first->second.first_loss, first->second.end_loss, place.path);
    }
  }
  const size_t first_loss = copier_.result.losses.size();
  if (outcome != Outcome::kCopied && tree.strays != nullptr &&
      !tree.strays->Claim(*found->object)) {
    tree.seen.insert(number);
    return Outcome::kCopied;  // elsewhere
  }
  if (outcome != Outcome::kCopied) {
    if (!found->lost.ok()) copier_.LoseChanges(place.path, "", found->lost);
    COW_ASSIGN_OR_RETURN(outcome,
                         copier_.Copy(*found->object, *record, XattrsOf(tree, *record), place,
                                      [&] { return tree.table.OpenBefore(number); }));
  }
  // What the host would not call by this name is tried once more, as one without a name.
  if (outcome != Outcome::kRefused) tree.seen.insert(number);
  if (outcome == Outcome::kCopied) {
    if (tree.live || tree.strays != nullptr) ++copier_.result.files;
    if (record->nlink > 1) {
      tree.linked.try_emplace(number, First{place.host, first_loss, copier_.result.losses.size()});
    }
  }
  return outcome;
}

absl::Status TreeCopier::CopyNameless(Tree& tree, LostAndFound& lost) {
  std::vector<uint64_t> rest;
  std::vector<uint64_t> directories;
  absl::flat_hash_set<uint64_t> named;  // by directories that have no name themselves
  const auto take = [&](uint64_t number) {
    if (tree.seen.contains(number)) return;
    const auto found = tree.table.Open(number);
    // The bytes of extended attributes have no attributes, and come with what they belong to.
    if (found.ok() && found->object->attributes().empty()) return;
    rest.push_back(number);
    const absl::StatusOr<fs::InodeRecord> record = RecordOf(tree, number);
    if (!record.ok() || !record->is_directory()) return;
    directories.push_back(number);
    for (const fs::NamedEntry& entry : EntriesOf(tree, *found->object, nullptr)) {
      if (!entry.tree) named.insert(entry.object);
    }
  };
  const auto lose = [&](uint64_t begin, uint64_t count, const absl::Status& cause, bool older) {
    const std::string part = Range("objects", begin, begin + count - 1);
    older ? copier_.LoseChanges(tree.path, part, cause) : copier_.Lose(tree.path, part, cause);
  };
  COW_RETURN_IF_ERROR(tree.table.Survey(take, lose));
  // Those that no other leads to, with what is in them; then what is left, if they form a ring.
  for (const uint64_t number : directories) {
    if (!named.contains(number)) COW_RETURN_IF_ERROR(CopyTo(lost, tree, number));
  }
  for (const uint64_t number : rest) {
    if (!tree.seen.contains(number)) COW_RETURN_IF_ERROR(CopyTo(lost, tree, number));
  }
  return absl::OkStatus();
}

absl::StatusOr<Place> TreeCopier::PlaceWithoutName(LostAndFound& lost, const std::string& name) {
  for (int i = 0; !lost.made.has_value(); ++i) {
    // Something of the volume may have that name.
    const Place place = lost.above.Below("lost+found" + (i == 0 ? "" : absl::StrCat(".", i)));
    const absl::Status made = MakeDirectory(place.host, 0777);
    if (made.ok()) lost.made = place;
    if (!made.ok() && ErrnoOf(made) != EEXIST) return made;
  }
  const Place place = lost.made->Below(name);
  copier_.Lose(place.path, "its name", NoName());
  return place;
}

absl::Status TreeCopier::CopyTo(LostAndFound& lost, Tree& tree, uint64_t number) {
  COW_ASSIGN_OR_RETURN(const Place place,
                       PlaceWithoutName(lost, absl::StrCat(tree.number, ".", number)));
  if (const fs::NodeId id = {tree.number, number}; tree.live && wanted_.contains(id)) {
    paths_[id] = place.path.substr(1);
  }
  const size_t depth = stack_.size();
  COW_RETURN_IF_ERROR(
      (number == kRootObject ? OpenRoot(tree, place) : CopyObject(tree, number, place)).status());
  if (number == kRootObject) tree.reached = true;
  if (stack_.size() > depth) COW_RETURN_IF_ERROR(Fill(depth));
  return FinishTop(depth);
}

}  // namespace cow::move
