// Handles are destroyed in any order: the volume before its files, a snapshot before its mapping.
#include <algorithm>
#include <array>
#include <optional>

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
  std::array<int, 6> order = {0, 1, 2, 3, 4, 5};
  int round = 0;
  do {
    Handles handles;
    const std::string path = directory_ / ("volume-" + std::to_string(++round) + ".cow");
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
    if (!GetParam() && round % 20 == 1) {
      Volume again = Volume::Open(path).value();
      EXPECT_EQ(TextOf(again.OpenFile("/t/a").value()).substr(1, 3), "new");
      EXPECT_EQ(TextOf(again.OpenFile("/t/a@s").value()), "old!");
      ExpectSound(again);
    }
    if (!GetParam()) std::remove(path.c_str());
    // On files, one order in five: each is a few flushes.
    for (int skip = GetParam() ? 0 : 4; skip > 0; --skip) std::ranges::next_permutation(order);
  } while (std::ranges::next_permutation(order).found);
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

}  // namespace
}  // namespace cow
