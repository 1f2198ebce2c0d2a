// Snapshots of live state behind a pointer, in memory, against fork() of the same state with small
// and with huge pages. Usage: mapping_snapshots [GIB]...   (1 and 4 where none is given)
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "bench/measure.h"
#include "cow/file.h"
#include "cow/mapping.h"
#include "cow/snapshot.h"
#include "cow/units.h"
#include "cow/volume.h"

namespace {

using bench::Must;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kCluster = 64;  // pages beside each other, where what is dirty is clustered
constexpr int kRounds = 5;

// Anonymous memory of this process.
class State {
 public:
  State(uint64_t bytes, int advice) : bytes_(bytes) {
    void* const start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) std::exit(1);
    madvise(start, bytes, advice);
    memory_ = static_cast<std::byte*>(start);
    std::memset(memory_, 1, bytes);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { munmap(memory_, bytes_); }
  std::span<std::byte> bytes() const { return {memory_, bytes_}; }

 private:
  const uint64_t bytes_;
  std::byte* memory_ = nullptr;
};

void Dirty(std::span<std::byte> state, double part, uint64_t cluster, std::mt19937_64& random) {
  const uint64_t pages = state.size() / kPage;
  const auto runs = static_cast<uint64_t>(static_cast<double>(pages) * part) / cluster;
  for (uint64_t i = 0; i < std::max<uint64_t>(runs, 1); ++i) {
    const uint64_t first = random() % (pages / cluster) * cluster;
    for (uint64_t page = first; page < first + cluster; ++page) {
      state[page * kPage + random() % kPage] ^= std::byte{1};
    }
  }
}

double Median(std::vector<double> times) {
  std::ranges::nth_element(times, times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2));
  return times[times.size() / 2];
}

// What the parent waits for, while the child has a copy of all its memory.
double ForkSeconds(std::span<std::byte> state, std::mt19937_64& random) {
  std::vector<double> times;
  for (int round = 0; round < kRounds; ++round) {
    Dirty(state, 0.01, 1, random);
    const double begin = bench::Seconds();
    const pid_t child = fork();
    if (child == 0) _exit(0);
    times.push_back(bench::Seconds() - begin);
    waitpid(child, nullptr, 0);
  }
  return Median(times);
}

void Measure(uint64_t gib) {
  const uint64_t size = gib * cow::kGiB;
  const std::string state = std::to_string(gib) + " GiB";
  std::mt19937_64 random(1);
  double small = 0;
  double huge = 0;
  double copy = 0;
  {
    const State live(size, MADV_NOHUGEPAGE);
    small = ForkSeconds(live.bytes(), random);
    // A copy of it all, as somebody makes who wants to keep the state without a second process.
    const double begin = bench::Seconds();
    const State kept(size, MADV_NOHUGEPAGE);
    std::memcpy(kept.bytes().data(), live.bytes().data(), size);
    copy = bench::Seconds() - begin;
  }
  {
    const State live(size, MADV_HUGEPAGE);
    huge = ForkSeconds(live.bytes(), random);
  }
  cow::Volume volume = Must(cow::Volume::InMemory());
  cow::File file = Must(volume.CreateFile("/state", size));
  cow::Mapping live = Must(file.Map(cow::Access::kWrite));
  std::memset(live.bytes().data(), 1, size);
  int number = 0;
  const auto snapshot = [&] {
    const double begin = bench::Seconds();
    Must(file.TakeSnapshot(std::to_string(++number)));
    return bench::Seconds() - begin;
  };
  bench::Report(state + ", all dirty; fork and a copy", snapshot(), small + copy, 0.66);
  const auto measure = [&](const std::string& name, double part, uint64_t cluster, double target) {
    std::vector<double> times;
    for (int round = 0; round < kRounds; ++round) {
      Dirty(live.bytes(), part, cluster, random);
      times.push_back(snapshot());
    }
    const double median = Median(times);
    bench::Report(state + ", " + name + "; fork, small pages", median, small, target);
    bench::Report(state + ", " + name + "; fork, huge pages", median, huge, 0);
  };
  measure("0.01 % uniform", 0.0001, 1, 12);
  measure("0.1 % uniform", 0.001, 1, 12);
  measure("1 % uniform", 0.01, 1, 4);
  measure("1 % clustered", 0.01, kCluster, 8);
  measure("10 % uniform", 0.1, 1, 1);
  measure("10 % clustered", 0.1, kCluster, 0);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<uint64_t> sizes;
  for (int i = 1; i < argc; ++i) sizes.push_back(std::strtoull(argv[i], nullptr, 10));
  if (sizes.empty()) sizes = {1, 4};
  for (const uint64_t gib : sizes) {
    if (gib == 0) {
      std::cerr << "usage: mapping_snapshots [GIB]...\n";
      return 2;
    }
    Measure(gib);
  }
  return 0;
}
