#include "tests/store/workload.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cow/base/status.h"

namespace cow::test {

using store::FramesToWrite;
using store::kFramesToChange;
using store::Object;
using store::Table;
using store::Transaction;

namespace {

constexpr size_t kMostHeld = 6;

std::shared_ptr<Image> CopyOf(const std::shared_ptr<const Image>& content) {
  return std::make_shared<Image>(*content);
}

}  // namespace

void Workload::Attach(store::Store* store, World world) {
  store_ = store;
  world_ = std::move(world);
}

void Workload::Detach() {
  held_.clear();
  store_ = nullptr;
}

ModelTable& Workload::TableOf(Place place) {
  if (place == 0) return world_.catalog;
  std::shared_ptr<ModelTable>& table = world_.trees.objects.at(place).table;
  if (table.use_count() > 1) table = std::make_shared<ModelTable>(*table);
  return *table;
}

absl::StatusOr<std::shared_ptr<Table>> Workload::Open(Place place) {
  COW_ASSIGN_OR_RETURN(std::shared_ptr<Object> tree, store_->trees().Open(ObjectNumber(place)));
  return store_->OpenTree(tree);
}

absl::StatusOr<std::shared_ptr<Object>> Workload::Open(const Reference& reference) {
  if (reference.version != 0) {
    COW_ASSIGN_OR_RETURN(auto version, store_->catalog().Open(ObjectNumber(reference.version)));
    COW_ASSIGN_OR_RETURN(auto table, store_->OpenTree(version));
    return table->Open(ObjectNumber(reference.number));
  }
  if (reference.place == 0) return store_->catalog().Open(ObjectNumber(reference.number));
  COW_ASSIGN_OR_RETURN(auto table, Open(reference.place));
  return table->Open(ObjectNumber(reference.number));
}

const ModelObject& Workload::ModelOf(const Reference& reference) {
  if (reference.version == 0) return HeadOf(reference);
  return world_.catalog.objects.at(reference.version).table->objects.at(reference.number);
}

Workload::Place Workload::AnyPlace() {
  const uint64_t which = random_.Below(world_.trees.objects.size() + 1);
  if (which == 0) return 0;
  return std::next(world_.trees.objects.begin(), which - 1)->first;
}

std::vector<Workload::Reference> Workload::Files(bool heads, bool versions, bool in_versions) {
  std::vector<Reference> found;
  for (const auto& [number, object] : world_.catalog.objects) {
    if (!object.tree && (object.version ? versions : heads)) found.push_back({0, number, 0});
    if (!object.tree || !in_versions) continue;
    for (const auto& [inner, file] : object.table->objects) found.push_back({0, inner, number});
  }
  if (!heads) return found;
  for (const auto& [tree, object] : world_.trees.objects) {
    for (const auto& [number, file] : object.table->objects) found.push_back({tree, number, 0});
  }
  return found;
}

// Of a tree, the number is in trees() when place is 1, and in the catalog when it is 0.
std::vector<Workload::Reference> Workload::Trees(bool heads, bool versions) {
  std::vector<Reference> found;
  for (const auto& [number, object] : world_.catalog.objects) {
    if (object.tree && versions) found.push_back({0, number, 0});
  }
  for (const auto& [number, object] : world_.trees.objects) {
    if (heads) found.push_back({1, number, 0});
  }
  return found;
}

bool Workload::Pick(const std::vector<Reference>& from, Reference& reference) {
  if (from.empty()) return false;
  reference = from[random_.Below(from.size())];
  return true;
}

std::string Workload::Attributes() {
  const std::vector<std::byte> bytes =
      random_.Bytes(random_.OneIn(8) ? store::kMaxAttributes : random_.Below(24));
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void Workload::Note(std::string text) { history_.push_back(std::move(text)); }

std::string Workload::history() const {
  const size_t shown = std::min<size_t>(history_.size(), 60);
  return absl::StrCat(history_.size(), " steps, the last:\n  ",
                      absl::StrJoin(history_.end() - shown, history_.end(), "\n  "), "\n");
}

bool Workload::Full(const absl::Status& status) {
  if (!absl::IsResourceExhausted(status)) return false;
  ++refused_;
  Note("  (full)");
  return true;
}

Workload::Change Workload::AnyChange() {
  Change change;
  uint64_t length = random_.Below(options_.max_write) + 1;
  change.offset = random_.Below(options_.max_size);
  switch (random_.Below(4)) {
    case 0:  // whole pages
      change.offset &= ~(kPageSize - 1);
      length = PagesFor(length) * kPageSize;
      break;
    case 1:  // a little
      length = length % 100 + 1;
      break;
    default:
      break;
  }
  if (options_.far_offset > 0 && random_.OneIn(16)) {
    change.offset += random_.Below(options_.far_offset);
  }
  change.bytes = random_.Bytes(length);
  return change;
}

absl::Status Workload::Step() {
  static constexpr std::array kOperations = {
      std::pair{2, &Workload::CreateTree},    std::pair{8, &Workload::CreateFile},
      std::pair{20, &Workload::Write},        std::pair{6, &Workload::WriteTwo},
      std::pair{6, &Workload::WritePages},    std::pair{5, &Workload::Truncate},
      std::pair{5, &Workload::Punch},         std::pair{3, &Workload::SetAttributes},
      std::pair{6, &Workload::SnapshotFile},  std::pair{5, &Workload::SnapshotTree},
      std::pair{5, &Workload::CloneFile},     std::pair{2, &Workload::CloneTree},
      std::pair{4, &Workload::ReplaceFile},   std::pair{3, &Workload::ReplaceTree},
      std::pair{5, &Workload::ShareRange},    std::pair{5, &Workload::RemoveFile},
      std::pair{5, &Workload::RemoveVersion}, std::pair{1, &Workload::RemoveTree},
      std::pair{4, &Workload::Hold},          std::pair{3, &Workload::WriteHeld},
      std::pair{3, &Workload::Defragment}};
  uint64_t total = 0;
  for (const auto& [weight, operation] : kOperations) total += weight;
  uint64_t pick = random_.Below(total);
  for (const auto& [weight, operation] : kOperations) {
    if (pick < static_cast<uint64_t>(weight)) {
      absl::Status status = (this->*operation)();
      // What a full volume refuses must be possible again after something is removed.
      if (Full(status)) return RemoveVersion();
      return status;
    }
    pick -= weight;
  }
  return absl::OkStatus();
}

absl::Status Workload::CreateTree() {
  if (world_.trees.objects.size() >= options_.max_trees) return absl::OkStatus();
  const std::string attributes = Attributes();
  COW_ASSIGN_OR_RETURN(Transaction transaction, store_->Begin(2 * kFramesToChange));
  COW_ASSIGN_OR_RETURN(auto tree, store_->CreateTree(transaction, attributes));
  Note(absl::StrCat("create tree ", tree->number().value()));
  ModelObject& model = world_.trees.objects[tree->number().value()];
  model.tree = true;
  model.attributes = attributes;
  model.table = std::make_shared<ModelTable>();
  return absl::OkStatus();
}

absl::Status Workload::CreateFile() {
  const Place place = AnyPlace();
  if (TableOf(place).objects.size() >= options_.max_files + options_.max_versions) {
    return absl::OkStatus();
  }
  const std::string attributes = Attributes();
  const Change change = AnyChange();
  COW_ASSIGN_OR_RETURN(Transaction transaction,
                       store_->Begin(kFramesToChange + FramesToWrite(change.bytes.size())));
  std::shared_ptr<Table> tree;
  if (place != 0) {
    COW_ASSIGN_OR_RETURN(tree, Open(place));
  }
  Table& table = place == 0 ? store_->catalog() : *tree;
  COW_ASSIGN_OR_RETURN(auto file, table.Create(transaction, attributes));
  const uint64_t number = file->number().value();
  Note(absl::StrFormat("create file %d/%d", place, number));
  if (TableOf(place).objects.contains(number)) {
    return absl::InternalError("Create gave a number that is in use");
  }
  ModelObject& model = TableOf(place).objects[number];
  model.attributes = attributes;
  auto content = std::make_shared<Image>();
  if (random_.OneIn(2)) {
    COW_RETURN_IF_ERROR(file->Write(transaction, change.offset, change.bytes));
    content->Write(change.offset, change.bytes);
  }
  model.content = content;
  return absl::OkStatus();
}

absl::Status Workload::Write() {
  Reference file;
  if (!Pick(Files(true, false, false), file)) return absl::OkStatus();
  const Change change = AnyChange();
  Note(absl::StrFormat("write %d/%d at %d, %d bytes", file.place, file.number, change.offset,
                       change.bytes.size()));
  COW_ASSIGN_OR_RETURN(Transaction transaction, store_->Begin(FramesToWrite(change.bytes.size())));
  COW_ASSIGN_OR_RETURN(auto object, Open(file));
  COW_RETURN_IF_ERROR(object->Write(transaction, change.offset, change.bytes));
  auto content = CopyOf(HeadOf(file).content);
  content->Write(change.offset, change.bytes);
  HeadOf(file).content = content;
  return absl::OkStatus();
}

// Two files in one transaction: they are in one commit, or in none.
absl::Status Workload::WriteTwo() {
  Reference files[2];
  if (!Pick(Files(true, false, false), files[0])) return absl::OkStatus();
  Pick(Files(true, false, false), files[1]);
  const Change changes[2] = {AnyChange(), AnyChange()};
  Note(absl::StrFormat("write two: %d/%d at %d, %d bytes, and %d/%d at %d, %d bytes",
                       files[0].place, files[0].number, changes[0].offset, changes[0].bytes.size(),
                       files[1].place, files[1].number, changes[1].offset,
                       changes[1].bytes.size()));
  COW_ASSIGN_OR_RETURN(Transaction transaction,
                       store_->Begin(FramesToWrite(changes[0].bytes.size()) +
                                     FramesToWrite(changes[1].bytes.size())));
  for (int i : {0, 1}) {
    COW_ASSIGN_OR_RETURN(auto object, Open(files[i]));
    COW_RETURN_IF_ERROR(object->Write(transaction, changes[i].offset, changes[i].bytes));
    auto content = CopyOf(HeadOf(files[i]).content);
    content->Write(changes[i].offset, changes[i].bytes);
    HeadOf(files[i]).content = content;
  }
  return absl::OkStatus();
}

absl::Status Workload::Truncate() {
  Reference file;
  if (!Pick(Files(true, false, false), file)) return absl::OkStatus();
  const uint64_t size = random_.Below(2 * (HeadOf(file).content->size() + 10));
  Note(absl::StrFormat("truncate %d/%d to %d", file.place, file.number, size));
  COW_ASSIGN_OR_RETURN(Transaction transaction,
                       store_->Begin(2 * kFramesToChange, /*use_reserve=*/true));
  COW_ASSIGN_OR_RETURN(auto object, Open(file));
  COW_RETURN_IF_ERROR(object->Truncate(transaction, size));
  auto content = CopyOf(HeadOf(file).content);
  content->Resize(size);
  HeadOf(file).content = content;
  return absl::OkStatus();
}

absl::Status Workload::Punch() {
  Reference file;
  if (!Pick(Files(true, false, false), file)) return absl::OkStatus();
  const uint64_t size = HeadOf(file).content->size();
  const uint64_t offset = random_.Below(std::min<uint64_t>(size, options_.max_size) + 10);
  const uint64_t length = random_.OneIn(4) ? random_.Below(size) : random_.Below(3 * kPageSize);
  Note(absl::StrFormat("punch %d/%d at %d, %d bytes", file.place, file.number, offset, length));
  COW_ASSIGN_OR_RETURN(Transaction transaction, store_->Begin(2 * kFramesToChange));
  COW_ASSIGN_OR_RETURN(auto object, Open(file));
  COW_RETURN_IF_ERROR(object->Punch(transaction, offset, length));
  auto content = CopyOf(HeadOf(file).content);
  content->Punch(offset, length);
  HeadOf(file).content = content;
  return absl::OkStatus();
}

absl::Status Workload::SetAttributes() {
  Reference file;
  if (!Pick(Files(true, false, false), file)) return absl::OkStatus();
  const std::string attributes = Attributes();
  Note(absl::StrFormat("set attributes of %d/%d", file.place, file.number));
  COW_ASSIGN_OR_RETURN(Transaction transaction, store_->Begin(kFramesToChange));
  COW_ASSIGN_OR_RETURN(auto object, Open(file));
  COW_RETURN_IF_ERROR(object->SetAttributes(transaction, attributes));
  HeadOf(file).attributes = attributes;
  return absl::OkStatus();
}

absl::Status Workload::Hold() {
  if (!options_.hold) return absl::OkStatus();
  if (held_.size() >= kMostHeld) {
    held_.erase(held_.begin() + random_.Below(held_.size()));
    return absl::OkStatus();
  }
  Reference file;
  if (!Pick(Files(true, false, false), file)) return absl::OkStatus();
  Note(absl::StrFormat("hold %d/%d", file.place, file.number));
  COW_ASSIGN_OR_RETURN(auto object, Open(file));
  held_.push_back({std::move(object), file.place, file.number, nullptr});
  return absl::OkStatus();
}

// A file that is open is written after it was removed, too.
absl::Status Workload::WriteHeld() {
  if (held_.empty()) return absl::OkStatus();
  Held& held = held_[random_.Below(held_.size())];
  const Change change = AnyChange();
  Note(absl::StrFormat("write held %d/%d%s at %d, %d bytes", held.place, held.number,
                       held.removed ? " (removed)" : "", change.offset, change.bytes.size()));
  COW_ASSIGN_OR_RETURN(Transaction transaction, store_->Begin(FramesToWrite(change.bytes.size())));
  absl::Status written = held.object->Write(transaction, change.offset, change.bytes);
  ModelTable& table = TableOf(held.place);
  const bool there = table.objects.contains(held.number);
  if (held.removed == nullptr && !there) {
    if (absl::IsNotFound(written)) return absl::OkStatus();
    return absl::InternalError("write to an object that a rollback took: " + written.ToString());
  }
  COW_RETURN_IF_ERROR(written);
  if (held.removed != nullptr) {
    held.removed->Write(change.offset, change.bytes);
    return absl::OkStatus();
  }
  auto content = CopyOf(table.objects.at(held.number).content);
  content->Write(change.offset, change.bytes);
  table.objects.at(held.number).content = content;
  return absl::OkStatus();
}

absl::Status Workload::Verify() {
  COW_ASSIGN_OR_RETURN(World got, ReadWorld(*store_));
  if (std::string found = Difference(world_, got); !found.empty()) {
    return absl::InternalError(found);
  }
  for (const Held& held : held_) {
    ModelTable& table = TableOf(held.place);
    auto it = table.objects.find(held.number);
    if (held.removed == nullptr && it == table.objects.end()) continue;
    const Image& expected = held.removed != nullptr ? *held.removed : *it->second.content;
    COW_ASSIGN_OR_RETURN(Image content, ReadContent(*held.object));
    if (content != expected) {
      return absl::InternalError(absl::StrFormat("%d/%d, held open%s: content differs", held.place,
                                                 held.number, held.removed ? ", removed" : ""));
    }
  }
  return absl::OkStatus();
}

absl::Status Workload::RemoveAll() {
  held_.clear();
  while (!world_.catalog.objects.empty()) {
    COW_RETURN_IF_ERROR(RemoveObject(0, world_.catalog.objects.begin()->first));
  }
  while (!world_.trees.objects.empty()) COW_RETURN_IF_ERROR(RemoveTree());
  return absl::OkStatus();
}

}  // namespace cow::test
