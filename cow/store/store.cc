// Transactions, and the public face of the store.
#include "cow/store/store.h"

#include <cerrno>
#include <utility>

#include "absl/time/clock.h"
#include "cow/store/core.h"
#include "cow/store/object_state.h"
#include "cow/store/table_state.h"

namespace cow::store {

namespace {

// A commit comes before a transaction when this many nodes wait to be written.
constexpr uint64_t kMostUnwritten = 16384;  // 64 MiB

}  // namespace

uint64_t FramesToWrite(uint64_t length) {
  const uint64_t pages = PagesFor(length) + 1;
  return pages + pages / 128 + kFramesToChange;
}

uint64_t FramesToWrite(std::span<const PageNumber> pages) {
  // Each page, and each node above one.
  uint64_t frames = pages.size();
  for (int level = 1; level <= format::kMaxLevel; ++level) {
    for (size_t i = 0; i < pages.size(); ++i) {
      const int bits = 8 * level;
      frames += i == 0 || pages[i].value() >> bits != pages[i - 1].value() >> bits ? 1 : 0;
    }
  }
  return frames + kFramesToChange;
}

Transaction::Transaction(Store* store, bool frozen, uint64_t reserved)
    : store_(store), frozen_(frozen), reserved_(reserved) {}

Transaction::Transaction(Transaction&& other) noexcept
    : store_(std::exchange(other.store_, nullptr)),
      frozen_(other.frozen_),
      reserved_(other.reserved_) {}

Transaction::~Transaction() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (store_ == nullptr) return;
  store_->core_->allocator_.Unreserve(reserved_);
  if (frozen_) {
    store_->core_->gate_.Unlock();
  } else {
    store_->core_->gate_.ReaderUnlock();
  }
}

absl::Status Store::ReserveFrames(uint64_t frames, bool use_reserve) {
  COW_RETURN_IF_ERROR(core_->CheckWritable());
  if (core_->nodes_.unwritten() > kMostUnwritten || core_->LogsAreLong()) {
    COW_RETURN_IF_ERROR(core_->Commit());
  }
  absl::Status reserved = core_->allocator_.Reserve(frames, use_reserve);
  // What is still to be counted, or waits for a commit, may be what is lacking.
  constexpr int kRounds = 64;
  constexpr int kMostWaits = 500;
  int idle = 0;
  int waits = 0;
  core_->frames_are_short_ = absl::IsResourceExhausted(reserved);
  for (int round = 0; absl::IsResourceExhausted(reserved) && round < kRounds && idle < 2; ++round) {
    const uint64_t before = core_->progress_.load();
    COW_RETURN_IF_ERROR(core_->Fold(uint64_t{1} << 16).status());
    if (core_->DeferredFrames() > 0) core_->changed_ = true;
    core_->fold_is_due_ = true;
    COW_RETURN_IF_ERROR(core_->Commit());
    reserved = core_->allocator_.Reserve(frames, use_reserve);
    if (core_->progress_.load() != before) {
      idle = 0;
    } else if (core_->DeferredFrames() > 0 && core_->readers_.Oldest().has_value() &&
               waits < kMostWaits) {
      // A read that was descheduled holds back what was freed since: it ends soon.
      ++waits;
      --round;
      absl::SleepFor(absl::Milliseconds(1));
    } else {
      ++idle;
    }
  }
  return reserved;
}

absl::StatusOr<Transaction> Store::BeginWithoutCommit(uint64_t frames, bool use_reserve)
    ABSL_NO_THREAD_SAFETY_ANALYSIS {
  COW_RETURN_IF_ERROR(core_->CheckWritable());
  COW_RETURN_IF_ERROR(core_->allocator_.Reserve(frames, use_reserve));
  core_->gate_.ReaderLock();
  return Transaction(this, /*frozen=*/false, frames);
}

absl::StatusOr<Transaction> Store::Begin(uint64_t frames,
                                         bool use_reserve) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  COW_RETURN_IF_ERROR(ReserveFrames(frames, use_reserve));
  core_->gate_.ReaderLock();
  return Transaction(this, /*frozen=*/false, frames);
}

absl::StatusOr<Transaction> Store::BeginFrozen(uint64_t frames,
                                               bool use_reserve) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  COW_RETURN_IF_ERROR(ReserveFrames(frames, use_reserve));
  core_->gate_.Lock();
  Transaction transaction(this, /*frozen=*/true, frames);
  COW_RETURN_IF_ERROR(core_->Seal());
  return transaction;
}

Table& Store::trees() { return *core_->trees_table_; }
Table& Store::catalog() { return *core_->catalog_table_; }
Table* Store::trees_before() { return core_->trees_before_table_.get(); }
Table* Store::catalog_before() { return core_->catalog_before_table_.get(); }
bool Store::read_only() const { return core_->read_only_; }
absl::Status Store::Commit() {
  if (core_->read_only_) return absl::OkStatus();
  core_->counters_.syncs.Add();
  return core_->Commit();
}
Generation Store::generation() const { return core_->generation(); }
std::array<uint8_t, 16> Store::uuid() const { return core_->uuid_; }
const os::File& Store::file() const { return *core_->file_; }

absl::Status Store::health() const {
  absl::MutexLock lock(&core_->health_mu_);
  return core_->health_;
}

absl::Status Store::Settle() {
  COW_RETURN_IF_ERROR(core_->CheckWritable());
  return core_->Settle();
}

Space Store::space() const {
  Space space;
  const uint64_t limit = core_->allocator_.limit_frames();
  space.total_frames = limit == format::kMaxFrame ? core_->allocator_.total_frames() : limit;
  space.used_frames = core_->allocator_.used_frames();
  space.available_frames = core_->allocator_.available_frames();
  if (limit == format::kMaxFrame) {
    // Without a limit of its own the volume can grow into what the host has.
    const uint64_t host_bytes = core_->file_->HostFreeBytes().value_or(0);
    space.total_frames += host_bytes / kPageSize;
    space.available_frames += host_bytes / kPageSize;
  }
  space.pending_items = core_->PendingItems();
  space.deferred_frames = core_->DeferredFrames();
  return space;
}

}  // namespace cow::store
