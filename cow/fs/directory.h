// A directory: an index from names to what they name.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cow/fs/index.h"
#include "cow/fs/node.h"

namespace cow::fs {

struct NamedEntry {
  std::string name;
  uint64_t position = 0;
  // The number of an object of the same tree, or, where `tree`, of a tree.
  uint64_t object = 0;
  FileType type = FileType::kRegular;
  bool tree = false;

  bool is_directory() const { return type == FileType::kDirectory; }
  // That both are names of the same thing.
  bool SameTarget(const NamedEntry& other) const {
    return object == other.object && tree == other.tree;
  }
};

class Directory {
 public:
  static absl::StatusOr<Directory> Open(store::Object& object, const Index::Seed& seed);

  bool empty() const { return index_.empty(); }
  absl::StatusOr<std::optional<NamedEntry>> Find(std::string_view name) const;
  absl::StatusOr<std::optional<NamedEntry>> At(uint64_t position) const;
  // Entries from a position on; an entry that cannot be decoded ends it with an error.
  absl::Status Scan(uint64_t position, const std::function<bool(const NamedEntry&)>& entry) const;

  // `entry.position` does not count; answers it.
  absl::StatusOr<uint64_t> Insert(store::Transaction& transaction, const NamedEntry& entry);
  // Another target for the name at a position.
  absl::Status Replace(store::Transaction& transaction, uint64_t position,
                       const NamedEntry& target);
  absl::Status Erase(store::Transaction& transaction, uint64_t position);
  // The entries that can be read of a directory that is damaged, in no order; as Index::Remains.
  static absl::StatusOr<std::vector<NamedEntry>> Remains(const store::Object& object,
                                                         const Index::LostFunction& lost);
  // The pages of the index, and that each name is at its place.
  absl::Status Check() const;

 private:
  explicit Directory(Index index) : index_(std::move(index)) {}
  uint64_t PlaceOf(std::string_view name) const;
  Index index_;
};

// OK, or why `name` cannot be the name of an entry: EINVAL, ENAMETOOLONG.
absl::Status CheckName(std::string_view name);

}  // namespace cow::fs
