#include "cow/move/salvage.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/fs/catalog.h"
#include "cow/move/copier.h"
#include "cow/move/host.h"
#include "cow/move/table_remains.h"
#include "cow/move/tree_copier.h"
#include "cow/store/store.h"

namespace cow::move {
namespace {

using fs::CatalogRemains;
using fs::Owner;
using fs::SnapshotRecord;

// Object of the catalog that is its index.
constexpr uint64_t kIndex = 1;
// Bytes of a name that the name of what is gone begins with, as under .snapshots/@deleted.
constexpr size_t kMaxDeletedName = 160;

fs::NodeId HeadOf(const Owner& owner) { return {owner.tree, owner.is_tree() ? 1 : owner.object}; }

class Salvager {
 public:
  Salvager(store::Store& store, std::string directory,
           const std::function<void(uint64_t)>& progress)
      : directory_(std::move(directory)),
        copier_(store.file().name(), progress),
        trees_(store, copier_),
        versions_(TableRemains::Of(store.catalog(), store.catalog_before())) {}

  absl::StatusOr<SalvageResult> Run() {
    ReadCatalog();
    COW_RETURN_IF_ERROR(trees_.CopyLive({directory_ + "/live", ""}));
    COW_RETURN_IF_ERROR(CopySnapshots());
    COW_RETURN_IF_ERROR(CopyNamelessVersions());
    if (!copier_.result.losses.empty()) COW_RETURN_IF_ERROR(trees_.CopyStrays());
    COW_RETURN_IF_ERROR(trees_.FinishLive());
    return std::move(copier_.result);
  }

 private:
  void ReadCatalog();
  // What is known of snapshots that were there before the last commit, and are still.
  void AddCatalogBefore();
  absl::Status CopySnapshots();
  absl::Status CopyNamelessVersions();
  // `record` is nullptr for a version without a name.
  absl::StatusOr<Outcome> CopyVersion(uint64_t number, const SnapshotRecord* record,
                                      const Place& place);
  // Where a snapshot can be copied to: by the path of its owner, or, where that is not known or is
  // taken, by the owner's last name and numbers, or by its own.
  absl::StatusOr<Place> PlaceOf(const SnapshotRecord& record);
  // The path of the owner, if that is there, or was and its directory is.
  std::optional<std::string> OwnerPath(const Owner& owner) const;
  std::string DeletedPath(const Owner& owner) const;
  // The place `path` of snapshots/, in directories that are there then; nothing where it cannot be.
  absl::StatusOr<std::optional<Place>> Prepare(const std::string& path);

  const std::string directory_;
  Copier copier_;
  TreeCopier trees_;
  const TableRemains versions_;  // the table of the catalog
  CatalogRemains catalog_;
  std::set<std::string> parents_;  // directories that were made for what is in them
};

void Salvager::ReadCatalog() {
  const std::string part = "part of the catalog of snapshots";
  const auto index = versions_.Open(kIndex);
  absl::Status status = index.status();
  bool lost = false;
  if (index.ok()) {
    if (!index->lost.ok()) copier_.LoseChanges("/", "the catalog of snapshots", index->lost);
    auto remains =
        fs::Catalog::Remains(*index->object, [&](uint64_t, uint64_t, const absl::Status& cause) {
          lost = true;
          copier_.Lose("/", part, cause);
        });
    status = remains.status();
    if (remains.ok()) catalog_ = *std::move(remains);
  }
  if (!status.ok()) copier_.Lose("/", "the catalog of snapshots", status);
  if (lost || !status.ok()) AddCatalogBefore();
  for (const auto& [number, record] : catalog_.snapshots) {
    trees_.Want(HeadOf(record.owner));
    const auto left = catalog_.left.find(record.owner);
    if (left == catalog_.left.end()) continue;
    const fs::PlaceName& last = left->second.front().place;
    trees_.Want({last.tree, last.directory});
  }
}

void Salvager::AddCatalogBefore() {
  const auto index = versions_.OpenBefore(kIndex);
  if (index == nullptr) return;
  auto remains = fs::Catalog::Remains(*index, [](uint64_t, uint64_t, const absl::Status&) {});
  if (!remains.ok()) return;
  for (auto& [number, record] : remains->snapshots) {
    // What was destroyed since is not lost.
    if (absl::IsNotFound(versions_.Open(number).status())) continue;
    catalog_.snapshots.try_emplace(number, std::move(record));
  }
  catalog_.left.merge(remains->left);
}

std::optional<std::string> Salvager::OwnerPath(const Owner& owner) const {
  if (const std::string* path = trees_.PathOf(HeadOf(owner)); path != nullptr) return *path;
  // Of what is gone, the last path is for sure only where nothing else can have it now.
  const auto left = catalog_.left.find(owner);
  if (left == catalog_.left.end() || trees_.lost_names()) return std::nullopt;
  const fs::PlaceName& last = left->second.front().place;
  const std::string* above = trees_.PathOf({last.tree, last.directory});
  if (above == nullptr || !fs::CheckName(last.name).ok()) return std::nullopt;
  return above->empty() ? last.name : *above + "/" + last.name;
}

std::string Salvager::DeletedPath(const Owner& owner) const {
  const auto left = catalog_.left.find(owner);
  std::string name = left == catalog_.left.end() ? "" : left->second.front().place.name;
  if (!fs::CheckName(name).ok()) name.clear();
  name.resize(std::min(name.size(), kMaxDeletedName));
  return absl::StrCat(".snapshots/@deleted/", name, "#", owner.tree, ".", owner.object);
}

absl::StatusOr<std::optional<Place>> Salvager::Prepare(const std::string& path) {
  Place place = {directory_ + "/snapshots", ""};
  std::string_view rest = path;
  for (;;) {
    if (!parents_.contains(place.host)) {
      const absl::Status made = MakeDirectory(place.host, 0777);
      if (HostIsOut(made)) return made;
      if (!made.ok()) return std::nullopt;
      parents_.insert(place.host);
    }
    const size_t slash = rest.find('/');
    place = place.Below(std::string(rest.substr(0, slash)));
    if (slash == std::string_view::npos) break;
    rest.remove_prefix(slash + 1);
  }
  if (!IsFree(place.host)) return std::nullopt;
  return place;
}

absl::StatusOr<Place> Salvager::PlaceOf(const SnapshotRecord& record) {
  if (fs::CheckName(record.name).ok()) {
    const std::string suffix = "@" + record.name;
    if (const auto path = OwnerPath(record.owner); path.has_value()) {
      COW_ASSIGN_OR_RETURN(std::optional<Place> place, Prepare(*path + suffix));
      if (place.has_value()) return *std::move(place);
    }
    COW_ASSIGN_OR_RETURN(std::optional<Place> place, Prepare(DeletedPath(record.owner) + suffix));
    if (place.has_value()) return *std::move(place);
  }
  COW_ASSIGN_OR_RETURN(std::optional<Place> place,
                       Prepare(absl::StrCat("lost+found/", record.number)));
  if (!place.has_value()) return ErrnoStatus(EEXIST, directory_ + "/snapshots/lost+found");
  copier_.Lose(place->path, "its name", NoName());
  return *std::move(place);
}

absl::StatusOr<Outcome> Salvager::CopyVersion(uint64_t number, const SnapshotRecord* record,
                                              const Place& place) {
  // No commit changes a version.
  const auto found = versions_.Open(number);
  if (!found.ok()) {
    copier_.Lose(place.path, "", found.status());
    return Outcome::kLost;
  }
  const std::shared_ptr<store::Object>& version = found->object;
  if (version->is_tree()) {
    return trees_.CopySnapshot(record == nullptr ? number : record->owner.tree, version, place);
  }
  const absl::StatusOr<fs::InodeRecord> inode = fs::InodeRecord::Decode(version->attributes());
  if (!inode.ok()) {
    copier_.Lose(place.path, "", inode.status());
    return Outcome::kLost;
  }
  Copier::XattrsObject xattrs = NoName();
  if (record != nullptr && record->xattrs != 0) {
    const auto held = versions_.Open(record->xattrs);
    xattrs = held.ok() ? Copier::XattrsObject(held->object) : held.status();
  }
  return copier_.Copy(*version, *inode, xattrs, place);
}

absl::Status Salvager::CopySnapshots() {
  // A path belongs to what has it now; of what is gone, to what left it last.
  std::vector<const SnapshotRecord*> order;
  for (const auto& [number, record] : catalog_.snapshots) order.push_back(&record);
  const auto left_at = [this](const SnapshotRecord* record) {
    if (trees_.PathOf(HeadOf(record->owner)) != nullptr) return UINT64_MAX;
    const auto left = catalog_.left.find(record->owner);
    return left == catalog_.left.end() ? 0 : left->second.front().order;
  };
  std::ranges::stable_sort(order, std::greater<>(), left_at);
  for (const SnapshotRecord* record : order) {
    COW_ASSIGN_OR_RETURN(const Place place, PlaceOf(*record));
    COW_ASSIGN_OR_RETURN(const Outcome outcome, CopyVersion(record->number, record, place));
    if (outcome == Outcome::kCopied) ++copier_.result.snapshots;
  }
  return absl::OkStatus();
}

absl::Status Salvager::CopyNamelessVersions() {
  std::set<uint64_t> known = {kIndex};
  for (const auto& [number, record] : catalog_.snapshots) known.insert({number, record.xattrs});
  std::vector<uint64_t> nameless;
  const auto take = [&](uint64_t number) {
    if (known.contains(number)) return;
    const auto version = versions_.Open(number);
    // What has no attributes is the extended attributes of another.
    if (version.ok() && version->object->attributes().empty()) return;
    nameless.push_back(number);
  };
  const auto lose = [&](uint64_t begin, uint64_t count, const absl::Status& cause, bool older) {
    const std::string part = absl::StrCat("snapshots ", begin, " to ", begin + count - 1);
    older ? copier_.LoseChanges("/", part, cause) : copier_.Lose("/", part, cause);
  };
  COW_RETURN_IF_ERROR(versions_.Survey(take, lose));
  for (const uint64_t number : nameless) {
    SnapshotRecord unnamed;
    unnamed.number = number;
    COW_ASSIGN_OR_RETURN(const Place place, PlaceOf(unnamed));
    COW_ASSIGN_OR_RETURN(const Outcome outcome, CopyVersion(number, nullptr, place));
    if (outcome == Outcome::kCopied) ++copier_.result.snapshots;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SalvageResult> Salvage(std::unique_ptr<os::File> volume,
                                      const std::string& directory,
                                      const std::function<void(uint64_t bytes)>& progress) {
  COW_ASSIGN_OR_RETURN(
      const auto store,
      store::Store::Open(std::move(volume),
                         {.read_only = true, .truncated = true, .commit_before = true}));
  COW_RETURN_IF_ERROR(MakeEmptyDirectory(directory));
  Salvager salvager(*store, directory, progress);
  return salvager.Run();
}

}  // namespace cow::move
