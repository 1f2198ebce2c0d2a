// Surveys: what is left of a page table or a table of which some nodes cannot be read.
#include <cerrno>
#include <utility>

#include "cow/store/object_state.h"
#include "cow/store/table_state.h"

namespace cow::store {

using format::kFanout;
using format::kRecordsPerLeaf;

namespace {

absl::Status OnlyOfVersions() {
  return MakeError(absl::StatusCode::kFailedPrecondition, EBUSY,
                   "what is written meanwhile cannot be surveyed; open the volume read-only");
}

}  // namespace

bool Radix::Survey(const Entry& root, const UnitSurveyor& found) const {
  Visited visited;
  return SurveyBelow(root, 0, found, visited);
}

bool Radix::SurveyBelow(const Entry& entry, uint64_t first, const UnitSurveyor& found,
                        Visited& visited) const {
  if (entry.empty()) return true;
  if (entry.has_children()) {
    const absl::Status added = visited.Add(entry.frame());
    if (!added.ok()) return found(first, Covers(entry.level()), added);
  }
  if (entry.level() == 0) return found(first, 1, entry);
  const absl::StatusOr<NodePointer> node = core_.nodes_.Get(entry);
  if (!node.ok()) return found(first, Covers(entry.level()), node.status());
  const uint64_t span = Covers(entry.level() - 1);
  for (uint64_t i = 0; i < kFanout; ++i) {
    if (!SurveyBelow((*node)->content.entries[i], first + i * span, found, visited)) return false;
  }
  return true;
}

absl::Status Object::Survey(const Surveyor& found) const {
  if (!read_only()) return OnlyOfVersions();
  format::Entry root;
  {
    absl::ReaderMutexLock lock(&state_->state_mu);
    root = state_->root;
  }
  uint64_t begin = 0;
  uint64_t count = 0;  // of the run of data that has been found, but not told yet
  const auto tell = [&] {
    const uint64_t told = std::exchange(count, 0);
    return told == 0 || found(begin, told, absl::OkStatus());
  };
  const bool to_the_end = state_->radix.Survey(
      root, [&](uint64_t unit, uint64_t units, const absl::StatusOr<format::Entry>& entry) {
        if (!entry.ok()) return tell() && found(unit, units, entry.status());
        if (unit != begin + count && !tell()) return false;
        if (count == 0) begin = unit;
        ++count;
        return true;
      });
  if (to_the_end) tell();
  return absl::OkStatus();
}

absl::Status Table::Survey(const Surveyor& found) const {
  if (!read_only()) return OnlyOfVersions();
  format::Entry root;
  {
    absl::MutexLock lock(&state_->mu);
    root = state_->root;
  }
  state_->radix.Survey(
      root, [&](uint64_t unit, uint64_t units, const absl::StatusOr<format::Entry>& entry) {
        const uint64_t first = unit * kRecordsPerLeaf;
        if (!entry.ok()) return found(first, units * kRecordsPerLeaf, entry.status());
        const absl::StatusOr<NodePointer> leaf = state_->core.nodes_.Get(*entry);
        if (!leaf.ok()) return found(first, kRecordsPerLeaf, leaf.status());
        for (uint64_t i = 0; i < kRecordsPerLeaf; ++i) {
          if (!(*leaf)->content.records[i].used()) continue;
          if (!found(first + i, 1, absl::OkStatus())) return false;
        }
        return true;
      });
  return absl::OkStatus();
}

}  // namespace cow::store
