// Crash points, thousands of them. COW_CRASH_SEED=N begins with another seed, COW_CRASH_POINTS=N
// sets how many, COW_CRASH_STRIDE=N takes one in N of each workload, so that few points see many
// workloads; COW_CRASH_REPLAY=SEED:POINT repeats one that failed. tools/soak.sh runs a million.
#include "tests/store/crash.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "cow/format/geometry.h"
#include "tests/store/volume.h"

namespace cow::test {
namespace {

uint64_t Environment(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 0);
}

std::string Replay(uint64_t seed, uint64_t point) {
  return "COW_CRASH_REPLAY=" + std::to_string(seed) + ":" + std::to_string(point) +
         " store_test --gtest_filter=CrashTest.ReplaysOnePoint\n";
}

// What was run of one kind of workload.
struct Row {
  uint64_t points = 0;
  uint64_t workloads = 0;
  CrashRun::Tally sum;

  void Add(const CrashRun::Tally& tally) {
    ++workloads;
    sum.transactions += tally.transactions;
    sum.beside += tally.beside;
    sum.commits += tally.commits;
    sum.kills += tally.kills;
    sum.refused += tally.refused;
  }
};

// Runs seeds from `seed` on until `points` were checked. tools/soak.sh adds up what it prints.
void CrashEverywhere(uint64_t seed, uint64_t points) {
  seed = Environment("COW_CRASH_SEED", seed);
  points = Environment("COW_CRASH_POINTS", points);
  const uint64_t stride = Environment("COW_CRASH_STRIDE", 1);
  std::map<std::string, Row> rows;
  for (uint64_t done = 0; done < points; ++seed) {
    CrashRun run(seed);
    ASSERT_TRUE(run.failure().empty()) << run.failure() << Replay(seed, 0);
    Row& row = rows[run.name()];
    row.Add(run.tally());
    for (uint64_t point = 0; point < run.points() && done < points; point += stride) {
      if (run.Redundant(point)) continue;
      const std::string wrong = run.Check(point);
      ASSERT_TRUE(wrong.empty()) << wrong << Replay(seed, point);
      ++row.points;
      ++done;
    }
  }
  absl::PrintF(
      "crash: workload, points, workloads, transactions, beside, commits, kills, refused\n");
  for (const auto& [name, row] : rows) {
    absl::PrintF("crash: %s | %d | %d | %d | %d | %d | %d | %d\n", name, row.points, row.workloads,
                 row.sum.transactions, row.sum.beside, row.sum.commits, row.sum.kills,
                 row.sum.refused);
  }
}

// The shortest come first: tests/mutation ends with the first that fails.

// Of a commit with one flush everything arrives but one frame, each in turn: data, nodes, counts and
// both logs. The commit is undone as a whole, unless nothing needs the frame.
void LoseEachFrameInTurn(uint64_t commits_per_fold) {
  SCOPED_TRACE(commits_per_fold);
  const auto disk = std::make_shared<Disk>();
  const auto recording = std::make_shared<Recording>();
  const store::OpenOptions options = {.commit_seconds = 0, .commits_per_fold = commits_per_fold};
  auto store = store::Store::Create(std::make_unique<RecordingFile>(disk, recording), {}, options);
  ASSERT_TRUE(store.ok()) << store.status();
  ObjectPointer before;
  for (uint64_t commit = 0; commit < 6; ++commit) {
    const Image base = disk->Copy();
    const size_t begin = recording->events.size();
    ObjectPointer file;
    {
      auto transaction =
          (*store)->Begin(store::FramesToWrite(3 * kPageSize) + 2 * store::kFramesToChange);
      ASSERT_TRUE(transaction.ok()) << transaction.status();
      file = *(*store)->catalog().Create(*transaction);
      ASSERT_TRUE(file->Write(*transaction, 0, RandomBytes(3 * kPageSize, commit)).ok());
      if (before != nullptr) {
        ASSERT_TRUE((*store)->catalog().Remove(*transaction, before).ok());
      }
    }
    const ObjectNumber number = file->number();
    before = std::exchange(file, nullptr);
    ASSERT_TRUE((*store)->Commit().ok());
    std::set<uint64_t> frames;
    for (size_t i = begin; i < recording->events.size(); ++i) {
      const Event& event = recording->events[i];
      if (event.kind != Event::Kind::kWrite) continue;
      for (uint64_t at = 0; at < event.length; at += kPageSize) {
        frames.insert((event.offset + at) / kPageSize);
      }
    }
    for (int slot : {0, 1}) {
      for (int copy : {0, 1}) frames.erase(format::SuperblockFrame(slot, copy).value());
    }
    uint64_t undone = 0;
    for (const uint64_t frame : frames) {
      Image image = disk->Copy();
      Bytes old(kPageSize);
      base.Read(frame * kPageSize, old);
      image.Write(frame * kPageSize, old);
      const auto open =
          store::Store::Open(std::make_unique<MemoryFile>(std::make_shared<Disk>(image)), options);
      ASSERT_TRUE(open.ok()) << "commit " << commit << ", frame " << frame << ": " << open.status();
      EXPECT_EQ(Damages(**open), "") << "commit " << commit << ", frame " << frame;
      undone += !(*open)->catalog().Open(number).ok();
    }
    EXPECT_GE(undone, 5u) << "of " << frames.size();
  }
}

TEST(CrashTest, EachFrameThatACommitLacksUndoesIt) {
  LoseEachFrameInTurn(/*commits_per_fold=*/1);
  LoseEachFrameInTurn(/*commits_per_fold=*/256);
}

// A large file is removed before it was ever committed, and reaped in part by the commit that tells
// of it. Its pages are used again beside the next commit, and that one is lost: the one before has
// been acknowledged, and stays.
TEST(CrashTest, PagesOfWhatIsReapedAreUsedAgain) {
  for (uint64_t folded = 2; folded < 14; ++folded) {
    SCOPED_TRACE(folded);
    const auto disk = std::make_shared<Disk>();
    const auto recording = std::make_shared<Recording>();
    const store::OpenOptions options = {
        .commit_seconds = 0, .one_flush_frames = 400, .fold_per_commit = folded};
    auto store = store::Store::Create(std::make_unique<RecordingFile>(disk, recording),
                                      {.max_bytes = 8 << 20}, options);
    ASSERT_TRUE(store.ok()) << store.status();
    const auto write = [&](uint64_t pages) {
      auto transaction = (*store)->Begin(store::FramesToWrite(pages * kPageSize) + 24);
      EXPECT_TRUE(transaction.ok()) << transaction.status();
      ObjectPointer file = *(*store)->catalog().Create(*transaction);
      EXPECT_TRUE(file->Write(*transaction, 0, RandomBytes(pages * kPageSize, pages)).ok());
      return file;
    };
    ObjectPointer large = write(300);
    ASSERT_TRUE((*store)->BeginFrozen(0).ok());
    {
      auto transaction = (*store)->Begin(2 * store::kFramesToChange);
      ASSERT_TRUE((*store)->catalog().Remove(*transaction, large).ok());
    }
    large.reset();
    ASSERT_TRUE((*store)->BeginFrozen(0).ok());  // its last handle goes
    const ObjectNumber kept = write(1)->number();
    ASSERT_TRUE((*store)->Commit().ok());
    // More than a commit with one flush has: its first flush comes before its superblock.
    write(450);
    Image lost;
    recording->before_flush = [&] {
      if (lost.size() > 0) return;
      write((*store)->space().available_frames - 60);
      lost = disk->Copy();
    };
    ASSERT_TRUE((*store)->Commit().ok());
    const auto again =
        store::Store::Open(std::make_unique<MemoryFile>(std::make_shared<Disk>(lost)), options);
    ASSERT_TRUE(again.ok()) << again.status();
    const auto found = (*again)->catalog().Open(kept);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(ContentOf(**found), RandomBytes(kPageSize, 1));
    EXPECT_EQ(Damages(**again), "");
  }
}

// A superblock is torn, with one sector of garbage, and the next one in its place is torn too and
// writes just that sector. The commit was lost, and stays so.
TEST(CrashTest, ALostCommitDoesNotComeBack) {
  auto disk = std::make_shared<Disk>();
  auto store = store::Store::Create(std::make_unique<MemoryFile>(disk), {}, kQuiet);
  ASSERT_TRUE(store.ok());
  for (int i = 0; i < 3; ++i) {
    {
      auto transaction = (*store)->Begin(store::kFramesToChange);
      ASSERT_TRUE((*store)->catalog().Create(*transaction).ok());
    }
    ASSERT_TRUE((*store)->Commit().ok());
  }
  const Image whole = disk->Copy();
  int lost = 0;
  for (int slot : {0, 1}) {
    Image image = whole;
    for (int copy : {0, 1}) {
      image.Write(OffsetOf(format::SuperblockFrame(slot, copy)) + 512, Bytes(512, std::byte{7}));
    }
    const auto crashed = std::make_shared<Disk>(image);
    const auto open = store::Store::Open(std::make_unique<MemoryFile>(crashed), kQuiet);
    ASSERT_TRUE(open.ok()) << open.status();
    const bool found = (*open)->catalog().Open(ObjectNumber(3)).ok();
    lost += !found;
    image = crashed->Copy();
    for (int copy : {0, 1}) {
      Bytes sector(512);
      const uint64_t at = OffsetOf(format::SuperblockFrame(slot, copy)) + 512;
      whole.Read(at, sector);
      image.Write(at, sector);
    }
    const auto again =
        store::Store::Open(std::make_unique<MemoryFile>(std::make_shared<Disk>(image)), kQuiet);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ((*again)->catalog().Open(ObjectNumber(3)).ok(), found) << "slot " << slot;
  }
  EXPECT_EQ(lost, 1);
}

TEST(CrashTest, SurvivesCrashes) {
  for (uint64_t seed : {1, 2, 3, 4}) {
    CrashRun run(seed);
    ASSERT_EQ(run.failure(), "");
    for (uint64_t point = 0; point < run.points(); point += 17) {
      const std::string wrong = run.Check(point);
      ASSERT_TRUE(wrong.empty()) << wrong << Replay(seed, point);
    }
  }
}

// 50,000 in all; in parts, so that they run beside each other. Each begins with another kind of
// workload.
TEST(CrashTest, LongRunSurvivesEveryCrash1) { CrashEverywhere(1000, 12500); }
TEST(CrashTest, LongRunSurvivesEveryCrash2) { CrashEverywhere(2005, 12500); }
TEST(CrashTest, LongRunSurvivesEveryCrash3) { CrashEverywhere(3006, 12500); }
TEST(CrashTest, LongRunSurvivesEveryCrash4) { CrashEverywhere(4003, 12500); }

// Pages are written one by one beside commits, and fill every hole: so a frame of a log that is free
// too early is written at once.
TEST(CrashTest, SurvivesCrashesWhileFramesAreSoonUsedAgain) {
  for (uint64_t seed : {21, 23}) {
    CrashOptions options;
    options.create.max_bytes = 4 << 20;
    options.open.fold_per_commit = 40;
    options.workload.max_write = kPageSize;
    options.workload.max_size = 160 * 1024;
    options.workload.far_offset = 0;
    options.steps = 600;
    options.beside = 24;
    CrashRun run(seed, options);
    ASSERT_EQ(run.failure(), "");
    for (uint64_t point = 0; point < run.points(); point += 41) {
      if (run.Redundant(point)) continue;
      const std::string wrong = run.Check(point);
      ASSERT_TRUE(wrong.empty()) << wrong << "seed " << seed << ", point " << point;
    }
  }
}

TEST(CrashTest, ReplaysOnePoint) {
  const char* replay = std::getenv("COW_CRASH_REPLAY");
  if (replay == nullptr) GTEST_SKIP() << "COW_CRASH_REPLAY=SEED:POINT is not set";
  char* end = nullptr;
  const uint64_t seed = std::strtoull(replay, &end, 0);
  ASSERT_EQ(*end, ':') << "COW_CRASH_REPLAY=SEED:POINT";
  CrashRun run(seed);
  ASSERT_EQ(run.failure(), "");
  EXPECT_EQ(run.Check(std::strtoull(end + 1, nullptr, 0)), "");
}

// What follows proves that the harness can fail.

// How many points of a run are found wrong, with `change` made to the options.
uint64_t WrongPoints(const std::function<void(CrashOptions&)>& change) {
  uint64_t wrong = 0;
  for (uint64_t seed = 10; seed < 13; ++seed) {
    CrashOptions options = CrashRun::OptionsFor(seed);
    options.kills = false;
    change(options);
    CrashRun run(seed, options);
    EXPECT_EQ(run.failure(), "");
    for (uint64_t point = 0; point < run.points(); point += 7) {
      if (!run.Redundant(point) && !run.Check(point).empty()) ++wrong;
    }
  }
  return wrong;
}

TEST(CrashHarnessTest, NoticesThatAllFlushesAreLost) {
  EXPECT_GT(
      WrongPoints([](CrashOptions& options) { options.lose_flush = [](size_t) { return true; }; }),
      0u);
}

TEST(CrashHarnessTest, NoticesThatTheFlushBeforeTheSuperblockIsLost) {
  // A commit flushes twice; the first of each is lost.
  EXPECT_GT(WrongPoints([](CrashOptions& options) {
              options.open.one_flush_frames = 0;
              options.lose_flush = [](size_t flush) { return flush % 2 == 0; };
            }),
            0u);
}

TEST(CrashHarnessTest, NoticesThatTheFlushAfterTheSuperblockIsLost) {
  EXPECT_GT(WrongPoints([](CrashOptions& options) {
              options.open.one_flush_frames = 0;
              options.lose_flush = [](size_t flush) { return flush % 2 == 1; };
            }),
            0u);
}

TEST(CrashHarnessTest, NoticesALostSuperblock) {
  CrashRun run(11);
  ASSERT_EQ(run.failure(), "");
  uint64_t wrong = 0;
  for (uint64_t point = 0; point < run.points(); point += CrashRun::kVariants) {
    // Both copies of each slot in turn: one of them is the newest, and the other is older.
    for (int slot : {0, 1}) {
      wrong += !run.Check(point,
                          [&](Image& image) {
                            for (int copy : {0, 1}) {
                              image.Punch(OffsetOf(format::SuperblockFrame(slot, copy)) + 512, 512);
                              image.Punch(OffsetOf(format::SuperblockFrame(slot, copy)), 512);
                            }
                          })
                    .empty();
    }
  }
  EXPECT_GT(wrong, 10u);
}

TEST(CrashHarnessTest, NoticesALostWrite) {
  CrashRun run(11);
  ASSERT_EQ(run.failure(), "");
  const uint64_t last = run.points() - CrashRun::kVariants;
  uint64_t lost = 0;
  uint64_t noticed = 0;
  const std::vector<Event>& events = run.recording().events;
  for (size_t i = 0; i < events.size(); i += 5) {
    if (events[i].kind != Event::Kind::kWrite) continue;
    ++lost;
    noticed +=
        !run.Check(last, [&](Image& image) { image.Punch(events[i].offset, events[i].length); })
             .empty();
  }
  EXPECT_GT(noticed, lost / 4) << "of " << lost;
}

}  // namespace
}  // namespace cow::test
