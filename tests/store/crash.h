// Crashes: a workload is recorded, and after any prefix of what it did to the disk, with any part
// of what was not flushed, the volume must open, be clean, and hold what was acknowledged.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cow/store/store.h"
#include "tests/store/model.h"
#include "tests/store/recording_file.h"
#include "tests/store/workload.h"

namespace cow::test {

struct CrashOptions {
  std::string name;  // for tables of what was run
  store::CreateOptions create;
  store::OpenOptions open = {.commit_seconds = 0};
  WorkloadOptions workload;
  uint64_t steps = 60;
  // The writing process is killed now and then, and another one goes on with what it left.
  bool kills = false;
  // So many transactions at most go on while a commit waits for the disk.
  uint64_t beside = 0;
  // Given to the recording, to prove that the harness notices.
  std::function<bool(size_t flush)> lose_flush;
};

// A workload that was recorded, and what held when.
//
// Each check may also find one copy of one superblock rotten: that loses nothing either.
class CrashRun {
 public:
  // Options and workload follow from the seed.
  explicit CrashRun(uint64_t seed) : CrashRun(seed, OptionsFor(seed)) {}
  CrashRun(uint64_t seed, const CrashOptions& options);
  // Goes on with what is on `disk`, which holds `world`.
  CrashRun(uint64_t seed, const CrashOptions& options, Image image, World world);

  static CrashOptions OptionsFor(uint64_t seed);

  // Why recording failed; empty when it did not.
  const std::string& failure() const { return failure_; }
  // Crash points are numbered [0, points()).
  uint64_t points() const { return (recording_->events.size() + 1) * kVariants; }
  // Crashes there; what is wrong, or empty. Only forward: `point` is not below the last one.
  // `damage`, where given, changes the disk before it is opened.
  std::string Check(uint64_t point, const std::function<void(Image&)>& damage = nullptr);
  // That a crash there leaves nothing new to look at: nothing is unflushed.
  bool Redundant(uint64_t point);

  // What happened in it, for tables.
  struct Tally {
    uint64_t transactions = 0;
    uint64_t beside = 0;  // of these, while a commit waited
    uint64_t commits = 0;
    uint64_t kills = 0;
    uint64_t refused = 0;  // as the volume was full
  };
  const Tally& tally() const { return tally_; }
  const std::string& name() const { return options_.name; }
  const Recording& recording() const { return *recording_; }

  static constexpr uint64_t kVariants = 5;

 private:
  struct Boundary {
    size_t position;  // events before it
    World world;
  };
  struct Acknowledged {
    size_t position;
    size_t boundary;
  };

  void Record(const std::shared_ptr<Disk>& disk, std::unique_ptr<store::Store> store, World world);
  // The process was killed: opens what it left, which is one of the states that it may have left.
  // Null, and failure_ is set, where it is not.
  std::unique_ptr<store::Store> ReopenAfterKill(const std::shared_ptr<Disk>& disk, World* world);
  absl::Status StepOf(Workload& workload);
  absl::Status CommitBeside(store::Store& store, bool settle, Workload& workload, Random& random);
  // All up to `boundary` is promised from here on.
  void Acknowledge(size_t boundary) {
    acknowledged_.push_back({recording_->events.size(), boundary});
  }
  std::string CheckState(store::Store& store, size_t position, World* found) const;
  std::string GoOn(Image disk, World world, uint64_t seed) const;
  void Advance(uint64_t point);

  const uint64_t seed_;
  const CrashOptions options_;
  const bool nested_;
  const std::shared_ptr<Recording> recording_ = std::make_shared<Recording>();
  std::vector<Boundary> boundaries_;
  std::vector<Acknowledged> acknowledged_;
  std::string failure_;
  std::string history_;
  Tally tally_;
  std::unique_ptr<CrashDisk> crash_;
};

}  // namespace cow::test
