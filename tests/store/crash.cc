#include "tests/store/crash.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cow/format/geometry.h"

namespace cow::test {

using store::Store;

namespace {

std::string Text(const absl::Status& status) { return status.ToString(); }

}  // namespace

CrashOptions CrashRun::OptionsFor(uint64_t seed) {
  CrashOptions options;
  // In turn: growing, full, larger writes, few and small files.
  switch (seed % 4) {
    case 0:
      options.name = "growing";
      break;
    case 1:
      options.name = "full";
      options.create.max_bytes = 4 << 20;
      options.workload.max_write = 160 * 1024;
      options.workload.max_size = 512 * 1024;
      options.steps = 110;
      break;
    case 2:
      options.name = "large writes";
      options.workload.max_write = 200 * 1024;
      options.workload.max_size = 600 * 1024;
      options.steps = 40;
      break;
    default:
      options.name = "small files";
      options.workload.max_write = 9000;
      options.workload.max_size = 30000;
      // A limit that is not reached: frames that were freed are soon used again.
      options.create.max_bytes = 4 << 20;
      options.steps = 150;
      break;
  }
  options.kills = seed / 4 % 2 == 1;
  if (options.kills) options.name += ", kills";
  options.beside = seed % 3 == 0 ? 0 : 7;
  // Counts are late: the log of them is never empty, and a crash comes while things are reaped.
  options.open.fold_per_commit = std::array<uint64_t, 4>{4096, 3, 30, 100}[seed / 8 % 4];
  options.open.commits_per_fold = std::array<uint64_t, 3>{1, 256, 3}[seed / 2 % 3];
  options.open.one_flush_frames = std::array<uint64_t, 5>{1024, 1024, 1024, 12, 0}[seed / 3 % 5];
  options.create.data_checksums = seed % 7 != 4;
  // Nodes are soon dropped from memory, and read again.
  if (seed % 5 < 2) options.open.cache_bytes = 4096;
  return options;
}

CrashRun::CrashRun(uint64_t seed, const CrashOptions& options)
    : seed_(seed), options_(options), nested_(false) {
  recording_->lose_flush = options.lose_flush;
  boundaries_.push_back({0, World()});
  auto disk = std::make_shared<Disk>();
  auto store = Store::Create(std::make_unique<RecordingFile>(disk, recording_), options.create,
                             options_.open);
  if (!store.ok()) {
    failure_ = "create: " + Text(store.status());
    return;
  }
  Record(disk, *std::move(store), World());
}

CrashRun::CrashRun(uint64_t seed, const CrashOptions& options, Image image, World world)
    : seed_(seed), options_(options), nested_(true) {
  boundaries_.push_back({0, world});
  acknowledged_.push_back({0, 0});
  auto disk = std::make_shared<Disk>(std::move(image));
  auto store = Store::Open(std::make_unique<RecordingFile>(disk, recording_), options_.open);
  if (!store.ok()) {
    failure_ = "open: " + Text(store.status());
    return;
  }
  Record(disk, *std::move(store), std::move(world));
}

void CrashRun::Record(const std::shared_ptr<Disk>& disk, std::unique_ptr<Store> store,
                      World world) {
  Workload workload(options_.workload, seed_);
  workload.Attach(store.get(), std::move(world));
  Random random(seed_ ^ 0x5eed);
  Random killer(seed_ ^ 0xdead);
  Acknowledge(0);
  for (uint64_t step = 0; step < options_.steps && failure_.empty(); ++step) {
    if (options_.kills && killer.OneIn(20)) {
      recording_->killed_at = recording_->events.size() + killer.Below(60);
    }
    absl::Status status = StepOf(workload);
    if (status.ok() && random.OneIn(5)) {
      const size_t promised = boundaries_.size() - 1;
      const bool settle = random.OneIn(6);
      status = CommitBeside(*store, settle, workload, random);
      if (status.ok() && !recording_->killed()) Acknowledge(promised);
    }
    if (recording_->killed()) {
      workload.Detach();
      store.reset();
      World found;
      store = ReopenAfterKill(disk, &found);
      if (store == nullptr) break;
      boundaries_.push_back({recording_->events.size(), found});
      Acknowledge(boundaries_.size() - 1);
      ++tally_.kills;
      workload.Attach(store.get(), std::move(found));
    } else if (!status.ok()) {
      failure_ = absl::StrCat("step ", step, ": ", Text(status));
    }
  }
  recording_->killed_at = SIZE_MAX;
  if (failure_.empty()) {
    absl::Status status = workload.Verify();
    if (!status.ok()) failure_ = "before any crash: " + Text(status);
  }
  tally_.refused = workload.refused();
  history_ = workload.history();
  workload.Detach();
  if (!failure_.empty()) absl::StrAppend(&failure_, "\n", history_);
  store.reset();  // commits once more
  crash_ = std::make_unique<CrashDisk>(*recording_);
}

absl::Status CrashRun::StepOf(Workload& workload) {
  absl::Status status = workload.Step();
  boundaries_.push_back({recording_->events.size(), workload.world()});
  ++tally_.transactions;
  return status;
}

absl::Status CrashRun::CommitBeside(Store& store, bool settle, Workload& workload, Random& random) {
  // Bounded, as settling ends only when nothing happens any more.
  uint64_t left = random.Below(options_.beside + 1);
  const uint64_t enough = 3 * store::FramesToWrite(options_.workload.max_write);
  absl::Status beside;
  recording_->before_flush = [&] {
    while (left > 0 && beside.ok() && !recording_->killed() && !random.OneIn(options_.beside)) {
      // Where little is free a transaction waits for a commit: this one, which waits for it.
      const store::Space space = store.space();
      const bool tight = options_.create.max_bytes > 0 &&
                         (space.available_frames < enough || space.pending_items > 1000);
      if (tight) return;
      --left;
      beside = StepOf(workload);
      ++tally_.beside;
    }
  };
  absl::Status committed = settle ? store.Settle() : store.Commit();
  recording_->before_flush = nullptr;
  ++tally_.commits;
  return committed.ok() ? beside : committed;
}

std::unique_ptr<Store> CrashRun::ReopenAfterKill(const std::shared_ptr<Disk>& disk, World* world) {
  recording_->killed_at = SIZE_MAX;
  auto store = Store::Open(std::make_unique<RecordingFile>(disk, recording_), options_.open);
  if (!store.ok()) {
    failure_ = "open after a kill: " + Text(store.status());
    return nullptr;
  }
  failure_ = CheckState(**store, recording_->events.size(), world);
  if (!failure_.empty()) return nullptr;
  return *std::move(store);
}

void CrashRun::Advance(uint64_t point) { crash_->Advance(point / kVariants); }

bool CrashRun::Redundant(uint64_t point) {
  Advance(point);
  return point % kVariants != 0 && crash_->unflushed() == 0;
}

// Finds the state among those that a crash at `position` may leave, the newest first.
std::string CrashRun::CheckState(Store& store, size_t position, World* found) const {
  absl::StatusOr<World> got = ReadWorld(store);
  if (!got.ok()) return "reading: " + Text(got.status());
  size_t oldest = 0;
  for (const Acknowledged& one : acknowledged_) {
    if (one.position <= position) oldest = one.boundary;
  }
  size_t newest = oldest;
  while (newest + 1 < boundaries_.size() && boundaries_[newest + 1].position <= position) ++newest;
  for (size_t i = newest + 1; i-- > oldest;) {
    if (boundaries_[i].world == *got) {
      *found = boundaries_[i].world;
      return "";
    }
  }
  return absl::StrFormat(
      "the state is none of those after transactions %d (acknowledged) to %d; against the former: "
      "%s; against the latter: %s",
      oldest, newest, Difference(boundaries_[oldest].world, *got),
      Difference(boundaries_[newest].world, *got));
}

std::string CrashRun::Check(uint64_t point, const std::function<void(Image&)>& damage) {
  Advance(point);
  const size_t position = point / kVariants;
  Random random(seed_ * 0x9e3779b97f4a7c15 + point);
  const bool goes_on = !nested_ && random.OneIn(16);
  Image image = crash_->Make(point % kVariants, random);
  // A second run begins with what the crash left, which may be one good copy.
  if (!nested_ && random.OneIn(3)) {
    const auto slot = static_cast<int>(random.Below(2));
    const auto copy = static_cast<int>(random.Below(2));
    image.Punch(OffsetOf(format::SuperblockFrame(slot, copy)), kPageSize);
  }
  if (damage) damage(image);
  auto disk = std::make_shared<Disk>(image);
  auto store = Store::Open(std::make_unique<MemoryFile>(disk), options_.open);
  const bool made = !acknowledged_.empty() && acknowledged_.front().position <= position;
  if (!store.ok()) return made ? "open: " + Text(store.status()) : "";
  World world;
  if (std::string wrong = CheckState(**store, position, &world); !wrong.empty()) {
    return wrong + "\n" + history_;
  }
  if (std::string damages = Damages(**store); !damages.empty()) {
    return "check: " + damages + "\n" + history_;
  }
  // Checking changes nothing, and the volume goes on.
  if (!goes_on) return "";
  store->reset();
  return GoOn(std::move(image), std::move(world), random.Next());
}

// Works on after the crash, is crashed again, and at last gives all space back.
std::string CrashRun::GoOn(Image disk, World world, uint64_t seed) const {
  CrashOptions options = options_;
  options.steps = 12;
  options.lose_flush = nullptr;
  CrashRun again(seed, options, disk, world);
  if (!again.failure().empty()) return "after the crash: " + again.failure() + "\n" + history_;
  Random random(seed);
  uint64_t point = 0;
  for (int i = 0; i < 6 && point < again.points(); ++i) {
    if (std::string wrong = again.Check(point); !wrong.empty()) {
      return absl::StrCat("a second crash, at ", point, ": ", wrong, "\n", history_);
    }
    point += random.Below(again.points() / 4) + 1;
  }
  auto store = Store::Open(std::make_unique<MemoryFile>(std::make_shared<Disk>(std::move(disk))),
                           options_.open);
  if (!store.ok()) return "open once more: " + Text(store.status());
  Workload workload(options_.workload, seed);
  workload.Attach(store->get(), std::move(world));
  absl::Status removed = workload.RemoveAll();
  if (removed.ok()) removed = (*store)->Settle();
  if (!removed.ok()) return "removing all: " + Text(removed);
  if (std::string damages = Damages(**store); !damages.empty()) {
    return "after removing all: " + damages;
  }
  const store::Space space = (*store)->space();
  const uint64_t most = 40;  // nodes of tables
  if (space.used_frames > most || space.pending_items > 0 || space.deferred_frames > 0) {
    return absl::StrFormat("after removing all: %d frames used, %d pending, %d deferred",
                           space.used_frames, space.pending_items, space.deferred_frames);
  }
  return "";
}

}  // namespace cow::test
