// Reads and writes through the library beside pread and pwrite on a plain file of the same
// filesystem, in the same run, both in the page cache. Usage: page_io FOLDER [MIB]
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <random>
#include <vector>

#include "bench/measure.h"
#include "bench/plain_file.h"
#include "cow/file.h"
#include "cow/volume.h"

namespace {

using bench::Must;
using bench::PlainFile;

constexpr int kRounds = 5;
constexpr uint64_t kMostRandom = 65536;

struct Case {
  const char* name;
  size_t bytes;
  bool random;
  double target;
};

using Operation = std::function<void(uint64_t offset, size_t bytes)>;

double TimeOf(const Operation& operation, uint64_t size, const Case& c, uint64_t seed) {
  std::mt19937_64 random(seed);
  const uint64_t blocks = size / c.bytes;
  const uint64_t count = c.random ? std::min(blocks, kMostRandom) : blocks;
  const double begin = bench::Seconds();
  for (uint64_t i = 0; i < count; ++i) {
    operation((c.random ? random() % blocks : i) * c.bytes, c.bytes);
  }
  return (bench::Seconds() - begin) / static_cast<double>(count);
}

void Compare(const Case& c, uint64_t size, const Operation& ours, const Operation& rival) {
  double best_ours = 1e9;
  double best_rival = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    best_ours = std::min(best_ours, TimeOf(ours, size, c, round));
    best_rival = std::min(best_rival, TimeOf(rival, size, c, round));
  }
  bench::Report(c.name, best_ours, best_rival, c.target);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: page_io FOLDER [MIB]\n";
    return 2;
  }
  const std::string folder = argv[1];
  const uint64_t size = (argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1024) << 20;
  const std::string path = folder + "/page_io.cow";
  unlink(path.c_str());
  std::vector<std::byte> buffer(1 << 20);
  std::mt19937_64 random(1);
  for (std::byte& byte : buffer) byte = static_cast<std::byte>(random());
  PlainFile plain(folder + "/page_io.plain");
  const Operation plain_write = [&](uint64_t offset, size_t bytes) {
    plain.Write(offset, std::span(buffer).first(bytes));
  };
  const Operation plain_read = [&](uint64_t offset, size_t bytes) {
    plain.Read(offset, std::span(buffer).first(bytes));
  };
  cow::OpenOptions options;
  options.create = true;
  options.commit_seconds = 0;  // neither side writes back meanwhile
  {
    cow::Volume volume = Must(cow::Volume::Open(path, options));
    cow::File file = Must(volume.CreateFile("/file"));
    const Operation write = [&](uint64_t offset, size_t bytes) {
      Must(file.Write(offset, std::span(buffer).first(bytes)));
    };
    const Operation read = [&](uint64_t offset, size_t bytes) {
      Must(file.Read(offset, std::span(buffer).first(bytes)).status());
    };
    const Case fresh = {"write 1 MiB, new file", 1 << 20, false, 0};
    const double ours = TimeOf(write, size, fresh, 0);
    bench::Report(fresh.name, ours, TimeOf(plain_write, size, fresh, 0), 0.6);
    Compare({"write 1 MiB, in place", 1 << 20, false, 0.6}, size, write, plain_write);
    Compare({"write 4 KiB in order, in place", 4096, false, 0.6}, size, write, plain_write);
    Compare({"write 4 KiB at random, in place", 4096, true, 0.6}, size, write, plain_write);
    Compare({"read 1 MiB, known good", 1 << 20, false, 0.9}, size, read, plain_read);
    Compare({"read 4 KiB in order, known good", 4096, false, 0.9}, size, read, plain_read);
    Compare({"read 4 KiB at random, known good", 4096, true, 0.9}, size, read, plain_read);
    Must(volume.Sync());
    plain.Flush();
  }
  for (const Case& c : {Case{"read 1 MiB, first, verified", 1 << 20, false, 0.7},
                        Case{"read 4 KiB in order, first, verified", 4096, false, 0.7},
                        Case{"read 4 KiB at random, first, verified", 4096, true, 0.7}}) {
    double ours = 1e9;
    double rival = 1e9;
    for (int round = 0; round < kRounds; ++round) {
      // Opened anew, nothing is known to be good.
      cow::Volume volume = Must(cow::Volume::Open(path, {.commit_seconds = 0}));
      cow::File file = Must(volume.OpenFile("/file"));
      const Operation read = [&](uint64_t offset, size_t bytes) {
        Must(file.Read(offset, std::span(buffer).first(bytes)).status());
      };
      ours = std::min(ours, TimeOf(read, size, c, 1));
      rival = std::min(rival, TimeOf(plain_read, size, c, 1));
    }
    bench::Report(c.name, ours, rival, c.target);
  }
  {
    cow::Volume volume = Must(cow::Volume::Open(path, {.commit_seconds = 0}));
    cow::File file = Must(volume.OpenFile("/file"));
    cow::Snapshot before = Must(file.TakeSnapshot("before"));
    const Operation write = [&](uint64_t offset, size_t bytes) {
      Must(file.Write(offset, std::span(buffer).first(bytes)));
    };
    PlainFile fresh(folder + "/page_io.fresh");
    const Operation fresh_write = [&](uint64_t offset, size_t bytes) {
      fresh.Write(offset, std::span(buffer).first(bytes));
    };
    const Case c = {"write 1 MiB, after a snapshot (a full copy beside)", 1 << 20, false, 0};
    const double ours = TimeOf(write, size, c, 0);
    bench::Report(c.name, ours, TimeOf(fresh_write, size, c, 0), 0.6);
  }
  unlink(path.c_str());
  return 0;
}
