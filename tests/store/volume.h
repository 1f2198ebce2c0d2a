// A volume on a disk in memory, or on the host, with the usual operations in one line each; where one fails that
// should not, the test fails.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cow/store/store.h"
#include "tests/store/fake_file.h"
#include "tests/store/model.h"
#include "tests/store/random.h"

namespace cow::test {

using Bytes = std::vector<std::byte>;
using ObjectPointer = std::shared_ptr<store::Object>;
using TablePointer = std::shared_ptr<store::Table>;

inline constexpr store::OpenOptions kQuiet = {.commit_seconds = 0};
inline constexpr store::OpenOptions kReadOnly = {.read_only = true, .commit_seconds = 0};

inline Bytes RandomBytes(size_t size, uint64_t seed) { return Random(seed).Bytes(size); }

class Volume {
 public:
  explicit Volume(const store::CreateOptions& create = {},
                  const store::OpenOptions& options = kQuiet);
  // The one that is on `disk`.
  explicit Volume(std::shared_ptr<Disk> disk);
  // A new one in the file `path` of the host.
  Volume(std::string path, const store::CreateOptions& create);

  store::Store* operator->() { return store_.get(); }
  store::Store& operator*() { return *store_; }
  Probe& probe() { return *probe_; }
  std::shared_ptr<Disk> disk() { return disk_; }

  // Closes, which commits; handles must be gone.
  void Close() { store_.reset(); }
  void Reopen();
  // Another description of the same file.
  absl::StatusOr<std::unique_ptr<store::Store>> OpenAnother(const store::OpenOptions& options);

  // In the catalog, unless a tree's table is given.
  ObjectPointer CreateFile(std::span<const std::byte> bytes = {}, store::Table* table = nullptr);
  ObjectPointer CreateTree();
  TablePointer OpenTree(const ObjectPointer& tree);
  ObjectPointer Open(uint64_t number);
  void Write(const ObjectPointer& file, uint64_t offset, std::span<const std::byte> bytes);
  void Truncate(const ObjectPointer& file, uint64_t size);
  void Punch(const ObjectPointer& file, uint64_t offset, uint64_t length);
  // To the catalog.
  ObjectPointer Snapshot(const ObjectPointer& source);
  ObjectPointer Clone(const ObjectPointer& source, store::Table* table = nullptr);
  void Replace(const ObjectPointer& head, const ObjectPointer& source);
  void Remove(const ObjectPointer& object, store::Table* table = nullptr);
  void Commit();
  void Settle();
  // That Check finds nothing.
  void ExpectClean();

 private:
  absl::StatusOr<std::unique_ptr<os::File>> OpenFile(os::OpenMode mode);

  const std::string path_;            // "" for one in memory
  const std::shared_ptr<Disk> disk_;  // null for one on the host
  const std::shared_ptr<Probe> probe_ = std::make_shared<Probe>();
  const store::OpenOptions options_;
  std::unique_ptr<store::Store> store_;
};

// All of it.
Bytes ContentOf(const store::Object& object);

}  // namespace cow::test
