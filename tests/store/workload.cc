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
      std::pair{5, &Workload::Truncate},      std::pair{5, &Workload::Punch},
      std::pair{3, &Workload::SetAttributes}, std::pair{6, &Workload::SnapshotFile},
      std::pair{5, &Workload::SnapshotTree},  std::pair{5, &Workload::CloneFile},
      std::pair{2, &Workload::CloneTree},     std::pair{4, &Workload::ReplaceFile},
      std::pair{3, &Workload::ReplaceTree},   std::pair{5, &Workload::ShareRange},
      std::pair{5, &Workload::RemoveFile},    std::pair{5, &Workload::RemoveVersion},
      std::pair{1, &Workload::RemoveTree},    std::pair{4, &Workload::Hold},
      std::pair{3, &Workload::WriteHeld}};
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

absl::Status Workload::Copy(const Reference& source, Place place, bool version) {
  COW_ASSIGN_OR_RETURN(Transaction frozen, store_->BeginFrozen(2 * kFramesToChange));
  COW_ASSIGN_OR_RETURN(auto from, Open(source));
  std::shared_ptr<Table> tree;
  if (place != 0) {
    COW_ASSIGN_OR_RETURN(tree, Open(place));
  }
  COW_ASSIGN_OR_RETURN(
      auto copy, store_->Share(frozen, *from, place == 0 ? store_->catalog() : *tree, version));
  Note(absl::StrFormat("%s %d/%d%s to %d/%d", version ? "snapshot" : "clone", source.place,
                       source.number, source.version == 0 ? "" : absl::StrCat("@", source.version),
                       place, copy->number().value()));
  ModelObject model = ModelOf(source);
  model.version = version;
  TableOf(place).objects[copy->number().value()] = std::move(model);
  return absl::OkStatus();
}

absl::Status Workload::SnapshotFile() {
  Reference source;
  if (world_.catalog.objects.size() >= options_.max_versions) return absl::OkStatus();
  if (!Pick(Files(true, true, true), source)) return absl::OkStatus();
  return Copy(source, 0, /*version=*/true);
}

absl::Status Workload::CloneFile() {
  Reference source;
  const Place place = AnyPlace();
  if (TableOf(place).objects.size() >= options_.max_files) return absl::OkStatus();
  if (!Pick(Files(true, true, true), source)) return absl::OkStatus();
  return Copy(source, place, /*version=*/false);
}

absl::Status Workload::SnapshotTree() {
  Reference source;
  if (world_.catalog.objects.size() >= options_.max_versions) return absl::OkStatus();
  if (!Pick(Trees(true, false), source)) return absl::OkStatus();
  COW_ASSIGN_OR_RETURN(Transaction frozen, store_->BeginFrozen(2 * kFramesToChange));
  COW_ASSIGN_OR_RETURN(auto tree, store_->trees().Open(ObjectNumber(source.number)));
  COW_ASSIGN_OR_RETURN(auto copy, store_->Share(frozen, *tree, store_->catalog(), true));
  Note(absl::StrFormat("snapshot tree %d to %d", source.number, copy->number().value()));
  ModelObject model = world_.trees.objects.at(source.number);
  model.version = true;
  world_.catalog.objects[copy->number().value()] = std::move(model);
  return absl::OkStatus();
}

absl::Status Workload::CloneTree() {
  Reference source;
  if (world_.trees.objects.size() >= options_.max_trees) return absl::OkStatus();
  if (!Pick(Trees(true, true), source)) return absl::OkStatus();
  Table& table = source.place == 0 ? store_->catalog() : store_->trees();
  COW_ASSIGN_OR_RETURN(Transaction frozen, store_->BeginFrozen(2 * kFramesToChange));
  COW_ASSIGN_OR_RETURN(auto tree, table.Open(ObjectNumber(source.number)));
  COW_ASSIGN_OR_RETURN(auto copy, store_->Share(frozen, *tree, store_->trees(), false));
  Note(absl::StrFormat("clone tree %d of %s to %d", source.number,
                       source.place == 0 ? "the catalog" : "trees", copy->number().value()));
  ModelObject model = (source.place == 0 ? world_.catalog : world_.trees).objects.at(source.number);
  model.version = false;
  world_.trees.objects[copy->number().value()] = std::move(model);
  return absl::OkStatus();
}

absl::Status Workload::ReplaceFile() {
  Reference head;
  Reference source;
  if (!Pick(Files(true, false, false), head)) return absl::OkStatus();
  if (!Pick(Files(true, true, true), source)) return absl::OkStatus();
  Note(absl::StrFormat("replace %d/%d by %d/%d@%d", head.place, head.number, source.place,
                       source.number, source.version));
  COW_ASSIGN_OR_RETURN(Transaction frozen, store_->BeginFrozen(2 * kFramesToChange, true));
  COW_ASSIGN_OR_RETURN(auto to, Open(head));
  COW_ASSIGN_OR_RETURN(auto from, Open(source));
  COW_RETURN_IF_ERROR(store_->Replace(frozen, *to, *from));
  const std::shared_ptr<const Image> content = ModelOf(source).content;
  HeadOf(head).content = content;
  return absl::OkStatus();
}

absl::Status Workload::ReplaceTree() {
  Reference head;
  Reference source;
  if (!Pick(Trees(true, false), head)) return absl::OkStatus();
  if (!Pick(Trees(false, true), source)) return absl::OkStatus();
  Note(absl::StrFormat("replace tree %d by %d", head.number, source.number));
  COW_ASSIGN_OR_RETURN(Transaction frozen, store_->BeginFrozen(2 * kFramesToChange, true));
  COW_ASSIGN_OR_RETURN(auto to, store_->trees().Open(ObjectNumber(head.number)));
  COW_ASSIGN_OR_RETURN(auto from, store_->catalog().Open(ObjectNumber(source.number)));
  COW_RETURN_IF_ERROR(store_->Replace(frozen, *to, *from));
  world_.trees.objects.at(head.number).table = world_.catalog.objects.at(source.number).table;
  return absl::OkStatus();
}

absl::Status Workload::ShareRange() {
  Reference target;
  Reference source;
  if (!Pick(Files(true, false, false), target)) return absl::OkStatus();
  if (!Pick(Files(true, true, true), source)) return absl::OkStatus();
  const uint64_t pages = options_.max_size / kPageSize;
  uint64_t from = random_.Below(pages);
  uint64_t to = random_.Below(pages);
  uint64_t count = random_.Below(pages / 2) + 1;
  // Whole pages of the source only, and none beyond the end of the target.
  const uint64_t source_pages = ModelOf(source).content->size() / kPageSize;
  const uint64_t target_pages = HeadOf(target).content->size() / kPageSize;
  if (from >= source_pages || to >= target_pages) return absl::OkStatus();
  count = std::min({count, source_pages - from, target_pages - to});
  const bool same =
      source.version == 0 && source.place == target.place && source.number == target.number;
  if (same && from < to + count && to < from + count) return absl::OkStatus();
  Note(absl::StrFormat("share %d pages of %d/%d@%d from %d to %d/%d at %d", count, source.place,
                       source.number, source.version, from, target.place, target.number, to));
  COW_ASSIGN_OR_RETURN(Transaction frozen, store_->BeginFrozen(2 * kFramesToChange + count / 64));
  COW_ASSIGN_OR_RETURN(auto to_object, Open(target));
  COW_ASSIGN_OR_RETURN(auto from_object, Open(source));
  COW_RETURN_IF_ERROR(store_->ShareRange(frozen, *from_object, PageNumber(from), *to_object,
                                         PageNumber(to), count));
  std::vector<std::byte> bytes(count * kPageSize);
  ModelOf(source).content->Read(from * kPageSize, bytes);
  auto content = CopyOf(HeadOf(target).content);
  content->Write(to * kPageSize, bytes);
  HeadOf(target).content = content;
  return absl::OkStatus();
}

void Workload::NoteRemoved(Place place, uint64_t number) {
  const ModelObject& object = TableOf(place).objects.at(number);
  if (object.tree) return;  // none is held
  const std::shared_ptr<Image> content = CopyOf(object.content);
  for (Held& held : held_) {
    if (held.removed == nullptr && held.place == place && held.number == number) {
      held.removed = content;
    }
  }
}

absl::Status Workload::RemoveObject(Place place, uint64_t number) {
  Note(absl::StrFormat("remove %d/%d", place, number));
  absl::StatusOr<Transaction> transaction = store_->Begin(2 * kFramesToChange, true);
  if (!transaction.ok()) {
    // The reserve is there for this.
    return absl::InternalError(
        absl::StrCat("Begin to remove: ", transaction.status().ToString().c_str()));
  }
  COW_ASSIGN_OR_RETURN(auto object, Open(Reference{place, number, 0}));
  std::shared_ptr<Table> tree;
  if (place != 0) {
    COW_ASSIGN_OR_RETURN(tree, Open(place));
  }
  COW_RETURN_IF_ERROR((place == 0 ? store_->catalog() : *tree).Remove(*transaction, object));
  NoteRemoved(place, number);
  TableOf(place).objects.erase(number);
  return absl::OkStatus();
}

absl::Status Workload::RemoveFile() {
  Reference file;
  if (!Pick(Files(true, false, false), file)) return absl::OkStatus();
  return RemoveObject(file.place, file.number);
}

absl::Status Workload::RemoveVersion() {
  if (world_.catalog.objects.empty()) return RemoveFile();
  auto it = std::next(world_.catalog.objects.begin(), random_.Below(world_.catalog.objects.size()));
  return RemoveObject(0, it->first);
}

absl::Status Workload::RemoveTree() {
  Reference tree;
  if (!Pick(Trees(true, false), tree)) return absl::OkStatus();
  Note(absl::StrCat("remove tree ", tree.number));
  std::erase_if(held_, [&](const Held& held) { return held.place == tree.number; });
  COW_ASSIGN_OR_RETURN(Transaction transaction, store_->Begin(2 * kFramesToChange, true));
  COW_ASSIGN_OR_RETURN(auto object, store_->trees().Open(ObjectNumber(tree.number)));
  COW_RETURN_IF_ERROR(store_->trees().Remove(transaction, object));
  world_.trees.objects.erase(tree.number);
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
