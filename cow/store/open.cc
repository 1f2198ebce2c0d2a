// Making, opening and closing a volume.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cow/store/core.h"
#include "cow/store/object_state.h"
#include "cow/store/table_state.h"

namespace cow::store {

namespace {

constexpr size_t kHolderBytes = 64;
constexpr uint64_t kSmallestVolume = uint64_t{4} << 20;

// "process 4711 (cowfs)".
std::string ThisProcess() {
  std::string name;
  std::ifstream("/proc/self/comm") >> name;
  return absl::StrCat("process ", getpid(), name.empty() ? "" : " (" + name + ")");
}

}  // namespace

Core::Core(std::unique_ptr<os::File> file, const OpenOptions& options)
    : file_(std::move(file)),
      options_(options),
      nodes_(*file_, options.cache_bytes / 4),
      allocator_(*file_, options.cache_bytes / 4) {
  // Debian builds Abseil so that every lock looks for cycles of locks, which costs as much as a
  // lookup of a page. The order is in core.h; tests run under the thread sanitizer.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

Core::~Core() {
  Stop();
  // Objects and tables hold each other while they are dirty.
  std::set<std::shared_ptr<TableState>> tables;
  {
    absl::MutexLock lock(&dirty_mu_);
    tables.swap(dirty_tables_);
  }
  for (const auto& table : tables) {
    absl::flat_hash_set<std::shared_ptr<ObjectState>> objects;
    absl::MutexLock lock(&table->mu);
    objects.swap(table->dirty);
    table->mu.Unlock();
    objects.clear();
    table->mu.Lock();
  }
}

absl::Status Core::LockForWriting() {
  COW_ASSIGN_OR_RETURN(bool locked, file_->TryLock(kWriterLock, os::LockKind::kExclusive));
  return locked ? absl::OkStatus() : InUse();
}

absl::Status Core::InUse() {
  // Who checks or counts space in a volume that is open for reading shares the lock with its like.
  COW_ASSIGN_OR_RETURN(const bool shared, file_->TryLock(kWriterLock, os::LockKind::kShared));
  if (shared) {
    COW_RETURN_IF_ERROR(file_->Unlock(kWriterLock));
    return MakeError(absl::StatusCode::kUnavailable, EBUSY,
                     file_->name() +
                         ": another process checks it or counts its space; wait until "
                         "it has ended");
  }
  std::array<char, kHolderBytes> holder = {};
  COW_RETURN_IF_ERROR(
      file_->Read(OffsetOf(format::kHolderFrame), std::as_writable_bytes(std::span(holder))));
  holder.back() = 0;
  return MakeError(absl::StatusCode::kUnavailable, EBUSY,
                   absl::StrCat(file_->name(), ": in use by ",
                                holder[0] == 0 ? "another process" : holder.data(),
                                ", which has it open for writing; use its mount, or end it"));
}

absl::Status Core::NameHolder() {
  std::array<char, kHolderBytes> holder = {};
  const std::string self = ThisProcess();
  std::copy_n(self.begin(), std::min(self.size(), holder.size() - 1), holder.begin());
  return file_->Write(OffsetOf(format::kHolderFrame), std::as_bytes(std::span(holder)));
}

absl::Status Core::Format(const CreateOptions& create) {
  if (create.max_bytes != 0 && create.max_bytes < kSmallestVolume) {
    return MakeError(absl::StatusCode::kInvalidArgument, EINVAL,
                     file_->name() + ": a volume has at least 4 MiB");
  }
  COW_RETURN_IF_ERROR(LockForWriting());
  COW_ASSIGN_OR_RETURN(uint64_t size, file_->Size());
  if (size != 0) {
    return MakeError(absl::StatusCode::kAlreadyExists, EEXIST,
                     file_->name() + ": not empty; a new volume needs a new file");
  }
  // Space for the superblocks is there from the beginning.
  COW_RETURN_IF_ERROR(file_->Allocate(0, 3 * kPageSize));
  COW_RETURN_IF_ERROR(file_->Allocate(OffsetOf(format::SuperblockFrame(0, 1)), 2 * kPageSize));
  COW_RETURN_IF_ERROR(NameHolder());
  std::random_device random;
  for (uint8_t& byte : uuid_) byte = static_cast<uint8_t>(random());
  uuid_[6] = (uuid_[6] & 0x0f) | 0x40;  // version 4
  uuid_[8] = (uuid_[8] & 0x3f) | 0x80;
  data_checksums_ = create.data_checksums;
  incompatible_ = data_checksums_ ? 0 : format::kIncompatibleNoDataChecksums;
  max_frames_ = create.max_bytes / kPageSize;
  format::Superblock empty;
  empty.total_frames = format::kZoneHeader;
  empty.max_frames = max_frames_;
  COW_RETURN_IF_ERROR(allocator_.Load(empty, {}));
  trees_ = std::make_shared<TableState>(*this, nullptr, false, format::TableRoot());
  catalog_ = std::make_shared<TableState>(*this, nullptr, false, format::TableRoot());
  orphans_ = std::make_shared<TableState>(*this, nullptr, false, format::TableRoot());
  changed_ = true;
  return absl::OkStatus();
}

absl::Status Core::Load() {
  read_only_ = options_.read_only;
  if (!read_only_) COW_RETURN_IF_ERROR(LockForWriting());
  COW_ASSIGN_OR_RETURN(const Slots slots, read_only_ ? PinForReading() : FindForWriting());
  const format::Superblock& s = *slots.slot[durable_slot_];
  if (uint64_t unknown = s.read_only_compatible & ~format::kKnownReadOnlyCompatible;
      unknown != 0 && !read_only_) {
    return MakeError(
        absl::StatusCode::kUnimplemented, EROFS,
        file_->name() + absl::StrFormat(": the volume uses features that this program can only "
                                        "read (%#x); open it read-only",
                                        unknown));
  }
  COW_ASSIGN_OR_RETURN(uint64_t size, file_->Size());
  // A new volume has not yet written the last frames of its first header.
  if (size < s.total_frames * kPageSize && s.total_frames > format::kZoneHeader &&
      !(read_only_ && options_.truncated)) {
    return MakeError(absl::StatusCode::kDataLoss, EIO,
                     file_->name() + absl::StrFormat(": truncated: %d bytes, the volume has %d; "
                                                     "`cowctl salvage` copies out what is there",
                                                     size, s.total_frames * kPageSize));
  }
  uuid_ = s.uuid;
  compatible_ = s.compatible;
  read_only_compatible_ = s.read_only_compatible;
  incompatible_ = s.incompatible;
  data_checksums_ = (s.incompatible & format::kIncompatibleNoDataChecksums) == 0;
  max_frames_ = s.max_frames;
  // No generation is used twice, even where its commit was never completed.
  generation_ = slots.slot[slots.newest]->generation.value() + 1;
  durable_ = s.generation.value();
  unclosed_ = s.flushed.value() > 0 || !s.uncounted.empty();
  trees_ = std::make_shared<TableState>(*this, nullptr, read_only_, s.trees);
  catalog_ = std::make_shared<TableState>(*this, nullptr, read_only_, s.catalog);
  orphans_ = std::make_shared<TableState>(*this, nullptr, read_only_, s.orphans);
  if (read_only_) {
    // For what is said about space; counts are read only once nobody writes them (LoadForCheck).
    format::Superblock totals = s;
    totals.uncounted.clear();
    LoadBefore(slots);
    return allocator_.Load(totals, {});
  }
  COW_RETURN_IF_ERROR(Recover(slots));
  COW_RETURN_IF_ERROR(LoadLogs(s));
  COW_RETURN_IF_ERROR(NameHolder());
  // Objects that were removed while open are closed now. Those that cannot be read stay.
  for (ObjectNumber at(0);;) {
    const absl::StatusOr<std::optional<ObjectNumber>> orphan = orphans_->NextObject(at);
    if (!orphan.ok() || !orphan->has_value()) break;
    absl::MutexLock lock(&dirty_mu_);
    closed_orphans_.push_back(**orphan);
    at = **orphan + 1;
  }
  return absl::OkStatus();
}

void Core::LoadBefore(const Slots& slots) {
  const std::optional<format::Superblock>& before = slots.slot[1 - durable_slot_];
  if (!options_.commit_before || !before.has_value() || before->generation.value() >= durable_) {
    return;
  }
  const auto open = [this](const format::TableRoot& root) {
    return std::unique_ptr<Table>(
        new Table(std::make_shared<TableState>(*this, nullptr, /*read_only=*/true, root)));
  };
  trees_before_table_ = open(before->trees);
  catalog_before_table_ = open(before->catalog);
}

absl::Status Core::LoadLogs(const format::Superblock& superblock) {
  absl::MutexLock lock(&fold_mu_);
  absl::MutexLock log_lock(&log_mu_);
  COW_RETURN_IF_ERROR(count_log_.Load(*file_, superblock.count_log));
  COW_RETURN_IF_ERROR(free_log_.Load(*file_, superblock.free_log));
  reaped_ = superblock.reaped;
  std::vector<FrameNumber> frames = count_log_.Frames();
  const std::vector<FrameNumber> more = free_log_.Frames();
  frames.insert(frames.end(), more.begin(), more.end());
  return allocator_.Load(superblock, frames);
}

absl::Status Core::LoadForCheck() {
  if (loaded_for_check_) return absl::OkStatus();
  // Counts and logs are not pinned; a check looks at them while nobody writes.
  COW_ASSIGN_OR_RETURN(bool locked, file_->TryLock(kWriterLock, os::LockKind::kShared));
  if (!locked) return InUse();
  const absl::StatusOr<Slots> slots = ReadSlots();
  const absl::StatusOr<int> slot = slots.ok() ? Completed(*slots) : slots.status();
  absl::Status status = slot.status();
  const format::Superblock* superblock = status.ok() ? &*slots->slot[*slot] : nullptr;
  if (status.ok() && superblock->generation.value() != durable_.load()) {
    status = MakeError(absl::StatusCode::kUnavailable, EAGAIN,
                       file_->name() + ": written since it was opened; open it again to check it");
  }
  if (status.ok()) status = LoadLogs(*superblock);
  if (!status.ok()) {
    file_->Unlock(kWriterLock).IgnoreError();
    return status;
  }
  loaded_for_check_ = true;
  return absl::OkStatus();
}

void Core::Start(Store* store) {
  store_ = store;
  trees_table_.reset(new Table(trees_));
  catalog_table_.reset(new Table(catalog_));
  if (!read_only_ && options_.commit_seconds > 0) {
    background_ = std::thread([this] { Background(); });
  }
}

void Core::Stop() {
  {
    absl::MutexLock lock(&background_mu_);
    stop_ = true;
  }
  if (background_.joinable()) background_.join();
}

Store::Store(std::unique_ptr<Core> core) : core_(std::move(core)) {}

Store::~Store() {
  core_->Stop();
  if (!core_->read_only_) (void)core_->Close();
  // A child of fork(2) has the descriptor too: it must not keep the locks.
  core_->file_->Unlock(kWriterLock).IgnoreError();
  if (core_->read_only_) core_->file_->Unlock(kPinLocks + core_->durable_.load()).IgnoreError();
}

absl::StatusOr<std::unique_ptr<Store>> Store::Create(std::unique_ptr<os::File> file,
                                                     const CreateOptions& create,
                                                     const OpenOptions& options) {
  auto core = std::make_unique<Core>(std::move(file), options);
  COW_RETURN_IF_ERROR(core->Format(create));
  auto store = std::unique_ptr<Store>(new Store(std::move(core)));
  store->core_->Start(store.get());
  COW_RETURN_IF_ERROR(store->Commit());
  return store;
}

absl::StatusOr<std::unique_ptr<Store>> Store::Open(std::unique_ptr<os::File> file,
                                                   const OpenOptions& options) {
  auto core = std::make_unique<Core>(std::move(file), options);
  COW_RETURN_IF_ERROR(core->Load());
  auto store = std::unique_ptr<Store>(new Store(std::move(core)));
  store->core_->Start(store.get());
  return store;
}

}  // namespace cow::store
