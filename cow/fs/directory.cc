#include "cow/fs/directory.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cow/base/status.h"

namespace cow::fs {
namespace {

// Page: version (1), zero (3), bytes of entries (4), page it overflows to (8; 0: none), entries.
// Entry: key (8), object (8), tree (8), length of the name (2), type (2: mode >> 12), zero (4), the
// name, zeroes to a multiple of 8.
constexpr uint8_t kPageVersion = 1;
constexpr size_t kPageHeader = 16;
constexpr size_t kEntryHeader = 32;
constexpr size_t kMaxKeyName = 300;
// Overflow pages lie behind all buckets.
constexpr uint64_t kFirstOverflow = uint64_t{1} << 24;

struct RawHeader {
  uint8_t version;
  std::array<uint8_t, 3> reserved;
  uint32_t bytes;
  uint64_t overflow;
};
struct RawEntry {
  uint64_t key;
  uint64_t object;
  uint64_t tree;
  uint16_t name_length;
  uint16_t type;
  uint32_t reserved;
};
static_assert(sizeof(RawHeader) == kPageHeader && sizeof(RawEntry) == kEntryHeader);

using Page = std::array<std::byte, kPageSize>;

size_t SizeOf(const DirectoryItem& item) {
  return kEntryHeader + (item.name.size() + 7) / 8 * 8;
}

uint64_t Reverse(uint64_t bits) {
  bits = (bits >> 1 & 0x5555555555555555) | (bits & 0x5555555555555555) << 1;
  bits = (bits >> 2 & 0x3333333333333333) | (bits & 0x3333333333333333) << 2;
  bits = (bits >> 4 & 0x0f0f0f0f0f0f0f0f) | (bits & 0x0f0f0f0f0f0f0f0f) << 4;
  return __builtin_bswap64(bits);
}

// Keys are below 2^63 (offsets of directories are signed) and above 0.
uint64_t KeyOf(std::string_view name) {
  return std::max<uint64_t>(1, Reverse(XXH3_64bits(name.data(), name.size())) >> 1);
}

absl::Status Damaged(const char* what) {
  return MakeError(absl::StatusCode::kDataLoss, EIO, what);
}

absl::Status ParsePage(const Page& page, std::vector<DirectoryItem>& items, uint64_t& overflow) {
  RawHeader header;
  std::memcpy(&header, page.data(), sizeof(header));
  if (header.version == 0) {  // a hole: an empty bucket
    overflow = 0;
    return absl::OkStatus();
  }
  if (header.version != kPageVersion || header.bytes > kPageSize - kPageHeader) {
    return Damaged("directory page of an unknown kind");
  }
  overflow = header.overflow;
  const size_t end = kPageHeader + header.bytes;
  for (size_t at = kPageHeader; at < end;) {
    RawEntry raw;
    if (end - at < sizeof(raw)) return Damaged("directory entry beyond its page");
    std::memcpy(&raw, page.data() + at, sizeof(raw));
    DirectoryItem item;
    if (raw.name_length == 0 || raw.name_length > end - at - sizeof(raw)) {
      return Damaged("directory entry beyond its page");
    }
    item.name.assign(reinterpret_cast<const char*>(page.data() + at + sizeof(raw)),
                     raw.name_length);
    item.key = raw.key;
    item.object = raw.object;
    item.tree = raw.tree;
    item.type = uint32_t{raw.type} << 12;
    at += SizeOf(item);
    items.push_back(std::move(item));
  }
  return absl::OkStatus();
}

Page ComposePage(std::span<const DirectoryItem> items, uint64_t overflow) {
  Page page = {};
  size_t at = kPageHeader;
  for (const DirectoryItem& item : items) {
    RawEntry raw = {};
    raw.key = item.key;
    raw.object = item.object;
    raw.tree = item.tree;
    raw.name_length = static_cast<uint16_t>(item.name.size());
    raw.type = static_cast<uint16_t>(item.type >> 12);
    std::memcpy(page.data() + at, &raw, sizeof(raw));
    std::memcpy(page.data() + at + sizeof(raw), item.name.data(), item.name.size());
    at += SizeOf(item);
  }
  RawHeader header = {};
  header.version = kPageVersion;
  header.bytes = static_cast<uint32_t>(at - kPageHeader);
  header.overflow = overflow;
  std::memcpy(page.data(), &header, sizeof(header));
  return page;
}

}  // namespace

// With n buckets, 2^k <= n < 2^(k+1): of the buckets below 2^k, the first n - 2^k are split already,
// and are chosen by k + 1 bits, as those from 2^k on are; the others by k bits.
uint64_t Directory::BucketOf(uint64_t key) const {
  const uint64_t buckets = std::max<uint64_t>(1, inode_.buckets);
  const uint64_t hash = Reverse(key << 1);
  const uint64_t half = std::bit_floor(buckets);
  const uint64_t long_bucket = hash & (2 * half - 1);
  return long_bucket < buckets ? long_bucket : hash & (half - 1);
}

absl::StatusOr<Directory::Bucket> Directory::ReadBucket(uint64_t bucket) const {
  constexpr size_t kMostPages = 1 << 16;
  Bucket result;
  for (uint64_t page = bucket, next = 0;; page = next) {
    if (result.pages.size() > kMostPages) return Damaged("directory bucket without an end");
    result.pages.push_back(page);
    Page bytes = {};
    COW_RETURN_IF_ERROR(object_->Read(page * kPageSize, bytes).status());
    COW_RETURN_IF_ERROR(ParsePage(bytes, result.items, next));
    if (next == 0) return result;
  }
}

absl::Status Directory::WriteBucket(store::Transaction& transaction, Bucket& bucket) {
  std::span<const DirectoryItem> rest = bucket.items;
  for (size_t i = 0; i == 0 || !rest.empty(); ++i) {
    size_t count = 0;
    for (size_t bytes = kPageHeader;
         count < rest.size() && bytes + SizeOf(rest[count]) <= kPageSize; ++count) {
      bytes += SizeOf(rest[count]);
    }
    const bool last = count == rest.size();
    if (!last && i + 1 == bucket.pages.size()) {
      bucket.pages.push_back(kFirstOverflow + inode_.next_overflow++);
    }
    const Page page = ComposePage(rest.first(count), last ? 0 : bucket.pages[i + 1]);
    COW_RETURN_IF_ERROR(object_->Write(transaction, bucket.pages[i] * kPageSize, page));
    rest = rest.subspan(count);
    if (!last) continue;
    for (size_t unused = i + 1; unused < bucket.pages.size(); ++unused) {
      COW_RETURN_IF_ERROR(
          object_->Punch(transaction, bucket.pages[unused] * kPageSize, kPageSize));
    }
    break;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<DirectoryItem>> Directory::Find(std::string_view name) const {
  COW_ASSIGN_OR_RETURN(Bucket bucket, ReadBucket(BucketOf(KeyOf(name))));
  for (DirectoryItem& item : bucket.items) {
    if (item.name == name) return std::move(item);
  }
  return std::nullopt;
}

absl::Status Directory::Insert(store::Transaction& transaction, DirectoryItem item) {
  if (item.name.empty() || item.name.size() > kMaxKeyName) {
    return MakeError(absl::StatusCode::kInvalidArgument, ENAMETOOLONG, "name too long");
  }
  inode_.buckets = std::max<uint64_t>(1, inode_.buckets);
  item.key = KeyOf(item.name);
  COW_ASSIGN_OR_RETURN(Bucket bucket, ReadBucket(BucketOf(item.key)));
  // Names with the same hash take neighbouring keys, which are in the same bucket.
  const uint64_t step = (item.key & 0xffff) < 0x8000 ? 1 : -1;
  while (std::any_of(bucket.items.begin(), bucket.items.end(),
                     [&](const DirectoryItem& other) { return other.key == item.key; })) {
    item.key += step;
  }
  bucket.items.push_back(std::move(item));
  const size_t pages = bucket.pages.size();
  COW_RETURN_IF_ERROR(WriteBucket(transaction, bucket));
  ++inode_.entries;
  return bucket.pages.size() > pages ? Split(transaction) : absl::OkStatus();
}

absl::Status Directory::Split(store::Transaction& transaction) {
  if (inode_.buckets + 1 >= kFirstOverflow) return absl::OkStatus();
  const uint64_t from = inode_.buckets - std::bit_floor(inode_.buckets);
  COW_ASSIGN_OR_RETURN(Bucket old, ReadBucket(from));
  Bucket fresh;
  fresh.pages.push_back(inode_.buckets);
  ++inode_.buckets;
  auto moved = std::stable_partition(
      old.items.begin(), old.items.end(),
      [&](const DirectoryItem& item) { return BucketOf(item.key) == from; });
  fresh.items.assign(std::make_move_iterator(moved), std::make_move_iterator(old.items.end()));
  old.items.erase(moved, old.items.end());
  COW_RETURN_IF_ERROR(WriteBucket(transaction, fresh));
  return WriteBucket(transaction, old);
}

absl::Status Directory::Remove(store::Transaction& transaction, std::string_view name) {
  if (inode_.entries == 1) {
    inode_.entries = inode_.buckets = inode_.next_overflow = 0;
    return object_->Truncate(transaction, 0);
  }
  COW_ASSIGN_OR_RETURN(Bucket bucket, ReadBucket(BucketOf(KeyOf(name))));
  std::erase_if(bucket.items, [&](const DirectoryItem& item) { return item.name == name; });
  --inode_.entries;
  return WriteBucket(transaction, bucket);
}

absl::Status Directory::Update(store::Transaction& transaction, const DirectoryItem& item) {
  COW_ASSIGN_OR_RETURN(Bucket bucket, ReadBucket(BucketOf(KeyOf(item.name))));
  for (DirectoryItem& old : bucket.items) {
    if (old.name != item.name) continue;
    old.object = item.object;
    old.tree = item.tree;
    old.type = item.type;
  }
  return WriteBucket(transaction, bucket);
}

absl::Status Directory::Visit(uint64_t after,
                              const std::function<bool(const DirectoryItem&)>& visit) const {
  const uint64_t buckets = std::max<uint64_t>(1, inode_.buckets);
  const uint64_t half = std::bit_floor(buckets);
  constexpr uint64_t kEnd = uint64_t{1} << 63;
  for (uint64_t at = after + 1; at < kEnd;) {
    const uint64_t number = BucketOf(at);
    COW_ASSIGN_OR_RETURN(Bucket bucket, ReadBucket(number));
    std::sort(bucket.items.begin(), bucket.items.end(),
              [](const DirectoryItem& a, const DirectoryItem& b) { return a.key < b.key; });
    for (const DirectoryItem& item : bucket.items) {
      if (item.key >= at && !visit(item)) return absl::OkStatus();
    }
    // The bucket has all keys that begin with its bits: 63-bit keys, `bits` of them fixed.
    const bool is_long = number >= half || number + half < buckets;
    const int bits = std::countr_zero(half) + (is_long ? 1 : 0);
    const uint64_t range = kEnd >> bits;
    at = (at / range + 1) * range;
  }
  return absl::OkStatus();
}

}  // namespace cow::fs
