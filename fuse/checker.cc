#include "fuse/checker.h"

#include <cerrno>
#include <utility>

#include "cow/base/status.h"

namespace cow::fuse {

absl::StatusOr<control::CheckState> Checker::Start() {
  control::CheckState state;
  {
    absl::MutexLock lock(&lock_);
    if (state_.id != 0 && !state_.finished) return state_;
    state_ = {.id = state_.id + 1};
    failure_ = absl::OkStatus();
    damages_.clear();
    state = state_;
  }
  if (tasks_.Run([this] { Run(); })) return state;
  absl::MutexLock lock(&lock_);
  state_.finished = true;
  return failure_ = ErrnoStatus(ENOMEM, "no thread for the check");
}

void Checker::Run() {
  absl::StatusOr<fs::CheckResult> checked = fs_.Check([this](uint64_t done, uint64_t total) {
    absl::MutexLock lock(&lock_);
    state_.done = done;
    state_.total = total;
  });

  absl::MutexLock lock(&lock_);
  state_.finished = true;
  failure_ = checked.status();
  if (!checked.ok()) return;
  state_.done = state_.total = checked->frames_checked;
  for (fs::Damage& damage : checked->damages) {
    damages_.push_back({.where = std::move(damage.where), .what = std::move(damage.what)});
  }
}

control::Reply Checker::Poll(uint64_t id, uint64_t cursor) const {
  control::Reply reply;
  absl::MutexLock lock(&lock_);
  if (id == 0 || id != state_.id) {
    reply.status = MakeError(absl::StatusCode::kNotFound, ENOENT, "no such check");
    return reply;
  }
  reply.check = state_;
  if (!state_.finished) return reply;
  reply.status = failure_;
  for (uint64_t i = cursor; i < damages_.size() && reply.status.ok(); ++i) {
    if (reply.Add(damages_[i])) continue;
    reply.next = i;
    break;
  }
  return reply;
}

}  // namespace cow::fuse
