// The index of the catalog: which snapshots there are, of what, and under which names to look for
// those of inodes that are gone. It is object 1 of the store's catalog, so part of no snapshot.
//
// Kinds of entries, each a key and what it stands for (README.md has the bytes):
//   snapshot   (owner, name)                -> catalog numbers of its content and attributes, time
//   number     (catalog number)             -> (owner, name)
//   owner      (owner)                      -> how many snapshots it has, the newest ever
//   history    (directory, name, owner)     -> order: an owner that had the name here once; and
//                                              its newest snapshot then
//   names      (owner, directory, name)     -> the same: the way back, for when the owner is
//                                              forgotten
//   nested     (tree, tree in it)           -> nothing
//
// An owner is known as long as it has snapshots. All costs are O(log) in what the catalog holds.
//
// Not thread-safe: the namespace lock is held, for changes alone.
#pragma once

#include <compare>
#include <cstdint>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cow/fs/index.h"
#include "cow/store/store.h"

namespace cow::fs {

// What has snapshots: a file {tree, object}, or a tree {tree, 0}.
struct Owner {
  uint64_t tree = 0;
  uint64_t object = 0;
  bool is_tree() const { return object == 0; }
  friend auto operator<=>(const Owner&, const Owner&) = default;
};

// A name in a live directory.
struct PlaceName {
  uint64_t tree = 0;
  uint64_t directory = 0;
  std::string name;
};

// An owner that had a name, and the newest snapshot it had when it left it.
struct DepartedOwner {
  Owner owner;
  uint64_t newest = 0;
};

struct SnapshotRecord {
  uint64_t number = 0;  // of the version in the catalog
  uint64_t xattrs = 0;  // of the version of the object with its extended attributes; 0: none
  timespec created = {};
  Owner owner;
  std::string name;
};

// What can be read of a catalog that is damaged.
struct CatalogRemains {
  struct Left {
    uint64_t order = 0;  // the greatest left last
    PlaceName place;
  };
  // By number. Where only its number is known, a snapshot has neither a time nor, though its file
  // may have had some, extended attributes.
  std::map<uint64_t, SnapshotRecord> snapshots;
  // The names that owners have left.
  std::map<Owner, std::vector<Left>> left;
};

class Catalog {
 public:
  // `object` is empty for a new catalog.
  Catalog(std::shared_ptr<store::Object> object, const Index::Seed& seed)
      : object_(std::move(object)), seed_(seed) {}

  // False while the volume has neither snapshots nor nested trees: then nothing needs looking up.
  bool empty() const { return object_->size() == 0; }

  absl::StatusOr<std::optional<SnapshotRecord>> Find(Owner owner, std::string_view name) const;
  absl::StatusOr<std::optional<SnapshotRecord>> Find(uint64_t number) const;
  absl::StatusOr<std::vector<SnapshotRecord>> List(Owner owner) const;
  absl::StatusOr<std::vector<SnapshotRecord>> ListAll() const;
  // 0 for an owner that is not known.
  absl::StatusOr<uint64_t> CountOf(Owner owner) const;

  // The name is free; kFramesToAdd.
  absl::Status Add(store::Transaction& transaction, const SnapshotRecord& record);
  // FramesToRemove(owner). With its last snapshot the owner is forgotten.
  absl::Status Remove(store::Transaction& transaction, const SnapshotRecord& record);
  absl::StatusOr<uint64_t> FramesToRemove(Owner owner) const;
  // The new name is free; kFramesToAdd.
  absl::Status Rename(store::Transaction& transaction, const SnapshotRecord& record,
                      std::string_view name);

  // `owner`, which is known, leaves a name. Of more than kMaxPlaces that it left, the oldest are
  // forgotten. kFramesToDepart.
  absl::Status Depart(store::Transaction& transaction, Owner owner, const PlaceName& place);
  // Owners that had the name here, the last to leave first.
  absl::StatusOr<std::vector<DepartedOwner>> Departed(const PlaceName& place) const;
  // Names that an owner has left, the last first.
  absl::StatusOr<std::vector<PlaceName>> LeftBy(Owner owner) const;
  // Names that `owner` left count no more. FramesToForget of how many.
  absl::Status ForgetPlaces(store::Transaction& transaction, Owner owner,
                            std::span<const PlaceName> places);
  static constexpr uint64_t FramesToForget(uint64_t places) {
    return 2 * places * kFramesPerIndexChange + store::kFramesToChange;
  }

  // kFramesToNest each.
  absl::Status AddNested(store::Transaction& transaction, uint64_t parent, uint64_t tree);
  absl::Status RemoveNested(store::Transaction& transaction, uint64_t parent, uint64_t tree);
  absl::StatusOr<std::vector<uint64_t>> Nested(uint64_t parent) const;

  // That the kinds of entries agree with each other; answers all snapshots. `damage` gets what is
  // wrong.
  absl::StatusOr<std::vector<SnapshotRecord>> Check(
      const std::function<void(std::string)>& damage) const;

  // As Index::Remains, of the object of the index.
  static absl::StatusOr<CatalogRemains> Remains(const store::Object& object,
                                                const Index::LostFunction& lost);

  static constexpr uint64_t kFramesToAdd = 3 * kFramesPerIndexChange + store::kFramesToChange;
  static constexpr uint64_t kFramesToNest = kFramesPerIndexChange + store::kFramesToChange;
  static constexpr size_t kMaxPlaces = 64;
  // Forgotten with a departure: two, so that what older versions left behind goes too.
  static constexpr size_t kMaxForgotten = 2;
  static constexpr uint64_t kFramesToDepart =
      2 * (1 + kMaxForgotten) * kFramesPerIndexChange + store::kFramesToChange;

 private:
  // A key in two parts: entries that share the first can be listed.
  struct Key {
    std::string group;
    std::string member;
  };
  absl::StatusOr<Index> OpenIndex() const { return Index::Open(*object_, seed_); }
  absl::StatusOr<std::optional<IndexEntry>> FindEntry(const Key& key) const;
  absl::StatusOr<std::vector<IndexEntry>> ListGroup(const std::string& group) const;
  absl::Status Put(store::Transaction& transaction, const Key& key, std::string_view value);
  absl::Status Erase(store::Transaction& transaction, const Key& key);
  // The highest number that a snapshot of `owner`, which is known, ever had.
  absl::StatusOr<uint64_t> NewestOf(Owner owner) const;

  const std::shared_ptr<store::Object> object_;
  const Index::Seed seed_;
};

}  // namespace cow::fs
