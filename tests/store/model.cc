#include "tests/store/model.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cow/base/status.h"

namespace cow::test {

using store::Object;
using store::Store;
using store::Table;

namespace {

// Objects up to this size are read whole, larger ones where they have data.
constexpr uint64_t kReadWhole = 256 * 1024;

template <typename T>
bool SameTarget(const std::shared_ptr<T>& a, const std::shared_ptr<T>& b) {
  return a == b || (a != nullptr && b != nullptr && *a == *b);
}

std::string DifferenceOf(const Image& expected, const Image& got) {
  if (expected.size() != got.size()) {
    return absl::StrFormat("size %d, not %d", got.size(), expected.size());
  }
  std::map<uint64_t, int> numbers;
  for (const auto& [number, frame] : expected.frames()) numbers[number] = 0;
  for (const auto& [number, frame] : got.frames()) numbers[number] = 0;
  for (const auto& [number, unused] : numbers) {
    Image::Frame a;
    Image::Frame b;
    expected.Read(number * kPageSize, a);
    got.Read(number * kPageSize, b);
    const auto at = std::mismatch(a.begin(), a.end(), b.begin()).first - a.begin();
    if (at < static_cast<ptrdiff_t>(kPageSize)) {
      return absl::StrFormat("page %d differs at byte %d: %02x, not %02x", number, at,
                             static_cast<int>(b[at]), static_cast<int>(a[at]));
    }
  }
  return "";
}

std::string DifferenceOf(const ModelTable& expected, const ModelTable& got, std::string where);

std::string DifferenceOf(const ModelObject& expected, const ModelObject& got, std::string where) {
  if (expected.version != got.version || expected.tree != got.tree) return where + ": kind";
  if (expected.attributes != got.attributes) return where + ": attributes";
  if (expected.tree) return DifferenceOf(*expected.table, *got.table, where);
  std::string content = DifferenceOf(*expected.content, *got.content);
  return content.empty() ? "" : absl::StrCat(where, ": ", content);
}

std::string DifferenceOf(const ModelTable& expected, const ModelTable& got, std::string where) {
  for (const auto& [number, object] : expected.objects) {
    const std::string name = absl::StrCat(where, "/", number);
    auto it = got.objects.find(number);
    if (it == got.objects.end()) return name + ": missing";
    if (std::string found = DifferenceOf(object, it->second, name); !found.empty()) return found;
  }
  for (const auto& [number, object] : got.objects) {
    if (!expected.objects.contains(number)) {
      return absl::StrCat(where, "/", number, ": should not be there");
    }
  }
  return "";
}

absl::Status Wrong(const Object& object, absl::string_view what) {
  return absl::InternalError(absl::StrCat("object ", object.number().value(), ": ", what));
}

// That what says where data is agrees: extents, the count of pages, data and holes.
absl::StatusOr<std::vector<std::pair<uint64_t, uint64_t>>> DataRanges(const Object& object) {
  const uint64_t pages = PagesFor(object.size());
  COW_ASSIGN_OR_RETURN(std::vector<store::Extent> extents,
                       object.Extents(PageNumber(0), PageNumber(pages), /*verify=*/true));
  uint64_t allocated = 0;
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const store::Extent& extent : extents) {
    allocated += extent.count;
    const uint64_t begin = extent.page.value();
    if (!ranges.empty() && ranges.back().second > begin) return Wrong(object, "extents overlap");
    if (!ranges.empty() && ranges.back().second == begin) {
      ranges.back().second += extent.count;
    } else {
      ranges.emplace_back(begin, begin + extent.count);
    }
  }
  if (allocated != object.allocated_pages()) {
    return Wrong(object, absl::StrCat("allocated_pages() is ", object.allocated_pages(),
                                      ", the extents have ", allocated));
  }
  uint64_t offset = 0;
  for (const auto& [begin, end] : ranges) {
    COW_ASSIGN_OR_RETURN(uint64_t data, object.NextData(offset));
    COW_ASSIGN_OR_RETURN(uint64_t hole, object.NextHole(data));
    if (data != begin * kPageSize || hole != std::min(end * kPageSize, object.size())) {
      return Wrong(object, absl::StrFormat("NextData(%d) is %d, the hole after it %d; the extent "
                                           "is pages %d to %d",
                                           offset, data, hole, begin, end));
    }
    offset = hole;
  }
  if (absl::StatusOr<uint64_t> after = object.NextData(offset);
      after.ok() || !absl::IsNotFound(after.status())) {
    return Wrong(object, absl::StrCat("NextData after the last extent: ",
                                      after.status().ToString().c_str()));
  }
  return ranges;
}

absl::StatusOr<ModelTable> ReadTable(Store& store, Table& table) {
  ModelTable result;
  for (ObjectNumber at(0);;) {
    COW_ASSIGN_OR_RETURN(std::optional<ObjectNumber> next, table.NextObject(at));
    if (!next.has_value()) return result;
    COW_ASSIGN_OR_RETURN(std::shared_ptr<Object> object, table.Open(*next));
    ModelObject& model = result.objects[next->value()];
    model.version = object->read_only() && !table.read_only();
    model.tree = object->is_tree();
    model.attributes = object->attributes();
    if (model.tree) {
      COW_ASSIGN_OR_RETURN(std::shared_ptr<Table> below, store.OpenTree(object));
      COW_ASSIGN_OR_RETURN(ModelTable contents, ReadTable(store, *below));
      model.table = std::make_shared<ModelTable>(std::move(contents));
    } else {
      COW_ASSIGN_OR_RETURN(Image content, ReadContent(*object));
      model.content = std::make_shared<Image>(std::move(content));
    }
    at = *next + 1;
  }
}

}  // namespace

bool operator==(const ModelObject& a, const ModelObject& b) {
  return a.version == b.version && a.tree == b.tree && a.attributes == b.attributes &&
         SameTarget(a.content, b.content) && SameTarget(a.table, b.table);
}

std::string Difference(const World& expected, const World& got) {
  std::string found = DifferenceOf(expected.trees, got.trees, "trees");
  return found.empty() ? DifferenceOf(expected.catalog, got.catalog, "catalog") : found;
}

absl::StatusOr<Image> ReadContent(const Object& object) {
  Image content;
  const uint64_t size = object.size();
  COW_ASSIGN_OR_RETURN(auto ranges, DataRanges(object));
  if (size <= kReadWhole) ranges = {{0, PagesFor(size)}};
  for (const auto& [begin, end] : ranges) {
    const uint64_t offset = begin * kPageSize;
    std::vector<std::byte> bytes((end - begin) * kPageSize, std::byte{0xee});
    COW_ASSIGN_OR_RETURN(size_t got, object.Read(offset, bytes));
    if (got != std::min<uint64_t>(bytes.size(), size - offset)) return Wrong(object, "short read");
    content.Write(offset, std::span(bytes).first(got));
  }
  content.Resize(size);
  return content;
}

std::string Damages(Store& store) {
  absl::StatusOr<store::CheckResult> result = store.Check();
  if (!result.ok()) return result.status().ToString();
  std::string text;
  for (const store::Damage& damage : result->damages) {
    text += damage.what + "\n";
  }
  return text;
}

absl::StatusOr<World> ReadWorld(Store& store) {
  World world;
  COW_ASSIGN_OR_RETURN(world.trees, ReadTable(store, store.trees()));
  COW_ASSIGN_OR_RETURN(world.catalog, ReadTable(store, store.catalog()));
  return world;
}

}  // namespace cow::test
