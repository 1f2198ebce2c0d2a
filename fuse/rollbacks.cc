#include "fuse/rollbacks.h"

#include <algorithm>

namespace cow::fuse {

Rollbacks::Running::Running(Rollbacks& rollbacks, fs::NodeId head, bool of_tree)
    : rollbacks_(rollbacks), head_(head), of_tree_(of_tree) {
  absl::MutexLock lock(&rollbacks_.lock_);
  rollbacks_.running_.push_back(this);
  const auto quiet = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return std::ranges::none_of(rollbacks_.writing_,
                                [this](const auto& item) { return Covers(item.first); });
  };
  rollbacks_.lock_.Await(absl::Condition(&quiet));
}

Rollbacks::Running::~Running() {
  absl::MutexLock lock(&rollbacks_.lock_);
  std::erase(rollbacks_.running_, this);
}

void Rollbacks::Running::Succeeded() {
  absl::MutexLock lock(&rollbacks_.lock_);
  succeeded_ = true;
}

bool Rollbacks::Enter(const fs::NodeId& id) {
  absl::MutexLock lock(&lock_);
  const auto succeeded = [&](bool value) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return std::ranges::any_of(running_, [&](const Running* running) {
      return running->succeeded_ == value && running->Covers(id);
    });
  };
  const auto decided = [&] { return !succeeded(false) || succeeded(true); };
  lock_.Await(absl::Condition(&decided));
  if (succeeded(true)) return false;
  ++writing_[id];
  return true;
}

void Rollbacks::Leave(const fs::NodeId& id) {
  absl::MutexLock lock(&lock_);
  const auto entry = writing_.find(id);
  if (--entry->second == 0) writing_.erase(entry);
}

}  // namespace cow::fuse
