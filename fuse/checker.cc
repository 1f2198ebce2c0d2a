#include "fuse/checker.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "absl/time/time.h"
#include "cow/base/status.h"
#include "cow/base/types.h"

namespace cow::fuse {
namespace {

// Who waits for a check asks many times a second.
constexpr auto kPatience = std::chrono::seconds(10);
constexpr auto kLongestWait = std::chrono::milliseconds(200);

}  // namespace

absl::StatusOr<control::CheckState> Checker::Start(uint64_t rate) {
  control::CheckState state;
  {
    absl::MutexLock lock(&lock_);
    if (stopped_) return ErrnoStatus(ESHUTDOWN, "the volume is being unmounted");
    limit_ = RateLimit(rate);
    asked_ = due_ = Clock::now();
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
  absl::StatusOr<fs::CheckResult> checked =
      fs_.Check([this](uint64_t done, uint64_t total) { return GoOn(done, total); });

  absl::MutexLock lock(&lock_);
  state_.finished = true;
  failure_ = checked.status();
  if (!checked.ok()) return;
  state_.done = state_.total = checked->frames_checked;
  for (fs::Damage& damage : checked->damages) {
    damages_.push_back({.where = std::move(damage.where), .what = std::move(damage.what)});
  }
}

bool Checker::GoOn(uint64_t done, uint64_t total) {
  absl::MutexLock lock(&lock_);
  Clock::time_point now = Clock::now();
  due_ = limit_.Spend((done - state_.done) * kPageSize, now);
  state_.done = done;
  state_.total = total;
  while (!stopped_ && now - asked_ < kPatience) {
    if (now >= due_) return true;
    const Clock::duration wait = std::min<Clock::duration>(due_ - now, kLongestWait);
    lock_.AwaitWithTimeout(absl::Condition(&stopped_), absl::FromChrono(wait));
    now = Clock::now();
  }
  return false;
}

void Checker::Stop() {
  absl::MutexLock lock(&lock_);
  stopped_ = true;
}

control::Reply Checker::Poll(uint64_t id, uint64_t cursor) {
  control::Reply reply;
  absl::MutexLock lock(&lock_);
  if (id == 0 || id != state_.id) {
    reply.status = MakeError(absl::StatusCode::kNotFound, ENOENT, "no such check");
    return reply;
  }
  asked_ = Clock::now();
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
