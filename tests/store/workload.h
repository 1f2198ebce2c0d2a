// Random operations on a store and on its model, side by side.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/store/store.h"
#include "tests/store/model.h"
#include "tests/store/random.h"

namespace cow::test {

struct WorkloadOptions {
  uint64_t max_write = 48 * 1024;
  uint64_t max_size = 128 * 1024;
  // One write in 16 goes this far out, so that page tables get high. 0: none.
  uint64_t far_offset = uint64_t{3} << 30;
  size_t max_files = 12;  // in one table
  size_t max_trees = 3;
  size_t max_versions = 16;
  // Keeps objects open over what happens to them.
  bool hold = true;
};

class Workload {
 public:
  Workload(const WorkloadOptions& options, uint64_t seed) : options_(options), random_(seed) {}

  // `store` holds what `world` says.
  void Attach(store::Store* store, World world);
  // Closes all that is held open.
  void Detach();

  // One transaction. An error is one that a store must not give here: a full volume is none, as
  // long as nothing was done and removing works.
  absl::Status Step();
  // Compares the whole store, and objects held open, with the model.
  absl::Status Verify();
  // Removes all there is.
  absl::Status RemoveAll();

  const World& world() const { return world_; }
  // Transactions refused because the volume was full.
  uint64_t refused() const { return refused_; }
  // What the last steps were, for messages.
  std::string history() const;
  Random& random() { return random_; }

 private:
  // A table that objects are in: of the tree of that number, or the catalog for 0.
  using Place = uint64_t;
  struct Reference {
    Place place;
    uint64_t number;
    // Of a file in a version of a tree: the version is in the catalog, or 0.
    uint64_t version;
  };
  struct Held {
    std::shared_ptr<store::Object> object;
    Place place;
    uint64_t number;
    // Once it was removed: what it holds; one for all handles of it.
    std::shared_ptr<Image> removed;
  };
  using Operation = absl::Status (Workload::*)();

  absl::Status CreateTree();
  absl::Status CreateFile();
  absl::Status Write();
  absl::Status WriteTwo();
  absl::Status WritePages();
  absl::Status Truncate();
  absl::Status Punch();
  absl::Status SetAttributes();
  absl::Status Defragment();
  absl::Status SnapshotFile();
  absl::Status SnapshotTree();
  absl::Status CloneFile();
  absl::Status CloneTree();
  absl::Status ReplaceFile();
  absl::Status ReplaceTree();
  absl::Status ShareRange();
  absl::Status RemoveFile();
  absl::Status RemoveVersion();
  absl::Status RemoveTree();
  absl::Status Hold();
  absl::Status WriteHeld();

  absl::Status RemoveObject(Place place, uint64_t number);
  // In frozen: a new object in `place`, with what `source` has.
  absl::Status Copy(const Reference& source, Place place, bool version);

  ModelTable& TableOf(Place place);
  absl::StatusOr<std::shared_ptr<store::Table>> Open(Place place);
  absl::StatusOr<std::shared_ptr<store::Object>> Open(const Reference& reference);
  const ModelObject& ModelOf(const Reference& reference);
  ModelObject& HeadOf(const Reference& reference) {
    return TableOf(reference.place).objects.at(reference.number);
  }

  Place AnyPlace();
  std::vector<Reference> Files(bool heads, bool versions, bool in_versions);
  std::vector<Reference> Trees(bool heads, bool versions);
  // False when there is none.
  bool Pick(const std::vector<Reference>& from, Reference& reference);
  std::string Attributes();
  void Note(std::string text);
  void NoteRemoved(Place place, uint64_t number);
  bool Full(const absl::Status& status);
  struct Change {
    uint64_t offset;
    std::vector<std::byte> bytes;
  };
  Change AnyChange();

  const WorkloadOptions options_;
  Random random_;
  store::Store* store_ = nullptr;
  World world_;
  std::vector<Held> held_;
  uint64_t refused_ = 0;
  std::vector<std::string> history_;
};

}  // namespace cow::test
