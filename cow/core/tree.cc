#include "cow/tree.h"

#include "cow/core/handles.h"

namespace cow {

using core::TreeState;

Tree::Tree(std::shared_ptr<TreeState> state) : state_(std::move(state)) {}
Tree::Tree(Tree&& other) noexcept = default;
Tree& Tree::operator=(Tree&& other) noexcept = default;
Tree::~Tree() = default;

const std::string& Tree::path() const { return state_->path; }
bool Tree::read_only() const { return state_->read_only(); }

absl::StatusOr<Snapshot> Tree::TakeSnapshot(std::string_view name) {
  return core::TakeSnapshot(*state_, state_->root, name);
}

absl::StatusOr<Snapshot> Tree::OpenSnapshot(std::string_view name) const {
  return core::OpenSnapshot(state_->volume, state_->root, state_->path, name);
}

absl::StatusOr<std::vector<Entry>> Tree::ListSnapshots() const {
  return core::ListSnapshots(*state_->volume, state_->root, state_->path);
}

}  // namespace cow
