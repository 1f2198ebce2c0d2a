// A snapshot of live state, read back by another run of the program.
//
// A game of life is played in a mapping. Every so often its state is kept: that costs the pages
// that changed, and the game does not stop for it. Then the program "crashes"; the next run opens
// the volume, finds the snapshots, and goes on from the newest.
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "cow/volume.h"
#include "expect.h"

namespace {

constexpr size_t kSide = 512;

struct World {
  uint64_t generation;
  uint8_t cells[kSide][kSide];
};

World& WorldIn(const cow::Mapping& mapping) {
  return *reinterpret_cast<World*>(mapping.bytes().data());
}

void Step(World& world) {
  static World next;
  for (size_t y = 0; y < kSide; ++y) {
    for (size_t x = 0; x < kSide; ++x) {
      int neighbours = -world.cells[y][x];
      for (size_t dy : {kSide - 1, size_t{0}, size_t{1}}) {
        for (size_t dx : {kSide - 1, size_t{0}, size_t{1}}) {
          neighbours += world.cells[(y + dy) % kSide][(x + dx) % kSide];
        }
      }
      next.cells[y][x] = neighbours == 3 || (neighbours == 2 && world.cells[y][x]);
    }
  }
  for (size_t y = 0; y < kSide; ++y) {
    for (size_t x = 0; x < kSide; ++x) {
      if (world.cells[y][x] != next.cells[y][x]) world.cells[y][x] = next.cells[y][x];
    }
  }
  ++world.generation;
}

size_t Alive(const World& world) {
  size_t alive = 0;
  for (const auto& row : world.cells) {
    for (uint8_t cell : row) alive += cell;
  }
  return alive;
}

// Plays 30 generations and keeps every tenth. The living cells of those kept.
std::vector<size_t> FirstRun(const std::string& path) {
  cow::Volume volume = Must(cow::Volume::Open(path, {.create = true}));
  cow::File file = Must(volume.CreateFile("/world", sizeof(World)));
  cow::Mapping live = Must(file.Map(cow::Access::kWrite));
  World& world = WorldIn(live);
  for (auto [x, y] : {std::pair{1, 0}, {2, 1}, {0, 2}, {1, 2}, {2, 2}}) world.cells[y][x] = 1;
  for (auto [x, y] : {std::pair{101, 100}, {102, 100}, {100, 101}, {101, 101}, {101, 102}}) {
    world.cells[y][x] = 1;
  }

  std::vector<size_t> kept;
  while (world.generation < 30) {
    Step(world);
    if (world.generation % 10 != 0) continue;
    Must(file.TakeSnapshot("generation-" + std::to_string(world.generation)));
    kept.push_back(Alive(world));
  }
  Must(volume.Sync());
  Step(world);  // nobody kept this one
  return kept;
}

void SecondRun(const std::string& path, const std::vector<size_t>& kept) {
  cow::Volume volume = Must(cow::Volume::Open(path));
  cow::File file = Must(volume.OpenFile("/world"));
  const std::vector<cow::Entry> snapshots = Must(file.ListSnapshots());
  Expect(snapshots.size() == 3, "three snapshots were kept");
  for (size_t i = 0; i < snapshots.size(); ++i) {
    const cow::Snapshot snapshot = Must(file.OpenSnapshot(snapshots[i].snapshot));
    const cow::Mapping old = Must(snapshot.Map(cow::Access::kRead));
    Expect(WorldIn(old).generation == 10 * (i + 1), "snapshots come oldest first");
    Expect(Alive(WorldIn(old)) == kept[i], "a snapshot holds the state as it was");
    std::cout << snapshots[i].snapshot << ": " << kept[i] << " cells alive\n";
  }

  // On from the newest, whatever the file itself held when the program ended.
  Must(volume.RollBack(Must(file.OpenSnapshot("generation-30"))));
  const cow::Mapping live = Must(file.Map(cow::Access::kWrite));
  Step(WorldIn(live));
  Expect(WorldIn(live).generation == 31, "the game goes on where it was kept");
}

}  // namespace

int main() {
  const std::string path = std::filesystem::temp_directory_path() /
                           ("cow-live-state-" + std::to_string(getpid()) + ".cow");
  const std::vector<size_t> kept = FirstRun(path);
  SecondRun(path, kept);
  std::filesystem::remove(path);
}
