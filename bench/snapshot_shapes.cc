// A durable snapshot of one file through the library, against the size and shape of the file, and
// with many snapshots present. Usage: snapshot_shapes FOLDER
#include <unistd.h>

#include <string>
#include <vector>

#include "bench/measure.h"
#include "cow/file.h"
#include "cow/volume.h"

namespace {

using bench::Must;

constexpr int kRounds = 20;
constexpr int kManySnapshots = 10000;

// Best time to change one page and take a snapshot, and to make that durable.
struct Times {
  double snapshot = 1e9;
  double durable = 1e9;
};

Times Measure(cow::Volume& volume, cow::File& file, const std::string& prefix) {
  const std::vector<std::byte> page(4096, std::byte{1});
  Times best;
  for (int round = 0; round < kRounds; ++round) {
    Must(file.Write(0, page));
    Must(volume.Sync());
    const double begin = bench::Seconds();
    cow::Snapshot snapshot = Must(file.TakeSnapshot(prefix + std::to_string(round)));
    const double taken = bench::Seconds();
    Must(volume.Sync());
    best.snapshot = std::min(best.snapshot, taken - begin);
    best.durable = std::min(best.durable, bench::Seconds() - begin);
  }
  return best;
}

void Report(const std::string& shape, const Times& times) {
  for (auto [what, seconds] :
       {std::pair{"snapshot", times.snapshot}, std::pair{"snapshot and Sync", times.durable}}) {
    std::cout << nlohmann::json{{"name", std::string(what) + ", " + shape},
                                {"ours_us", seconds * 1e6}}
                     .dump()
              << std::endl;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: snapshot_shapes FOLDER\n";
    return 2;
  }
  const std::string path = std::string(argv[1]) + "/snapshot_shapes.cow";
  unlink(path.c_str());
  cow::OpenOptions options;
  options.create = true;
  options.commit_seconds = 0;
  {
    cow::Volume volume = Must(cow::Volume::Open(path, options));
    const std::vector<std::byte> block(1 << 20, std::byte{7});
    cow::File small = Must(volume.CreateFile("/small"));
    Must(small.Write(0, block));
    cow::File large = Must(volume.CreateFile("/large"));
    for (uint64_t at = 0; at < (uint64_t{1} << 30); at += block.size())
      Must(large.Write(at, block));
    cow::File sparse = Must(volume.CreateFile("/sparse", uint64_t{1} << 40));
    cow::File isolated = Must(volume.CreateFile("/isolated"));
    for (uint64_t i = 0; i < 65536; ++i) {
      Must(isolated.Write(i << 14, std::span(block).first(4096)));
    }
    Must(volume.Sync());
    Report("1 MiB", Measure(volume, small, "s"));
    Report("1 GiB", Measure(volume, large, "s"));
    Report("1 TiB sparse", Measure(volume, sparse, "s"));
    Report("65,536 isolated pages", Measure(volume, isolated, "s"));
    for (int i = 0; i < kManySnapshots; ++i) Must(small.TakeSnapshot("m" + std::to_string(i)));
    Must(volume.Sync());
    Report("1 MiB with 10,000 snapshots present", Measure(volume, small, "t"));
  }
  unlink(path.c_str());
  return 0;
}
