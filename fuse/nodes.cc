#include "fuse/nodes.h"

#include <algorithm>

namespace cow::fuse {

Nodes::Nodes() {
  absl::MutexLock lock(&lock_);
  known_[kRootNumber] = {.id = fs::kRoot, .references = 1};
  numbers_[fs::kRoot] = kRootNumber;
}

uint64_t Nodes::Refer(fs::NodeId id) {
  absl::MutexLock lock(&lock_);
  const auto [entry, added] = numbers_.try_emplace(id, next_);
  if (added) known_[next_++] = {.id = id};
  ++known_[entry->second].references;
  return entry->second;
}

void Nodes::DropIfUnused(uint64_t number) {
  const auto entry = known_.find(number);
  if (entry->second.references > 0 || entry->second.writers > 0) return;
  if (!entry->second.retired) numbers_.erase(entry->second.id);
  known_.erase(entry);
}

void Nodes::Retire(uint64_t number) {
  absl::MutexLock lock(&lock_);
  const auto entry = known_.find(number);
  if (entry == known_.end() || number == kRootNumber || entry->second.retired) return;
  entry->second.retired = true;
  numbers_.erase(entry->second.id);
}

void Nodes::Forget(uint64_t number, uint64_t count) {
  absl::MutexLock lock(&lock_);
  const auto entry = known_.find(number);
  if (entry == known_.end() || number == kRootNumber) return;
  entry->second.references -= std::min(count, entry->second.references);
  DropIfUnused(number);
}

std::optional<fs::NodeId> Nodes::Find(uint64_t number) const {
  absl::ReaderMutexLock lock(&lock_);
  const auto entry = known_.find(number);
  if (entry == known_.end() || entry->second.retired) return std::nullopt;
  return entry->second.id;
}

uint64_t Nodes::NumberOf(fs::NodeId id) const {
  absl::ReaderMutexLock lock(&lock_);
  const auto entry = numbers_.find(id);
  return entry == numbers_.end() ? 0 : entry->second;
}

void Nodes::AddWriter(uint64_t number) {
  absl::MutexLock lock(&lock_);
  if (const auto entry = known_.find(number); entry != known_.end()) ++entry->second.writers;
}

void Nodes::RemoveWriter(uint64_t number) {
  absl::MutexLock lock(&lock_);
  const auto entry = known_.find(number);
  if (entry == known_.end() || entry->second.writers == 0) return;
  --entry->second.writers;
  DropIfUnused(number);
}

bool Nodes::HasWriter(uint64_t number) const {
  absl::ReaderMutexLock lock(&lock_);
  const auto entry = known_.find(number);
  return entry != known_.end() && entry->second.writers > 0;
}

std::vector<uint64_t> Nodes::Select(bool writers_only,
                                    const std::function<bool(const fs::NodeId&)>& wanted) const {
  std::vector<std::pair<uint64_t, fs::NodeId>> candidates;
  {
    absl::ReaderMutexLock lock(&lock_);
    for (const auto& [number, known] : known_) {
      if (known.retired) continue;
      if (!writers_only || known.writers > 0) candidates.emplace_back(number, known.id);
    }
  }
  std::vector<uint64_t> numbers;
  for (const auto& [number, id] : candidates) {
    if (wanted(id)) numbers.push_back(number);
  }
  return numbers;
}

}  // namespace cow::fuse
