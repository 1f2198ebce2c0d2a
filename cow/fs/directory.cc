#include "cow/fs/directory.h"

#include <cerrno>
#include <utility>

#include "cow/fs/bytes.h"
#include "cow/fs/hash.h"

namespace cow::fs {
namespace {

// Set in the type of an entry that names a tree.
constexpr uint8_t kTreeBit = 0x80;

std::string EncodeTarget(const NamedEntry& entry) {
  const uint8_t type = static_cast<uint8_t>(entry.type) | (entry.tree ? kTreeBit : 0);
  return ByteWriter().Put(entry.object).Put(type).Put(uint8_t{0}).Take();
}

absl::StatusOr<NamedEntry> DecodeEntry(const IndexEntry& entry) {
  ByteReader in(entry.value);
  NamedEntry named;
  named.name = entry.key;
  named.position = entry.position;
  named.object = in.Get<uint64_t>();
  const uint8_t type = in.Get<uint8_t>();
  in.Get<uint8_t>();
  named.type = static_cast<FileType>(type & ~kTreeBit);
  named.tree = (type & kTreeBit) != 0;
  if (!in.ok() || (type & ~kTreeBit) < 1 ||
      (type & ~kTreeBit) > static_cast<uint8_t>(FileType::kSocket) ||
      (named.tree && !named.is_directory()) || !CheckName(named.name).ok()) {
    return Malformed("malformed directory entry");
  }
  return named;
}

absl::StatusOr<std::optional<NamedEntry>> DecodeFound(const std::optional<IndexEntry>& found) {
  if (!found.has_value()) return std::nullopt;
  COW_ASSIGN_OR_RETURN(NamedEntry entry, DecodeEntry(*found));
  return entry;
}

}  // namespace

absl::Status CheckName(std::string_view name) {
  if (name.size() > kMaxName) {
    return MakeError(absl::StatusCode::kInvalidArgument, ENAMETOOLONG,
                     "names have at most 255 bytes");
  }
  if (name.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, EINVAL, "a name cannot be empty");
  }
  if (name == "." || name == ".." || name.find('/') != std::string_view::npos ||
      name.find('\0') != std::string_view::npos) {
    return MakeError(absl::StatusCode::kInvalidArgument, EINVAL,
                     "a name cannot be '.' or '..' or have a slash or a zero byte in it");
  }
  return absl::OkStatus();
}

absl::StatusOr<Directory> Directory::Open(store::Object& object, const Index::Seed& seed) {
  COW_ASSIGN_OR_RETURN(Index index, Index::Open(object, seed));
  return Directory(std::move(index));
}

uint64_t Directory::PlaceOf(std::string_view name) const {
  return Index::Place(SipHash(index_.seed(), name));
}

absl::StatusOr<std::optional<NamedEntry>> Directory::Find(std::string_view name) const {
  COW_ASSIGN_OR_RETURN(std::optional<IndexEntry> found, index_.Find(PlaceOf(name), name));
  return DecodeFound(found);
}

absl::StatusOr<std::optional<NamedEntry>> Directory::At(uint64_t position) const {
  COW_ASSIGN_OR_RETURN(std::optional<IndexEntry> found, index_.At(position));
  return DecodeFound(found);
}

absl::Status Directory::Scan(uint64_t position,
                             const std::function<bool(const NamedEntry&)>& entry) const {
  absl::Status status;
  COW_RETURN_IF_ERROR(index_.Scan(position, [&](const IndexEntry& raw) {
    absl::StatusOr<NamedEntry> named = DecodeEntry(raw);
    status = named.status();
    return named.ok() && entry(*named);
  }));
  return status;
}

absl::StatusOr<std::vector<NamedEntry>> Directory::Remains(const store::Object& object,
                                                           const Index::LostFunction& lost) {
  std::vector<NamedEntry> entries;
  COW_RETURN_IF_ERROR(Index::Remains(
      object,
      [&](const IndexEntry& raw) {
        absl::StatusOr<NamedEntry> named = DecodeEntry(raw);
        if (named.ok()) {
          entries.push_back(*std::move(named));
        } else {
          lost(0, object.size(), named.status());
        }
      },
      lost));
  return entries;
}

absl::StatusOr<uint64_t> Directory::Insert(store::Transaction& transaction,
                                           const NamedEntry& entry) {
  return index_.Insert(transaction, PlaceOf(entry.name), entry.name, EncodeTarget(entry));
}

absl::Status Directory::Replace(store::Transaction& transaction, uint64_t position,
                                const NamedEntry& target) {
  return index_.Update(transaction, position, EncodeTarget(target));
}

absl::Status Directory::Erase(store::Transaction& transaction, uint64_t position) {
  return index_.Erase(transaction, position);
}

absl::Status Directory::Check() const {
  COW_RETURN_IF_ERROR(index_.Check());
  bool misplaced = false;
  COW_RETURN_IF_ERROR(Scan(0, [&](const NamedEntry& entry) {
    const uint64_t place = PlaceOf(entry.name);
    misplaced = entry.position < place || entry.position > place + 255;
    return !misplaced;
  }));
  return misplaced ? Malformed("name at the wrong place") : absl::OkStatus();
}

}  // namespace cow::fs
