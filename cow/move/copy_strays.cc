// Copies what no node leads to any more: see cow/store/strays.h for how it is found.
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/move/tree_copier.h"
#include "cow/store/strays.h"

namespace cow::move {
namespace {

using Stray = store::Strays::Stray;

constexpr uint64_t kRootObject = 1;

// Of records that are believed for their structure alone, all have to make sense: a page of a file
// may look like them, but then nothing in it was made to.
bool IsCredible(store::Table& table) {
  bool credible = true;
  bool any = false;
  const absl::Status surveyed =
      table.Survey([&](uint64_t number, uint64_t, const absl::Status& status) {
        const auto object = status.ok() ? table.Open(ObjectNumber(number)) : status;
        if (!object.ok()) return true;
        any = true;
        credible = !(*object)->is_tree() && fs::InodeRecord::Decode((*object)->attributes()).ok();
        return credible;
      });
  return surveyed.ok() && any && credible;
}

// Where the numbers in `table` are those that names give, because it begins with the root of a tree:
// the frame that the names in that begin in.
std::optional<FrameNumber> RootOf(store::Table& table) {
  const auto object = table.Open(ObjectNumber(kRootObject));
  if (!object.ok()) return std::nullopt;
  const auto record = fs::InodeRecord::Decode((*object)->attributes());
  if (!record.ok() || !record->is_directory() || record->parent != 0) return std::nullopt;
  const auto extents = (*object)->Extents(PageNumber(0), PageNumber(1), /*verify=*/false);
  if (!extents.ok() || extents->empty()) return std::nullopt;
  return extents->front().frame;
}

}  // namespace

absl::Status TreeCopier::CopyStrays() {
  store::Strays strays(store_);
  return strays.Find([this] { copier_.Tell(); },
                     [&](const Stray& stray) { return CopyStray(strays, stray); });
}

absl::Status TreeCopier::CopyStray(store::Strays& strays, const Stray& stray) {
  const std::string name = absl::StrCat("frame-", stray.frame.value());
  if (stray.pages != nullptr) {
    if (!strays.Claim(*stray.pages)) return absl::OkStatus();
    COW_ASSIGN_OR_RETURN(const Place place, PlaceWithoutName(lost_, "pages-of-" + name));
    const fs::InodeRecord record{.mode = 0600};
    COW_ASSIGN_OR_RETURN(const Outcome outcome, copier_.Copy(*stray.pages, record, nullptr, place));
    if (outcome == Outcome::kCopied) ++copier_.result.files;
    return absl::OkStatus();
  }
  Tree tree{.table = TableRemains(stray.table, {}), .strays = &strays};
  // Of versions of one tree with the same names in its root, all but the first give only what else
  // they have: there may be hundreds.
  const auto root = stray.vouched ? RootOf(*stray.table) : std::nullopt;
  if (root.has_value() && stray_roots_.insert(*root).second) return CopyStrayTree(tree, name);
  if (!stray.vouched && !IsCredible(*stray.table)) return absl::OkStatus();
  std::vector<uint64_t> numbers;
  COW_RETURN_IF_ERROR(tree.table.Survey(
      [&](uint64_t number) { numbers.push_back(number); },
      [&](uint64_t begin, uint64_t count, const absl::Status& cause, bool) {
        copier_.Lose(absl::StrCat(lost_.above.path, "/lost+found/", name),
                     absl::StrCat("objects ", begin, " to ", begin + count - 1), cause);
      }));
  for (const uint64_t number : numbers) {
    COW_RETURN_IF_ERROR(CopyStrayObject(tree, number, absl::StrCat(name, ".", number)));
  }
  return absl::OkStatus();
}

absl::Status TreeCopier::CopyStrayTree(Tree& tree, const std::string& name) {
  COW_ASSIGN_OR_RETURN(const Place place, PlaceWithoutName(lost_, name));
  return CopyWhole(tree, place).status();
}

absl::Status TreeCopier::CopyStrayObject(Tree& tree, uint64_t number, const std::string& name) {
  const auto object = tree.table.Open(number);
  if (!object.ok() || !tree.strays->Claim(*object->object)) return absl::OkStatus();
  if (object->object->is_tree()) {
    COW_ASSIGN_OR_RETURN(auto table, store_.OpenTree(object->object));
    Tree below{.table = TableRemains(std::move(table), {}), .strays = tree.strays};
    return CopyStrayTree(below, name);
  }
  // What has no record holds extended attributes. Of directories there is nothing but names, which
  // are of numbers that are not known here.
  const absl::StatusOr<fs::InodeRecord> record = RecordOf(tree, number);
  if (!record.ok() || record->is_directory()) return absl::OkStatus();
  COW_ASSIGN_OR_RETURN(const Place place, PlaceWithoutName(lost_, name));
  const Copier::XattrsObject xattrs = NoName();
  COW_ASSIGN_OR_RETURN(const Outcome outcome,
                       copier_.Copy(*object->object, *record, xattrs, place));
  if (outcome == Outcome::kCopied) ++copier_.result.files;
  return absl::OkStatus();
}

}  // namespace cow::move
