// An index: keys and what they stand for in the pages of an object, as a B+ tree ordered by a hash
// of the key. A directory is one; so is the index of the catalog.
//
// A position is 55 bits of hash and 8 bits that tell keys of the same hash apart. It belongs to its
// entry for as long as that is there, whatever comes and goes around it, which makes it a cookie.
//
// Invariants: page 0 is the root; an empty index is an object of size 0; positions ascend through
// the pages; no page but the root is empty.
//
// An Index is made for one operation. Not thread-safe: the namespace lock is held.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/fs/directory_page.h"
#include "cow/store/store.h"

namespace cow::fs {

// Frames that a transaction reserves for each Insert, Update or Erase: in a tree of four levels
// (250 million pages) two pages of each but the root, a page-table node for each, and two above
// those. Beside them, once, kFramesToChange for the object.
inline constexpr uint64_t kFramesPerIndexChange = 16;

class Index {
 public:
  using Seed = std::array<uint64_t, 2>;

  // `seed`: for an index that is empty; of another it is in page 0.
  static absl::StatusOr<Index> Open(store::Object& object, const Seed& seed);

  const Seed& seed() const { return root_.root.seed; }
  bool empty() const { return root_.empty(); }

  // The place that `hash` gives a key: below 2^63 and at least 256. Its last 8 bits are 0.
  static uint64_t Place(uint64_t hash);
  // Places whose first 31 bits come from `group`: so that all keys of a group lie in one range.
  static uint64_t Place(uint64_t group, uint64_t member);
  static std::pair<uint64_t, uint64_t> GroupRange(uint64_t group);

  // The entry of `key`, which hashes to `place`.
  absl::StatusOr<std::optional<IndexEntry>> Find(uint64_t place, std::string_view key) const;
  // The entry at a position.
  absl::StatusOr<std::optional<IndexEntry>> At(uint64_t position) const;
  // Calls `entry` for those at or after `position` until it answers false.
  absl::Status Scan(uint64_t position, const std::function<bool(const IndexEntry&)>& entry) const;

  // Enters a key that is not there; answers its position. ENOSPC when 256 keys share the place.
  absl::StatusOr<uint64_t> Insert(store::Transaction& transaction, uint64_t place,
                                  std::string_view key, std::string_view value);
  // Gives the entry at `position`, which is there, another value.
  absl::Status Update(store::Transaction& transaction, uint64_t position, std::string_view value);
  // Takes the entry at `position`, which is there, out.
  absl::Status Erase(store::Transaction& transaction, uint64_t position);

  // Verifies order, levels and pages in use of the whole tree.
  absl::Status Check() const;

  // Bytes [begin, end) of an index that cannot be read.
  using LostFunction = std::function<void(uint64_t begin, uint64_t end, const absl::Status& cause)>;
  // Calls `entry` for all entries that can be read, in no order, and `lost` for the other pages:
  // each page stands for itself, so that one that leads to others takes none of them along.
  // `object` is read_only().
  static absl::Status Remains(const store::Object& object,
                              const std::function<void(const IndexEntry&)>& entry,
                              const LostFunction& lost);

 private:
  // From the root to a page of entries.
  struct Step {
    DirectoryPage page;
    size_t child = 0;  // that was followed
  };
  using Path = std::vector<Step>;

  Index(store::Object& object, DirectoryPage root) : object_(object), root_(std::move(root)) {}

  absl::StatusOr<DirectoryPage> ReadPage(uint64_t number, uint8_t level) const;
  absl::Status WritePage(store::Transaction& transaction, const DirectoryPage& page);
  // `end`: where the positions of the last page of the path end; 2^64 - 1 for the last.
  absl::StatusOr<Path> Descend(uint64_t position, uint64_t& end) const;
  // Writes the last page of `path`, splitting what does not fit.
  absl::Status WriteGrown(store::Transaction& transaction, Path& path);
  absl::Status GrowRoot(Path& path);
  // Writes the last page of `path`; takes it out, or joins it with one beside it, where it is
  // small.
  absl::Status WriteShrunk(store::Transaction& transaction, Path& path);
  absl::Status JoinWithNext(store::Transaction& transaction, Path& path, size_t left, bool& joined);
  absl::StatusOr<uint64_t> NewPage();
  absl::Status FreePage(store::Transaction& transaction, uint64_t number);
  absl::Status CheckPage(const DirectoryPage& page, uint64_t begin, uint64_t end,
                         uint64_t& pages) const;

  store::Object& object_;
  // As it is in the object, but for changes that WritePage has yet to write.
  DirectoryPage root_;
};

}  // namespace cow::fs
