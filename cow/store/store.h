// The store: frames, page tables, tables of objects, versions, commits. It knows no names.
//
// A volume holds tables. A table maps object numbers to objects: each has a root (a page table, or
// for objects that stand for a tree, a table), a size and up to kMaxAttributes opaque bytes.
//   - trees():    the table of trees: each object in it is the head of one tree;
//   - a tree:     the table of a tree's files, directories and links;
//   - catalog():  versions (snapshots of objects and of trees), and whatever objects the layer
//                 above needs to find them. It is part of no snapshot.
// Copying a root shares all that is below it; so snapshot, clone and rollback of one object and of
// a whole tree are the same operation, Share or Replace, at the same cost: O(1).
//
// Changes are made in transactions: everything done in one is in the same commit, or lost with it.
//   auto transaction = store->Begin(FramesToWrite(length));          // reserves space
//   COW_RETURN_IF_ERROR(object->Write(*transaction, offset, bytes));
//   // ends with the transaction's destructor; durable after the next Commit().
//
// Thread safety: everything here may be called from many threads. Within one transaction, one
// thread at a time. Lock order: gate (transaction), object write lock, object state, table,
// allocator, log. A thread holds at most one transaction at a time and calls neither Begin,
// BeginFrozen nor Commit while it does (that would deadlock).
//
// Lifetime: the Store outlives every transaction, Table and Object obtained from it.
//
// Errors, unless said otherwise: kDataLoss (EIO) for a frame whose checksum does not match or a
// failing disk; kResourceExhausted (ENOSPC) when the volume or its host is full;
// kFailedPrecondition (EROFS) for a change to a version, to a volume that was opened for reading,
// or after a write or flush failed (then with the first cause); kOutOfRange (EFBIG) beyond
// kMaxSize.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/base/types.h"
#include "cow/os/file.h"
#include "cow/store/check.h"
#include "cow/store/counters.h"

namespace cow::store {

// Attribute bytes an object can have.
inline constexpr size_t kMaxAttributes = 208;
// Largest size of an object: 2^40 pages.
inline constexpr uint64_t kMaxSize = uint64_t{1} << 52;

struct CreateOptions {
  // Limit of the volume file in bytes; 0: none but the host's.
  uint64_t max_bytes = 0;
  // Without checksums on data: for volumes in memory.
  bool data_checksums = true;
};

struct OpenOptions {
  // Open for reading: any number of processes, beside one that writes. The version that was durable
  // at the time of the open stays readable until the Store is destroyed.
  bool read_only = false;
  // Also open, for reading only, a volume whose file ends before the volume does: what was there
  // is damage like any other.
  bool truncated = false;
  // Also open, for reading only, the tables of the commit before: trees_before, catalog_before.
  // Nothing keeps a writer from frames that only that commit refers to.
  bool commit_before = false;
  // Bound of the memory for page-table nodes and count leaves that are not dirty.
  uint64_t cache_bytes = 64 << 20;
  // Seconds between commits by the background thread; 0: no background thread at all (nothing is
  // committed, folded or given back but by Commit and Settle): for tests.
  int commit_seconds = 5;
  // Commits that change at most so many frames (4 MiB) are made durable with one flush in place of
  // two, and an open that follows a crash reads these frames; 0: none are.
  uint64_t one_flush_frames = 1024;
  // One in so many commits folds the count log and releases what is free by then; each does where
  // space is short.
  uint64_t commits_per_fold = 256;
  // Items of the count log that such a commit folds; more only where very many are pending.
  uint64_t fold_per_commit = 16384;
};

class Core;
class Store;
class Table;
class Object;
class TableState;
class ObjectState;

// Frames a transaction needs to write `length` bytes in one run, or to change the attributes or
// size of one object; add them up for several.
uint64_t FramesToWrite(uint64_t length);
// As many for these pages, in ascending order.
uint64_t FramesToWrite(std::span<const PageNumber> pages);
inline constexpr uint64_t kFramesToChange = 24;

// A hold on the volume's current generation within which changes are made. Movable; ends when
// destroyed.
class Transaction {
 public:
  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  // Made by BeginFrozen: the only ones that may Share, Replace and ShareRange.
  bool frozen() const { return frozen_; }

 private:
  friend class Core;
  friend class Store;
  friend class Object;
  friend class Table;
  Transaction(Store* store, bool frozen, uint64_t reserved);
  Store* store_;
  bool frozen_;
  uint64_t reserved_;  // frames
};

// Pages [page, page + count) of an object are frames [frame, frame + count).
struct Extent {
  PageNumber page;
  FrameNumber frame;
  uint64_t count = 0;
  friend bool operator==(const Extent&, const Extent&) = default;
};

// What a survey answers its caller with: `count` pages or objects from `begin` on, which are there,
// or, where `status` is an error, of which it cannot be told. False ends the survey.
using Surveyor = std::function<bool(uint64_t begin, uint64_t count, const absl::Status& status)>;

// An object: the head, or, where read_only(), a version. All that are open of the same object share
// one state.
//
// Reads take no lock that is held during a writer's I/O. Writes of one object exclude one another.
// A read beside a write of the same pages sees old, new or both, as read(2) does.
class Object {
 public:
  ~Object();

  ObjectNumber number() const;
  // False in a table that can be written, for objects that are not versions.
  bool read_only() const;
  // The root is a table: this is a tree, or a snapshot of one. Such objects have no bytes.
  bool is_tree() const;

  uint64_t size() const;
  std::string attributes() const;

  // Reads up to buffer.size() bytes at `offset`; returns how many: fewer only at the end of the
  // object. Holes read as zero.
  absl::StatusOr<size_t> Read(uint64_t offset, std::span<std::byte> buffer) const;

  // Where the frames of pages [begin, end) are, in order, consecutive ones joined; pages in none
  // are holes. With `verify`, every frame that is not known good is read and its checksum compared.
  // The frames keep their content as long as this Object lives if it is read_only(); of a head,
  // until the page is written next or the transaction ends, whichever is first.
  absl::StatusOr<std::vector<Extent>> Extents(PageNumber begin, PageNumber end, bool verify) const;

  // First byte at or after `offset` that is data (in a page with a frame), or that is in a hole (or
  // the end of the object). kNotFound (ENXIO) when `offset` is at or past the end, and for NextData
  // also when there is no data after it.
  absl::StatusOr<uint64_t> NextData(uint64_t offset) const;
  absl::StatusOr<uint64_t> NextHole(uint64_t offset) const;

  // What is left of the page table of a read_only() object: runs of pages that are data, and runs
  // that lie behind a node that cannot be read, in order. Costs the nodes, and no page.
  absl::Status Survey(const Surveyor& found) const;

  // Pages that are data, the holes not counted. O(1).
  uint64_t allocated_pages() const;

  // Writes `bytes` at `offset`; grows the object as needed. On an error a part may have been
  // written. `bytes` must not change during the call: they are checksummed, then copied.
  absl::Status Write(Transaction& transaction, uint64_t offset, std::span<const std::byte> bytes);
  // Writes whole pages within the object, wherever they are: at most 256, in ascending order, with
  // `bytes` one after the other. They go to consecutive frames where there are such. As Write.
  absl::Status WritePages(Transaction& transaction, std::span<const PageNumber> pages,
                          std::span<const std::byte> bytes);
  // Sets the size. What is cut off is freed; what is added is a hole. Bytes past the end of a file
  // are zero in its last page, always.
  absl::Status Truncate(Transaction& transaction, uint64_t size);
  // Makes [offset, offset + length) read as zero and frees whole pages in it; the size stays.
  absl::Status Punch(Transaction& transaction, uint64_t offset, uint64_t length);
  absl::Status SetAttributes(Transaction& transaction, std::string attributes);

 private:
  friend class Store;
  friend class Strays;
  friend class Table;
  friend class TableState;
  explicit Object(std::shared_ptr<ObjectState> state);
  const std::shared_ptr<ObjectState> state_;
};

// A table of objects: the head of a tree, the catalog, the trees; or a version of a tree.
class Table {
 public:
  ~Table();

  bool read_only() const;

  // An object; kNotFound (ENOENT) when there is none of that number.
  absl::StatusOr<std::shared_ptr<Object>> Open(ObjectNumber number);

  // A new, empty object of size 0 with a number never used before in this table (in the life of the
  // tree, over rollbacks). Numbers begin at 1 and are given in ascending order.
  absl::StatusOr<std::shared_ptr<Object>> Create(Transaction& transaction,
                                                 std::string attributes = {});

  // Takes the object out of the table. Where it is open it lives on, readable and writable, until
  // it is closed everywhere (or the volume is next opened for writing); then its frames are freed
  // in the background, in bounded steps.
  absl::Status Remove(Transaction& transaction, const std::shared_ptr<Object>& object);

  // Smallest object number >= `number` in use; nullopt when there is none.
  absl::StatusOr<std::optional<ObjectNumber>> NextObject(ObjectNumber number) const;

  // What is left of a table that is read_only(): the objects in use one by one, and runs of those
  // whose records cannot be read, in order.
  absl::Status Survey(const Surveyor& found) const;

 private:
  friend class Core;
  friend class PinnedGeneration;
  friend class Store;
  friend class Strays;
  friend class Object;
  explicit Table(std::shared_ptr<TableState> state);
  const std::shared_ptr<TableState> state_;
};

// Of the pages that were looked at.
struct DefragmentResult {
  uint64_t extents_before = 0;
  uint64_t extents_after = 0;
  uint64_t moved_pages = 0;
  uint64_t shared_pages = 0;  // in short extents, and left there: other versions have them too
};

struct Space {
  uint64_t total_frames = 0;      // of the volume file now, or of its limit where it has one
  uint64_t used_frames = 0;       // in use: data, nodes, and what waits to be freed
  uint64_t available_frames = 0;  // that a write can get, the reserve not counted
  uint64_t pending_items = 0;     // of the count log: not yet folded
  uint64_t deferred_frames = 0;   // free, but waiting for a commit or for a pin
};

class Store {
 public:
  // Makes a volume in `file`, which is empty, and opens it for writing. There are no trees yet.
  static absl::StatusOr<std::unique_ptr<Store>> Create(std::unique_ptr<os::File> file,
                                                       const CreateOptions& create,
                                                       const OpenOptions& options);

  // Opens a volume. kInvalidArgument when it is none, kUnimplemented for unknown incompatible
  // features, kUnavailable (EBUSY, the message names the holder) when another process writes it.
  static absl::StatusOr<std::unique_ptr<Store>> Open(std::unique_ptr<os::File> file,
                                                     const OpenOptions& options);

  // Commits (what a failed commit loses is reported by Commit, so call it first) and closes. What
  // was not closed is opened by reading up to 1024 frames and the count log more.
  ~Store();

  bool read_only() const;

  // A transaction with space for `frames` reserved. kResourceExhausted when there is not so much;
  // with `use_reserve`, for changes that free space (remove, truncate, rollback), the reserve
  // counts too.
  absl::StatusOr<Transaction> Begin(uint64_t frames, bool use_reserve = false);

  // As Begin, but alone: waits until no transaction is open and keeps others out, and everything
  // before it is published (the generation advances). Costs what was written since the last one:
  // keep it short.
  absl::StatusOr<Transaction> BeginFrozen(uint64_t frames, bool use_reserve = false);

  Table& trees();
  Table& catalog();
  // As they were in the commit before, which the other slot of the superblock has; nullptr where it
  // has not, or was not opened. A number that both have is of the same object.
  Table* trees_before();
  Table* catalog_before();

  // A new tree without objects; the result is its object in trees().
  absl::StatusOr<std::shared_ptr<Object>> CreateTree(Transaction& transaction,
                                                     std::string attributes = {});
  // The table of a tree, or of a snapshot of one (object->is_tree()). The same Table while one is
  // alive. It keeps the object open.
  absl::StatusOr<std::shared_ptr<Table>> OpenTree(const std::shared_ptr<Object>& tree);

  // A new object in `target` with the content and size of `source`: a snapshot when `version` (it
  // is read-only then), a clone otherwise. Its attributes are those of `source`, or those given.
  // Trees go to trees() or catalog(). O(1).
  absl::StatusOr<std::shared_ptr<Object>> Share(Transaction& frozen, const Object& source,
                                                Table& target, bool version,
                                                std::optional<std::string> attributes = {});

  // The content and size (for files) or table (for trees) of `head` become those of `source`;
  // attributes of `head` stay. Open objects of a tree so replaced show what is there now; those
  // whose number is not there answer kNotFound (ESTALE). O(1), plus the objects open.
  absl::Status Replace(Transaction& frozen, Object& head, const Object& source);

  // Pages [target_page, target_page + count) of `target` become references to those of `source`
  // from source_page on; holes become holes. Sizes stay (so set the target's first). Within one
  // object the ranges must not overlap. O(count).
  absl::Status ShareRange(Transaction& frozen, const Object& source, PageNumber source_page,
                          Object& target, PageNumber target_page, uint64_t count);

  // Makes everything done in transactions that ended before the call durable. Callers that wait
  // together share one. After a failure the volume is read-only and every later call fails with the
  // same error.
  absl::Status Commit();

  // Moves what lies in short extents among pages [begin, end) of `head`, which begin and end with a
  // node (256 pages), to extents of 1 MiB, where there are such: its content stays. Pages that other
  // versions have too are moved only with `unshare`: each takes a frame more then. Settles first
  // where there is something to move. Costs reading and writing what is moved; and space for
  // that, until what was there is free. Others may do what they like meanwhile.
  absl::StatusOr<DefragmentResult> Defragment(Object& head, PageNumber begin, PageNumber end,
                                              bool unshare);

  // OK, or why the volume was made read-only.
  absl::Status health() const;

  Space space() const;
  Counters counters() const;

  // Folds the count log to its end and commits until everything that can be freed is free.
  absl::Status Settle();

  // Bytes that would be free if `object` (a version or a head) were removed: frames that nothing
  // else refers to. Settles first. Cost: the frames counted. In a store that was opened for
  // reading, this and a check need that nobody writes the volume: kUnavailable (EBUSY, EAGAIN)
  // otherwise; and they keep writers out until the Store is destroyed.
  absl::StatusOr<uint64_t> ExclusiveBytes(const Object& object);

  // Pins what there is now for a check. Others wait as for BeginFrozen, and for what has been
  // written to be counted. One check or repair at a time: waits for the one under way.
  absl::StatusOr<std::unique_ptr<PinnedGeneration>> PinForCheck();
  // The check of what there is now.
  absl::StatusOr<CheckResult> Check(const CheckProgress& progress = {});

  // Makes every count the number of references that exist, and frees what has none; a count leaf
  // that cannot be read is made anew. Nothing is guessed: where a node cannot be read, what it
  // refers to is not known, and no count is touched (remove the damaged files first). Copies of
  // the superblock were made good by the open. Kill-safe: it can be begun anew. Memory: 4 bytes for
  // each frame in use. kUnavailable (EBUSY) while other processes read the volume. All else waits.
  absl::StatusOr<RepairResult> Repair(const std::function<void(uint64_t, uint64_t)>& progress = {});

  Generation generation() const;
  std::array<uint8_t, 16> uuid() const;
  const os::File& file() const;

 private:
  friend class Core;
  friend class Strays;
  friend class Transaction;
  friend class Object;
  friend class Table;
  friend class TableState;
  friend class ObjectState;
  absl::Status ReserveFrames(uint64_t frames, bool use_reserve);
  absl::StatusOr<Transaction> BeginWithoutCommit(uint64_t frames, bool use_reserve);
  // Which of pages [begin, end) nothing but `object` refers to; a hole is none.
  absl::StatusOr<std::vector<bool>> ExclusivePages(const Object& object, PageNumber begin,
                                                   PageNumber end);
  absl::StatusOr<uint64_t> MoveTogether(ObjectState& state, PageNumber begin, PageNumber end);
  explicit Store(std::unique_ptr<Core> core);
  const std::unique_ptr<Core> core_;
};

}  // namespace cow::store
