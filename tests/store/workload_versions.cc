// The operations on versions: snapshots, clones, rollback, shared ranges, removing.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cow/base/status.h"
#include "tests/store/workload.h"

namespace cow::test {

using store::kFramesToChange;
using store::Object;
using store::Table;
using store::Transaction;

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
  auto content = std::make_shared<Image>(*HeadOf(target).content);
  content->Write(to * kPageSize, bytes);
  HeadOf(target).content = content;
  return absl::OkStatus();
}

void Workload::NoteRemoved(Place place, uint64_t number) {
  const ModelObject& object = TableOf(place).objects.at(number);
  if (object.tree) return;  // none is held
  const std::shared_ptr<Image> content = std::make_shared<Image>(*object.content);
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

}  // namespace cow::test
