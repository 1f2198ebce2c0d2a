// Handles are destroyed in any order: the volume before its files, a snapshot before its mapping.
#include <algorithm>
#include <array>
#include <optional>

#include "absl/strings/str_cat.h"
#include "tests/core/volumes.h"

namespace cow {
namespace {

class LifetimeTest : public testing::TestWithParam<bool> {
 protected:
  const test::TemporaryDirectory directory_;
};
COW_EACH_VOLUME(LifetimeTest);

// One handle of every kind.
struct Handles {
  std::optional<Volume> volume;
  std::optional<File> file;
  std::optional<Tree> tree;
  std::optional<Snapshot> snapshot;
  std::optional<Mapping> write;
  std::optional<Mapping> read;

  void Destroy(int which) {
    if (which == 0) volume.reset();
    if (which == 1) file.reset();
    if (which == 2) tree.reset();
    if (which == 3) snapshot.reset();
    if (which == 4) write.reset();
    if (which == 5) read.reset();
  }

  // Those that are left work.
  void Use(int round) {
    if (volume) {
      EXPECT_EQ(volume->Sync(), absl::OkStatus());
    }
    if (file) {
      EXPECT_EQ(TextOf(*file).substr(1, 3), "new");
    }
    if (tree) {
      EXPECT_EQ(tree->ListSnapshots().status(), absl::OkStatus());
    }
    if (snapshot) {
      EXPECT_EQ(TextOf(*snapshot), "old!");
    }
    if (write) {
      write->bytes()[0] = std::byte(round);
      EXPECT_EQ(write->Seal(), absl::OkStatus());
    }
    if (read) {
      EXPECT_EQ(TextOf(*read), "old!");
    }
  }
};

TEST_P(LifetimeTest, HandlesAreDestroyedInAnyOrder) {
  // Not all 720 orders: opening a volume on a file takes a few flushes.
  const int stride = GetParam() ? 7 : 61;
  std::array<int, 6> order = {0, 1, 2, 3, 4, 5};
  for (int round = 0; round < 720; ++round, std::ranges::next_permutation(order)) {
    if (round % stride != 0) continue;
    Handles handles;
    const std::string path = directory_ / absl::StrCat("volume-", round, ".cow");
    handles.volume.emplace(
        (GetParam() ? Volume::InMemory() : Volume::Open(path, {.create = true})).value());
    handles.tree.emplace(handles.volume->CreateTree("/t").value());
    handles.file.emplace(MakeFile(*handles.volume, "/t/a", "old!"));
    handles.snapshot.emplace(handles.file->TakeSnapshot("s").value());
    handles.read.emplace(handles.snapshot->Map(Access::kRead).value());
    handles.write.emplace(handles.file->Map(Access::kWrite).value());
    Store(*handles.write, 1, "new");
    ASSERT_EQ(handles.write->Seal(), absl::OkStatus());
    for (const int which : order) {
      handles.Use(round);
      handles.Destroy(which);
    }
    if (GetParam()) continue;
    Volume again = Volume::Open(path).value();
    EXPECT_EQ(TextOf(again.OpenFile("/t/a").value()).substr(1, 3), "new");
    EXPECT_EQ(TextOf(again.OpenFile("/t/a@s").value()), "old!");
    ExpectSound(again);
  }
}

TEST_P(LifetimeTest, AssigningAHandleLetsGoOfTheOldOne) {
  const std::string path = directory_ / "volume.cow";
  Volume volume = Volume::Open(path, {.create = true}).value();
  File file = MakeFile(volume, "/a", "text");
  Mapping live = file.Map(Access::kWrite).value();
  Store(live, 0, "T");
  live = volume.OpenFile("/a")->Map(Access::kRead).value();
  EXPECT_EQ(TextOf(file), "Text");
  volume = Volume::InMemory().value();
  file = MakeFile(volume, "/a", "other");
  EXPECT_EQ(TextOf(live), "Text") << "the mapping keeps the volume open";
  EXPECT_EQ(ErrnoIn(Volume::Open(path)), EBUSY);
  live = file.Map(Access::kRead).value();
  EXPECT_EQ(Volume::Open(path).status(), absl::OkStatus()) << "closed with its last handle";
}

TEST_P(LifetimeTest, AssigningAMappingToItselfKeepsIt) {
  Volume volume = Volume::InMemory().value();
  File file = MakeFile(volume, "/a", "text");
  Mapping live = file.Map(Access::kWrite).value();
  Mapping& same = live;
  live = std::move(same);
  Store(live, 0, "T");
  EXPECT_EQ(live.Seal(), absl::OkStatus());
  EXPECT_EQ(TextOf(file), "Text");
}

}  // namespace
}  // namespace cow
