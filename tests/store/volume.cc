#include "tests/store/volume.h"

#include <utility>

#include "cow/base/status.h"

namespace cow::test {

using store::kFramesToChange;
using store::Store;
using store::Table;

namespace {

// The value, or a failed test and a default.
template <typename T>
T Value(absl::StatusOr<T> result) {
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *std::move(result) : T();
}

void ExpectOk(const absl::Status& status) { EXPECT_TRUE(status.ok()) << status; }

}  // namespace

Volume::Volume(const store::CreateOptions& create, const store::OpenOptions& options)
    : disk_(std::make_shared<Disk>()), options_(options) {
  store_ = Value(Store::Create(Value(OpenFile(os::OpenMode::kCreate)), create, options));
}

Volume::Volume(std::shared_ptr<Disk> disk) : disk_(std::move(disk)), options_(kQuiet) { Reopen(); }

Volume::Volume(std::string path, const store::CreateOptions& create)
    : path_(std::move(path)), options_(kQuiet) {
  store_ = Value(Store::Create(Value(OpenFile(os::OpenMode::kCreate)), create, options_));
}

absl::StatusOr<std::unique_ptr<os::File>> Volume::OpenFile(os::OpenMode mode) {
  std::unique_ptr<os::File> file;
  if (disk_ != nullptr) {
    file = std::make_unique<MemoryFile>(disk_);
  } else {
    COW_ASSIGN_OR_RETURN(file, os::OpenFile(path_, mode));
  }
  return std::make_unique<ProbedFile>(std::move(file), probe_);
}

void Volume::Reopen() {
  store_.reset();
  store_ = Value(Store::Open(Value(OpenFile(os::OpenMode::kWrite)), options_));
}

absl::StatusOr<std::unique_ptr<Store>> Volume::OpenAnother(const store::OpenOptions& options) {
  return Store::Open(std::make_unique<MemoryFile>(disk_), options);
}

ObjectPointer Volume::CreateFile(std::span<const std::byte> bytes, Table* table) {
  auto transaction = store_->Begin(kFramesToChange + store::FramesToWrite(bytes.size()));
  EXPECT_TRUE(transaction.ok()) << transaction.status();
  if (!transaction.ok()) return nullptr;
  ObjectPointer file =
      Value((table == nullptr ? store_->catalog() : *table).Create(*transaction, "file"));
  if (!bytes.empty()) ExpectOk(file->Write(*transaction, 0, bytes));
  return file;
}

ObjectPointer Volume::CreateTree() {
  auto transaction = store_->Begin(kFramesToChange);
  EXPECT_TRUE(transaction.ok()) << transaction.status();
  return transaction.ok() ? Value(store_->CreateTree(*transaction, "tree")) : nullptr;
}

TablePointer Volume::OpenTree(const ObjectPointer& tree) { return Value(store_->OpenTree(tree)); }

ObjectPointer Volume::Open(uint64_t number) {
  return Value(store_->catalog().Open(ObjectNumber(number)));
}

void Volume::Write(const ObjectPointer& file, uint64_t offset, std::span<const std::byte> bytes) {
  auto transaction = store_->Begin(store::FramesToWrite(bytes.size()));
  ASSERT_TRUE(transaction.ok()) << transaction.status();
  ExpectOk(file->Write(*transaction, offset, bytes));
}

void Volume::Truncate(const ObjectPointer& file, uint64_t size) {
  auto transaction = store_->Begin(2 * kFramesToChange, /*use_reserve=*/true);
  ASSERT_TRUE(transaction.ok()) << transaction.status();
  ExpectOk(file->Truncate(*transaction, size));
}

void Volume::Punch(const ObjectPointer& file, uint64_t offset, uint64_t length) {
  auto transaction = store_->Begin(2 * kFramesToChange);
  ASSERT_TRUE(transaction.ok()) << transaction.status();
  ExpectOk(file->Punch(*transaction, offset, length));
}

ObjectPointer Volume::Snapshot(const ObjectPointer& source) {
  auto frozen = store_->BeginFrozen(kFramesToChange);
  EXPECT_TRUE(frozen.ok()) << frozen.status();
  if (!frozen.ok()) return nullptr;
  return Value(store_->Share(*frozen, *source, store_->catalog(), /*version=*/true));
}

ObjectPointer Volume::Clone(const ObjectPointer& source, Table* table) {
  auto frozen = store_->BeginFrozen(kFramesToChange);
  EXPECT_TRUE(frozen.ok()) << frozen.status();
  if (!frozen.ok()) return nullptr;
  if (table == nullptr) table = source->is_tree() ? &store_->trees() : &store_->catalog();
  return Value(store_->Share(*frozen, *source, *table, /*version=*/false));
}

void Volume::Replace(const ObjectPointer& head, const ObjectPointer& source) {
  auto frozen = store_->BeginFrozen(kFramesToChange, /*use_reserve=*/true);
  ASSERT_TRUE(frozen.ok()) << frozen.status();
  ExpectOk(store_->Replace(*frozen, *head, *source));
}

void Volume::Remove(const ObjectPointer& object, Table* table) {
  auto transaction = store_->Begin(kFramesToChange, /*use_reserve=*/true);
  ASSERT_TRUE(transaction.ok()) << transaction.status();
  ExpectOk((table == nullptr ? store_->catalog() : *table).Remove(*transaction, object));
}

void Volume::Commit() { ExpectOk(store_->Commit()); }
void Volume::Settle() { ExpectOk(store_->Settle()); }
void Volume::ExpectClean() { EXPECT_EQ(Damages(*store_), ""); }

Bytes ContentOf(const store::Object& object) {
  Bytes bytes(object.size());
  absl::StatusOr<size_t> got = object.Read(0, bytes);
  EXPECT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got.value_or(0), bytes.size());
  return bytes;
}

}  // namespace cow::test
