// Random operations against a model that keeps every version as plain bytes. COW_SEED=N replays
// one seed, COW_MODEL_STEPS=N sets the length.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "tests/store/fake_file.h"
#include "tests/store/workload.h"
#include "tests/support/seed.h"

namespace cow::test {
namespace {

using store::CreateOptions;
using store::OpenOptions;
using store::Store;

uint64_t Steps(uint64_t fallback) {
  const char* text = std::getenv("COW_MODEL_STEPS");
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 0);
}

class ModelTest : public ::testing::Test {
 protected:
  void Run(uint64_t seed, uint64_t steps, const CreateOptions& create,
           const WorkloadOptions& options = {}) {
    auto disk = std::make_shared<Disk>();
    OpenOptions open_options = {.commit_seconds = 0};
    // Nodes are soon dropped from memory, and read again.
    if (seed % 2 == 0) open_options.cache_bytes = 4096;
    auto open = [&](bool fresh) {
      auto file = std::make_unique<MemoryFile>(disk);
      auto store = fresh ? Store::Create(std::move(file), create, open_options)
                         : Store::Open(std::move(file), open_options);
      EXPECT_TRUE(store.ok()) << store.status();
      return store.ok() ? *std::move(store) : nullptr;
    };
    std::unique_ptr<Store> store = open(true);
    ASSERT_NE(store, nullptr);
    ASSERT_TRUE(store->Settle().ok());
    const uint64_t used_at_first = store->space().used_frames;

    Workload workload(options, seed);
    workload.Attach(store.get(), World());
    Random random(seed + 1);
    auto context = [&](uint64_t step) {
      return "COW_SEED=" + std::to_string(seed) + ", step " + std::to_string(step) + "\n" +
             workload.history();
    };
    for (uint64_t step = 0; step < steps; ++step) {
      absl::Status status = workload.Step();
      ASSERT_TRUE(status.ok()) << status << "\n" << context(step);
      if (random.OneIn(6)) {
        ASSERT_TRUE(store->Commit().ok()) << context(step);
      }
      if (random.OneIn(40)) {
        ASSERT_TRUE(store->Settle().ok()) << context(step);
      }
      if (random.OneIn(20)) {
        status = workload.Verify();
        ASSERT_TRUE(status.ok()) << status << "\n" << context(step);
      }
      if (random.OneIn(50)) {
        ASSERT_EQ(Damages(*store), "") << context(step);
      }
      if (random.OneIn(60)) {
        World world = workload.world();
        workload.Detach();
        ASSERT_TRUE(store->Commit().ok()) << context(step);
        store.reset();
        store = open(false);
        ASSERT_NE(store, nullptr) << context(step);
        workload.Attach(store.get(), std::move(world));
        status = workload.Verify();
        ASSERT_TRUE(status.ok()) << "reopened: " << status << "\n" << context(step);
      }
    }
    ASSERT_EQ(Damages(*store), "") << context(steps);
    absl::Status status = workload.RemoveAll();
    ASSERT_TRUE(status.ok()) << status << context(steps);
    ASSERT_TRUE(store->Settle().ok());
    ASSERT_EQ(Damages(*store), "") << context(steps);
    const store::Space space = store->space();
    // Leaves of tables may remain; nothing of what was in them.
    EXPECT_LE(space.used_frames, used_at_first + 8 + steps / 8) << context(steps);
    EXPECT_EQ(space.pending_items, 0u);
    EXPECT_EQ(space.deferred_frames, 0u);
  }
};

TEST_F(ModelTest, RandomOperationsMatchAModel) {
  const uint64_t seed = Seed(1);
  for (uint64_t i = 0; i < 6 && !HasFatalFailure(); ++i) Run(seed + i, Steps(400), {});
}

TEST_F(ModelTest, RandomOperationsMatchAModelWithoutDataChecksums) {
  const uint64_t seed = Seed(101);
  for (uint64_t i = 0; i < 3 && !HasFatalFailure(); ++i) {
    Run(seed + i, Steps(400), {.data_checksums = false});
  }
}

TEST_F(ModelTest, RandomOperationsOnAFullVolumeMatchAModel) {
  const uint64_t seed = Seed(201);
  for (uint64_t i = 0; i < 6 && !HasFatalFailure(); ++i) {
    Run(seed + i, Steps(400), {.max_bytes = 4 << 20});
  }
}

TEST_F(ModelTest, LongRunsMatchAModel) {
  const uint64_t seed = Seed(301);
  for (uint64_t i = 0; i < 4 && !HasFatalFailure(); ++i) {
    Run(seed + i, Steps(1500), {},
        {.max_write = 400 * 1024,
         .max_size = uint64_t{3} << 20,
         .max_files = 16,
         .max_trees = 5,
         .max_versions = 30});
  }
}

}  // namespace
}  // namespace cow::test
