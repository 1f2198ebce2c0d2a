#include "cow/fs/directory_page.h"

#include <algorithm>
#include <utility>

#include "cow/fs/bytes.h"

namespace cow::fs {
namespace {

constexpr uint32_t kMagic = 0x31786469;  // "idx1"
constexpr uint8_t kVersion = 1;
constexpr uint8_t kMaxPageLevel = 8;
constexpr size_t kHeaderBytes = 16;
constexpr size_t kRootHeaderBytes = 64;
constexpr size_t kEntryHeaderBytes = 12;
constexpr size_t kChildBytes = 16;

size_t BytesOf(const IndexEntry& entry) {
  return kEntryHeaderBytes + entry.key.size() + entry.value.size();
}

absl::Status DecodeEntries(ByteReader& in, uint16_t count, std::vector<IndexEntry>& entries) {
  entries.reserve(count);
  for (uint16_t i = 0; i < count; ++i) {
    IndexEntry entry;
    entry.position = in.Get<uint64_t>();
    const uint16_t key_length = in.Get<uint16_t>();
    const uint16_t value_length = in.Get<uint16_t>();
    entry.key = std::string(in.GetBytes(key_length));
    entry.value = std::string(in.GetBytes(value_length));
    if (!in.ok() || key_length + value_length > kMaxEntryBytes ||
        (i > 0 && entry.position <= entries.back().position)) {
      return Malformed("malformed entry in a directory page");
    }
    entries.push_back(std::move(entry));
  }
  return absl::OkStatus();
}

absl::Status DecodeChildren(ByteReader& in, uint16_t count, std::vector<IndexChild>& children) {
  children.reserve(count);
  for (uint16_t i = 0; i < count; ++i) {
    IndexChild child;
    child.first = in.Get<uint64_t>();
    child.page = in.Get<uint64_t>();
    if (!in.ok() || child.page == 0 || (i > 0 && child.first <= children.back().first)) {
      return Malformed("malformed child in a directory page");
    }
    children.push_back(child);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DirectoryPage> DirectoryPage::Decode(uint64_t number, std::string_view bytes) {
  ByteReader in(bytes);
  if (in.Get<uint32_t>() != kMagic) return Malformed("not a directory page");
  if (in.Get<uint8_t>() != kVersion) return Malformed("directory page of an unknown version");
  DirectoryPage page(number, in.Get<uint8_t>());
  const uint16_t count = in.Get<uint16_t>();
  in.Get<uint64_t>();
  if (page.is_root()) {
    page.root.seed[0] = in.Get<uint64_t>();
    page.root.seed[1] = in.Get<uint64_t>();
    page.root.pages = in.Get<uint64_t>();
    page.root.free_pages = in.Get<uint64_t>();
    page.root.first_free = in.Get<uint64_t>();
    in.Get<uint64_t>();
  }
  if (!in.ok() || page.level_ > kMaxPageLevel) return Malformed("malformed directory page");
  COW_RETURN_IF_ERROR(page.level_ == 0 ? DecodeEntries(in, count, page.entries)
                                       : DecodeChildren(in, count, page.children));
  return page;
}

std::string DirectoryPage::Encode() const {
  const size_t count = level_ == 0 ? entries.size() : children.size();
  ByteWriter out;
  out.Put(kMagic).Put(kVersion).Put(level_).Put(static_cast<uint16_t>(count)).Put(uint64_t{0});
  if (is_root()) {
    out.Put(root.seed[0]).Put(root.seed[1]);
    out.Put(root.pages).Put(root.free_pages).Put(root.first_free).Put(uint64_t{0});
  }
  std::string bytes = out.Take();
  bytes.reserve(kPageSize);
  auto append = [&bytes](const auto& number) {
    bytes.append(reinterpret_cast<const char*>(&number), sizeof(number));
  };
  for (const IndexEntry& entry : entries) {
    append(entry.position);
    append(static_cast<uint16_t>(entry.key.size()));
    append(static_cast<uint16_t>(entry.value.size()));
    bytes.append(entry.key);
    bytes.append(entry.value);
  }
  for (const IndexChild& child : children) {
    // What is before the second child is the first one's, wherever that once began.
    append(&child == &children.front() ? uint64_t{0} : child.first);
    append(child.page);
  }
  bytes.resize(kPageSize);
  return bytes;
}

size_t DirectoryPage::bytes() const {
  size_t bytes = is_root() ? kRootHeaderBytes : kHeaderBytes;
  bytes += children.size() * kChildBytes;
  for (const IndexEntry& entry : entries) bytes += BytesOf(entry);
  return bytes;
}

size_t DirectoryPage::FirstAt(uint64_t position) const {
  return std::lower_bound(
             entries.begin(), entries.end(), position,
             [](const IndexEntry& entry, uint64_t at) { return entry.position < at; }) -
         entries.begin();
}

size_t DirectoryPage::ChildFor(uint64_t position) const {
  const size_t after =
      std::upper_bound(children.begin(), children.end(), position,
                       [](uint64_t at, const IndexChild& child) { return at < child.first; }) -
      children.begin();
  return after == 0 ? 0 : after - 1;
}

uint64_t DirectoryPage::SplitInto(DirectoryPage& right) {
  if (level_ > 0) {
    const auto middle = children.begin() + children.size() / 2;
    right.children.assign(middle, children.end());
    children.erase(middle, children.end());
    return right.children.front().first;
  }
  size_t total = 0;
  for (const IndexEntry& entry : entries) total += BytesOf(entry);
  size_t left = 0;
  size_t split = 0;
  while (split + 1 < entries.size() &&
         (split == 0 || left + BytesOf(entries[split]) <= total / 2)) {
    left += BytesOf(entries[split++]);
  }
  right.entries.assign(std::make_move_iterator(entries.begin() + split),
                       std::make_move_iterator(entries.end()));
  entries.erase(entries.begin() + split, entries.end());
  return right.entries.front().position;
}

}  // namespace cow::fs
