// A directory: names of up to 300 bytes, each with a target, in the pages of an object.
//
// Linear hashing (Litwin, "Linear hashing: a new tool for file and table addressing"): the pages
// are buckets, chosen by the name's hash; a bucket that overflows has one more page and makes the
// directory grow by one bucket, so that finding a name reads one page, or seldom two, however many
// there are. Entries are visited in the order of their key, the bit-reversed hash: every bucket
// holds one range of keys, whatever the number of buckets, so a key stays a valid place to go on
// from.
//
// Thread safety: none; the caller's lock.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cow/fs/inode.h"
#include "cow/store/store.h"

namespace cow::fs {

struct DirectoryItem {
  std::string name;
  uint64_t key = 0;  // given by the directory
  uint64_t object = 0;
  uint64_t tree = 0;  // other than 0: the root directory of that tree
  uint32_t type = 0;  // S_IFMT bits
};

class Directory {
 public:
  // `inode` is that of `object`; changes of it are the caller's to store.
  Directory(std::shared_ptr<store::Object> object, Inode& inode)
      : object_(std::move(object)), inode_(inode) {}

  // Frames that inserting or removing needs at most.
  static constexpr uint64_t kFrames = 40;

  absl::StatusOr<std::optional<DirectoryItem>> Find(std::string_view name) const;
  // `name` is not there yet.
  absl::Status Insert(store::Transaction& transaction, DirectoryItem item);
  // `name` is there.
  absl::Status Remove(store::Transaction& transaction, std::string_view name);
  // Points an entry that is there at something else.
  absl::Status Update(store::Transaction& transaction, const DirectoryItem& item);

  // Calls `visit` for entries with a key above `after`, in order, until it returns false.
  absl::Status Visit(uint64_t after, const std::function<bool(const DirectoryItem&)>& visit) const;

 private:
  struct Bucket {
    std::vector<DirectoryItem> items;
    std::vector<uint64_t> pages;  // the bucket's own, then those it overflows to
  };
  uint64_t BucketOf(uint64_t key) const;
  absl::StatusOr<Bucket> ReadBucket(uint64_t bucket) const;
  absl::Status WriteBucket(store::Transaction& transaction, Bucket& bucket);
  absl::Status Split(store::Transaction& transaction);

  std::shared_ptr<store::Object> object_;
  Inode& inode_;
};

}  // namespace cow::fs
