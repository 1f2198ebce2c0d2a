// Copies trees: the directories that can be reached from their roots, and after them what no name
// leads to that can be read.
//
// Invariant: every object of a tree that can be read is copied once, or once for each of its names
// where the host takes no hard links.
//
// Directories are kept on a stack of our own: how deep they go is up to the volume.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "cow/fs/directory.h"
#include "cow/fs/inode.h"
#include "cow/fs/node.h"
#include "cow/move/copier.h"
#include "cow/move/table_remains.h"
#include "cow/store/store.h"
#include "cow/store/strays.h"

namespace cow::move {

class TreeCopier {
 public:
  TreeCopier(store::Store& store, Copier& copier)
      : store_(store),
        copier_(copier),
        list_(TableRemains::Of(store.trees(), store.trees_before())) {}

  // Remember the path of a live node, when CopyLive comes to it.
  void Want(fs::NodeId id) { wanted_.insert(id); }
  // Without a slash in front, "" for the root; nullptr where no name was found.
  const std::string* PathOf(fs::NodeId id) const;
  // Some live names are lost: what has a name now may be unknown.
  bool lost_names() const { return lost_names_; }

  // All live trees; `place` is that of the root, which FinishLive gives its attributes.
  absl::Status CopyLive(const Place& place);
  // A snapshot of a tree. `number` is what its objects without a name are called after.
  absl::StatusOr<Outcome> CopySnapshot(uint64_t number, std::shared_ptr<store::Object> version,
                                       const Place& place);
  // What nothing leads to, if nodes cannot be read. After all else.
  absl::Status CopyStrays();
  absl::Status FinishLive();

 private:
  // The copy of an object by its first name, and which losses are of it.
  struct First {
    std::string host;
    size_t first_loss = 0;
    size_t end_loss = 0;
  };
  struct Tree {
    uint64_t number = 0;
    bool live = false;
    bool reached = false;  // its root was copied, or is lost
    std::shared_ptr<store::Object> object = {};
    TableRemains table;
    std::string path = {};                 // of its root, for messages
    absl::Status lost = absl::OkStatus();  // why all of it is as it was before the last commit
    // Where nothing leads to it: what of its content something else leads to is not copied again.
    store::Strays* strays = nullptr;
    // Objects that names lead to.
    absl::flat_hash_set<uint64_t> seen = {};
    // Those with several names.
    absl::flat_hash_map<uint64_t, First> linked = {};
  };
  // That is being copied.
  struct Open {
    Tree* tree;
    uint64_t number;
    std::shared_ptr<store::Object> object;
    fs::InodeRecord record;
    Place place;
    std::vector<fs::NamedEntry> entries;
    size_t next = 0;
  };
  // The directory for what has no name, made when it is needed.
  struct LostAndFound {
    Place above;
    std::optional<Place> made = {};
  };

  // In copy_strays.cc.
  absl::Status CopyStray(store::Strays& strays, const store::Strays::Stray& stray);
  absl::Status CopyStrayTree(Tree& tree, const std::string& name);
  absl::Status CopyStrayObject(Tree& tree, uint64_t number, const std::string& name);

  absl::Status FindTrees();
  // The root of a tree, without what is in it, which is on the stack then; where it cannot be read,
  // a directory for what else there is.
  absl::StatusOr<Outcome> OpenRoot(Tree& tree, const Place& place);
  // Fills the directory at `depth` of the stack and all below it, which are finished then.
  absl::Status Fill(size_t depth);
  // Finishes what is at `depth` of the stack, if that is there.
  absl::Status FinishTop(size_t depth);
  absl::Status CopyEntry(const Open& directory, const fs::NamedEntry& entry);
  absl::Status CopyNestedTree(const Open& directory, const fs::NamedEntry& entry,
                              const Place& place);
  absl::StatusOr<Outcome> CopyObject(Tree& tree, uint64_t number, const Place& place);
  absl::Status CopyNameless(Tree& tree, LostAndFound& lost);
  absl::Status CopyTo(LostAndFound& lost, Tree& tree, uint64_t number);
  // A place in it, reported as one without a name.
  absl::StatusOr<Place> PlaceWithoutName(LostAndFound& lost, const std::string& name);
  // All that its root leads to, and then what else is in it. Nothing is on the stack.
  absl::StatusOr<Outcome> CopyWhole(Tree& tree, const Place& place);
  absl::StatusOr<fs::InodeRecord> RecordOf(const Tree& tree, uint64_t number) const;
  static absl::StatusOr<fs::InodeRecord> RecordOf(const Tree& tree, const store::Object& object);
  std::vector<fs::NamedEntry> EntriesOf(const Tree& tree, const store::Object& object,
                                        const std::string* path);
  // Adds the names that a directory had before the last commit, for what has none in `entries`.
  static void AddNamesBefore(const Tree& tree, ObjectNumber directory,
                             std::vector<fs::NamedEntry>& entries);
  Copier::XattrsObject XattrsOf(const Tree& tree, const fs::InodeRecord& record) const;
  void Remember(const Tree& tree, uint64_t directory, const fs::NamedEntry& entry,
                const std::string& path);

  store::Store& store_;
  Copier& copier_;
  const TableRemains list_;                       // the table of trees
  std::map<uint64_t, Tree> trees_;                // the live ones
  std::optional<Open> root_;                      // of all, while more may come to be in it
  absl::flat_hash_set<FrameNumber> stray_roots_;  // that were copied, with all directories
  LostAndFound lost_;                             // of the live trees
  std::deque<Open> stack_;                        // references stay good while it grows
  absl::flat_hash_set<fs::NodeId> wanted_;
  absl::flat_hash_map<fs::NodeId, std::string> paths_;
  bool lost_names_ = false;
};

}  // namespace cow::move
