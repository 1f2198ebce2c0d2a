#include "cow/fs/catalog.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cow/fs/bytes.h"
#include "cow/fs/hash.h"

namespace cow::fs {
namespace {

enum Kind : char {
  kSnapshot = 'S',
  kNumber = 'N',
  kOwner = 'O',
  kHistory = 'H',
  kNames = 'B',
  kNested = 'T',
};

std::string Group(Kind kind, uint64_t a, uint64_t b = 0, std::string_view name = {}) {
  return ByteWriter().Put(static_cast<char>(kind)).Put(a).Put(b).PutString(name).Take();
}
std::string OwnerBytes(Owner owner) {
  return ByteWriter().Put(owner.tree).Put(owner.object).Take();
}
Owner GetOwner(ByteReader& in) {
  Owner owner;
  owner.tree = in.Get<uint64_t>();
  owner.object = in.Get<uint64_t>();
  return owner;
}
uint64_t PlaceOf(const Index& index, std::string_view group, std::string_view member) {
  return Index::Place(SipHash(index.seed(), group), SipHash(index.seed(), member));
}

absl::StatusOr<SnapshotRecord> DecodeSnapshot(const IndexEntry& entry) {
  ByteReader key(entry.key);
  key.Get<char>();
  SnapshotRecord record;
  record.owner = GetOwner(key);
  key.GetString();
  record.name = std::string(key.GetString());
  ByteReader value(entry.value);
  record.number = value.Get<uint64_t>();
  record.xattrs = value.Get<uint64_t>();
  record.created = value.GetTime();
  if (!key.ok() || !value.ok()) return Malformed("malformed snapshot in the catalog");
  return record;
}

std::string EncodeSnapshot(const SnapshotRecord& record) {
  return ByteWriter().Put(record.number).Put(record.xattrs).PutTime(record.created).Take();
}

// What `in` has from the place on.
PlaceName GetPlace(ByteReader& in) {
  PlaceName place;
  place.tree = in.Get<uint64_t>();
  place.directory = in.Get<uint64_t>();
  place.name = std::string(in.GetString());
  return place;
}

std::string NameBytes(std::string_view name) { return ByteWriter().PutString(name).Take(); }

std::string PlaceBytes(const PlaceName& place) {
  return ByteWriter().Put(place.tree).Put(place.directory).PutString(place.name).Take();
}

}  // namespace

absl::StatusOr<std::optional<IndexEntry>> Catalog::FindEntry(const Key& key) const {
  if (empty()) return std::nullopt;
  COW_ASSIGN_OR_RETURN(Index index, OpenIndex());
  return index.Find(PlaceOf(index, key.group, key.member), key.group + key.member);
}

absl::StatusOr<std::vector<IndexEntry>> Catalog::ListGroup(const std::string& group) const {
  std::vector<IndexEntry> entries;
  if (empty()) return entries;
  COW_ASSIGN_OR_RETURN(Index index, OpenIndex());
  const auto [begin, end] = Index::GroupRange(SipHash(index.seed(), group));
  COW_RETURN_IF_ERROR(index.Scan(begin, [&, end = end](const IndexEntry& entry) {
    if (entry.position >= end) return false;
    if (entry.key.starts_with(group)) entries.push_back(entry);
    return true;
  }));
  return entries;
}

absl::Status Catalog::Put(store::Transaction& transaction, const Key& key, std::string_view value) {
  COW_ASSIGN_OR_RETURN(Index index, OpenIndex());
  const uint64_t place = PlaceOf(index, key.group, key.member);
  const std::string bytes = key.group + key.member;
  COW_ASSIGN_OR_RETURN(std::optional<IndexEntry> found, index.Find(place, bytes));
  if (found.has_value()) return index.Update(transaction, found->position, value);
  return index.Insert(transaction, place, bytes, value).status();
}

absl::Status Catalog::Erase(store::Transaction& transaction, const Key& key) {
  COW_ASSIGN_OR_RETURN(Index index, OpenIndex());
  COW_ASSIGN_OR_RETURN(std::optional<IndexEntry> found,
                       index.Find(PlaceOf(index, key.group, key.member), key.group + key.member));
  return found.has_value() ? index.Erase(transaction, found->position) : absl::OkStatus();
}

absl::StatusOr<std::optional<SnapshotRecord>> Catalog::Find(Owner owner,
                                                            std::string_view name) const {
  COW_ASSIGN_OR_RETURN(std::optional<IndexEntry> found,
                       FindEntry({Group(kSnapshot, owner.tree, owner.object), NameBytes(name)}));
  if (!found.has_value()) return std::nullopt;
  COW_ASSIGN_OR_RETURN(SnapshotRecord record, DecodeSnapshot(*found));
  return record;
}

absl::StatusOr<std::optional<SnapshotRecord>> Catalog::Find(uint64_t number) const {
  COW_ASSIGN_OR_RETURN(std::optional<IndexEntry> found, FindEntry({Group(kNumber, number), ""}));
  if (!found.has_value()) return std::nullopt;
  ByteReader value(found->value);
  const Owner owner = GetOwner(value);
  const std::string name(value.GetString());
  if (!value.ok()) return Malformed("malformed number in the catalog");
  return Find(owner, name);
}

absl::StatusOr<std::vector<SnapshotRecord>> Catalog::List(Owner owner) const {
  COW_ASSIGN_OR_RETURN(std::vector<IndexEntry> entries,
                       ListGroup(Group(kSnapshot, owner.tree, owner.object)));
  std::vector<SnapshotRecord> records;
  records.reserve(entries.size());
  for (const IndexEntry& entry : entries) {
    COW_ASSIGN_OR_RETURN(SnapshotRecord record, DecodeSnapshot(entry));
    records.push_back(std::move(record));
  }
  std::ranges::sort(records, {}, &SnapshotRecord::number);
  return records;
}

absl::StatusOr<std::vector<SnapshotRecord>> Catalog::ListAll() const {
  return Check([](const std::string&) {});
}

absl::StatusOr<uint64_t> Catalog::CountOf(Owner owner) const {
  COW_ASSIGN_OR_RETURN(std::optional<IndexEntry> found,
                       FindEntry({Group(kOwner, owner.tree, owner.object), ""}));
  if (!found.has_value()) return 0;
  ByteReader value(found->value);
  const uint64_t count = value.Get<uint64_t>();
  if (!value.ok()) return Malformed("malformed owner in the catalog");
  return count;
}

absl::Status Catalog::Add(store::Transaction& transaction, const SnapshotRecord& record) {
  const Owner owner = record.owner;
  COW_ASSIGN_OR_RETURN(const uint64_t count, CountOf(owner));
  COW_RETURN_IF_ERROR(Put(transaction,
                          {Group(kSnapshot, owner.tree, owner.object), NameBytes(record.name)},
                          EncodeSnapshot(record)));
  COW_RETURN_IF_ERROR(Put(transaction, {Group(kNumber, record.number), ""},
                          OwnerBytes(owner) + NameBytes(record.name)));
  return Put(transaction, {Group(kOwner, owner.tree, owner.object), ""},
             ByteWriter().Put(count + 1).Put(record.number).Take());
}

absl::StatusOr<uint64_t> Catalog::NewestOf(Owner owner) const {
  COW_ASSIGN_OR_RETURN(std::optional<IndexEntry> found,
                       FindEntry({Group(kOwner, owner.tree, owner.object), ""}));
  if (!found.has_value()) return 0;
  ByteReader value(found->value);
  value.Get<uint64_t>();
  if (!value.at_end()) return value.Get<uint64_t>();
  // Written before this was kept.
  COW_ASSIGN_OR_RETURN(std::vector<SnapshotRecord> records, List(owner));
  return records.empty() ? 0 : records.back().number;
}

absl::StatusOr<uint64_t> Catalog::FramesToRemove(Owner owner) const {
  COW_ASSIGN_OR_RETURN(const uint64_t count, CountOf(owner));
  if (count > 1) return kFramesToAdd;
  COW_ASSIGN_OR_RETURN(std::vector<PlaceName> places, LeftBy(owner));
  return kFramesToAdd + 2 * places.size() * kFramesPerIndexChange;
}

absl::Status Catalog::Remove(store::Transaction& transaction, const SnapshotRecord& record) {
  const Owner owner = record.owner;
  COW_ASSIGN_OR_RETURN(const uint64_t count, CountOf(owner));
  COW_ASSIGN_OR_RETURN(const uint64_t newest, NewestOf(owner));
  COW_RETURN_IF_ERROR(
      Erase(transaction, {Group(kSnapshot, owner.tree, owner.object), NameBytes(record.name)}));
  COW_RETURN_IF_ERROR(Erase(transaction, {Group(kNumber, record.number), ""}));
  const Key owner_key = {Group(kOwner, owner.tree, owner.object), ""};
  if (count > 1) {
    return Put(transaction, owner_key, ByteWriter().Put(count - 1).Put(newest).Take());
  }
  COW_RETURN_IF_ERROR(Erase(transaction, owner_key));
  COW_ASSIGN_OR_RETURN(std::vector<PlaceName> places, LeftBy(owner));
  return ForgetPlaces(transaction, owner, places);
}

absl::Status Catalog::ForgetPlaces(store::Transaction& transaction, Owner owner,
                                   std::span<const PlaceName> places) {
  for (const PlaceName& place : places) {
    COW_RETURN_IF_ERROR(
        Erase(transaction,
              {Group(kHistory, place.tree, place.directory, place.name), OwnerBytes(owner)}));
    COW_RETURN_IF_ERROR(
        Erase(transaction, {Group(kNames, owner.tree, owner.object), PlaceBytes(place)}));
  }
  return absl::OkStatus();
}

absl::Status Catalog::Rename(store::Transaction& transaction, const SnapshotRecord& record,
                             std::string_view name) {
  const std::string group = Group(kSnapshot, record.owner.tree, record.owner.object);
  COW_RETURN_IF_ERROR(Erase(transaction, {group, NameBytes(record.name)}));
  COW_RETURN_IF_ERROR(Put(transaction, {group, NameBytes(name)}, EncodeSnapshot(record)));
  return Put(transaction, {Group(kNumber, record.number), ""},
             OwnerBytes(record.owner) + NameBytes(name));
}

absl::Status Catalog::Depart(store::Transaction& transaction, Owner owner, const PlaceName& place) {
  const std::string here = Group(kHistory, place.tree, place.directory, place.name);
  const std::string own = Group(kNames, owner.tree, owner.object);
  // Behind all that left the name, and all that the owner left.
  uint64_t order = 0;
  for (const std::string& group : {here, own}) {
    COW_ASSIGN_OR_RETURN(std::vector<IndexEntry> entries, ListGroup(group));
    for (const IndexEntry& entry : entries) {
      order = std::max(order, ByteReader(entry.value).Get<uint64_t>() + 1);
    }
  }
  COW_ASSIGN_OR_RETURN(const uint64_t newest, NewestOf(owner));
  const std::string value = ByteWriter().Put(order).Put(newest).Take();
  COW_RETURN_IF_ERROR(Put(transaction, {here, OwnerBytes(owner)}, value));
  COW_RETURN_IF_ERROR(Put(transaction, {own, PlaceBytes(place)}, value));
  COW_ASSIGN_OR_RETURN(std::vector<PlaceName> places, LeftBy(owner));
  if (places.size() <= kMaxPlaces) return absl::OkStatus();
  const size_t forgotten = std::min(places.size() - kMaxPlaces, kMaxForgotten);
  return ForgetPlaces(transaction, owner, std::span(places).last(forgotten));
}

absl::StatusOr<std::vector<DepartedOwner>> Catalog::Departed(const PlaceName& place) const {
  const std::string group = Group(kHistory, place.tree, place.directory, place.name);
  COW_ASSIGN_OR_RETURN(std::vector<IndexEntry> entries, ListGroup(group));
  std::vector<std::pair<uint64_t, DepartedOwner>> ordered;
  for (const IndexEntry& entry : entries) {
    ByteReader member(std::string_view(entry.key).substr(group.size()));
    const Owner owner = GetOwner(member);
    if (!member.ok()) return Malformed("malformed history in the catalog");
    ByteReader value(entry.value);
    const uint64_t order = value.Get<uint64_t>();
    // Where it was written before this was kept, all its snapshots count.
    const uint64_t newest =
        value.at_end() ? std::numeric_limits<uint64_t>::max() : value.Get<uint64_t>();
    if (!value.ok()) return Malformed("malformed history in the catalog");
    ordered.emplace_back(order, DepartedOwner{owner, newest});
  }
  std::ranges::sort(ordered, std::greater<>(), [](const auto& item) { return item.first; });
  std::vector<DepartedOwner> owners;
  for (const auto& [order, owner] : ordered) owners.push_back(owner);
  return owners;
}

absl::StatusOr<std::vector<PlaceName>> Catalog::LeftBy(Owner owner) const {
  const std::string group = Group(kNames, owner.tree, owner.object);
  COW_ASSIGN_OR_RETURN(std::vector<IndexEntry> entries, ListGroup(group));
  std::ranges::sort(entries, std::greater<>(), [](const IndexEntry& entry) {
    return ByteReader(entry.value).Get<uint64_t>();
  });
  std::vector<PlaceName> places;
  for (const IndexEntry& entry : entries) {
    ByteReader member(std::string_view(entry.key).substr(group.size()));
    PlaceName place = GetPlace(member);
    if (!member.ok()) return Malformed("malformed names in the catalog");
    places.push_back(std::move(place));
  }
  return places;
}

absl::Status Catalog::AddNested(store::Transaction& transaction, uint64_t parent, uint64_t tree) {
  return Put(transaction, {Group(kNested, parent), ByteWriter().Put(tree).Take()}, "");
}

absl::Status Catalog::RemoveNested(store::Transaction& transaction, uint64_t parent,
                                   uint64_t tree) {
  return Erase(transaction, {Group(kNested, parent), ByteWriter().Put(tree).Take()});
}

absl::StatusOr<std::vector<uint64_t>> Catalog::Nested(uint64_t parent) const {
  const std::string group = Group(kNested, parent);
  COW_ASSIGN_OR_RETURN(std::vector<IndexEntry> entries, ListGroup(group));
  std::vector<uint64_t> trees;
  for (const IndexEntry& entry : entries) {
    trees.push_back(ByteReader(std::string_view(entry.key).substr(group.size())).Get<uint64_t>());
  }
  return trees;
}

absl::StatusOr<std::vector<SnapshotRecord>> Catalog::Check(
    const std::function<void(std::string)>& damage) const {
  std::vector<SnapshotRecord> records;
  if (empty()) return records;
  COW_ASSIGN_OR_RETURN(Index index, OpenIndex());
  COW_RETURN_IF_ERROR(index.Check());
  std::map<Owner, uint64_t> counts;
  std::map<Owner, uint64_t> known;
  std::map<uint64_t, std::pair<Owner, std::string>> numbers;
  uint64_t histories = 0;
  uint64_t names = 0;
  absl::Status status;
  COW_RETURN_IF_ERROR(index.Scan(0, [&](const IndexEntry& entry) {
    ByteReader key(entry.key);
    ByteReader value(entry.value);
    switch (key.Get<char>()) {
      case kSnapshot: {
        absl::StatusOr<SnapshotRecord> record = DecodeSnapshot(entry);
        status = record.status();
        if (!status.ok()) return false;
        ++counts[record->owner];
        records.push_back(*std::move(record));
        break;
      }
      case kNumber: {
        const uint64_t number = key.Get<uint64_t>();
        const Owner owner = GetOwner(value);
        numbers[number] = {owner, std::string(value.GetString())};
        break;
      }
      case kOwner: {
        const Owner owner = GetOwner(key);
        known[owner] = value.Get<uint64_t>();
        break;
      }
      case kHistory:
        ++histories;
        break;
      case kNames:
        ++names;
        break;
      case kNested:
        break;
      default:
        damage("entry of an unknown kind");
    }
    return true;
  }));
  COW_RETURN_IF_ERROR(status);
  if (counts != known) damage("owners and snapshots do not agree");
  if (histories != names) damage("names that were left and their owners do not agree");
  if (numbers.size() != records.size()) damage("numbers and snapshots do not agree");
  for (const SnapshotRecord& record : records) {
    auto it = numbers.find(record.number);
    if (it == numbers.end() || it->second != std::pair(record.owner, record.name)) {
      damage(absl::StrCat("snapshot ", record.number, " is not found by its number"));
    }
  }
  std::ranges::sort(records, {}, &SnapshotRecord::number);
  return records;
}

absl::StatusOr<CatalogRemains> Catalog::Remains(const store::Object& object,
                                                const Index::LostFunction& lost) {
  CatalogRemains remains;
  const auto take = [&remains](const IndexEntry& entry) -> absl::Status {
    ByteReader key(entry.key);
    ByteReader value(entry.value);
    switch (key.Get<char>()) {
      case kSnapshot: {
        COW_ASSIGN_OR_RETURN(SnapshotRecord record, DecodeSnapshot(entry));
        const uint64_t number = record.number;
        remains.snapshots[number] = std::move(record);
        return absl::OkStatus();
      }
      case kNumber: {
        SnapshotRecord record;
        record.number = key.Get<uint64_t>();
        record.owner = GetOwner(value);
        record.name = std::string(value.GetString());
        if (!key.ok() || !value.ok()) return Malformed("malformed number in the catalog");
        remains.snapshots.try_emplace(record.number, std::move(record));
        return absl::OkStatus();
      }
      case kNames: {
        const Owner owner = GetOwner(key);
        key.GetString();
        PlaceName place = GetPlace(key);
        const uint64_t order = value.Get<uint64_t>();
        if (!key.ok() || !value.ok()) return Malformed("malformed names in the catalog");
        remains.left[owner].push_back({order, std::move(place)});
        return absl::OkStatus();
      }
      default:
        return absl::OkStatus();
    }
  };
  COW_RETURN_IF_ERROR(Index::Remains(
      object,
      [&](const IndexEntry& entry) {
        if (absl::Status status = take(entry); !status.ok()) lost(0, object.size(), status);
      },
      lost));
  for (auto& [owner, places] : remains.left) {
    std::ranges::sort(places, std::greater<>(), &CatalogRemains::Left::order);
  }
  return remains;
}

}  // namespace cow::fs
