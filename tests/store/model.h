// What a store should hold: every object's bytes in plain memory, every version a copy of its own.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cow/store/store.h"
#include "tests/store/image.h"

namespace cow::test {

struct ModelTable;

struct ModelObject {
  bool version = false;
  bool tree = false;
  std::string attributes;
  // Of a file and of a tree; shared until changed.
  std::shared_ptr<const Image> content;
  std::shared_ptr<ModelTable> table;

  friend bool operator==(const ModelObject& a, const ModelObject& b);
};

struct ModelTable {
  std::map<uint64_t, ModelObject> objects;
  friend bool operator==(const ModelTable& a, const ModelTable& b) {
    return a.objects == b.objects;
  }
};

// All that can be reached in a store.
struct World {
  ModelTable trees;
  ModelTable catalog;
  friend bool operator==(const World& a, const World& b) {
    return a.trees == b.trees && a.catalog == b.catalog;
  }
};

// Where they first differ; empty when they do not.
std::string Difference(const World& expected, const World& got);

// Reads all there is, by all ways there are: bytes, extents, holes.
absl::StatusOr<World> ReadWorld(store::Store& store);
// What Check() finds wrong, a line each; empty when there is nothing.
std::string Damages(store::Store& store);
absl::StatusOr<Image> ReadContent(const store::Object& object);

}  // namespace cow::test
