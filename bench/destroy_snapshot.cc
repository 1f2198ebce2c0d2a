// Destroying a snapshot that alone holds 1 GiB: the call, how fast the background frees what it
// held, and what that costs those who write meanwhile. Usage: destroy_snapshot FOLDER
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iostream>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bench/measure.h"
#include "cow/file.h"
#include "cow/volume.h"

namespace {

using bench::Must;

constexpr int kRounds = 3;
constexpr size_t kPageBytes = 4096;
constexpr uint64_t kForegroundPages = 8192;
// Used space varies with what the foreground writes; the snapshot is gone when all but so much is.
constexpr uint64_t kSlack = 4 * kForegroundPages * kPageBytes;
constexpr double kMostDestroy = 0.010;  // seconds
constexpr double kMostFreeing = 0.5;    // seconds: 2 GiB/s
constexpr double kBaseline = 3;         // seconds: some commits are in it
constexpr double kBegun = 50e-6;  // seconds of processor time that show that the background works
constexpr double kPatience = 60;  // seconds
constexpr auto kLook = std::chrono::milliseconds(1);  // how often

double SecondsOf(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Overwrites pages at random as fast as it can while it lives.
class Foreground {
 public:
  Foreground(cow::Volume& volume, cow::File& file, bool durable)
      : thread_([this, &volume, &file, durable] {
          std::mt19937_64 random(1);
          const std::vector<std::byte> page(kPageBytes, std::byte{2});
          while (!stop_.load(std::memory_order_relaxed)) {
            Must(file.Write(random() % kForegroundPages * kPageBytes, page));
            if (durable) Must(volume.Sync());
            done_.fetch_add(1, std::memory_order_relaxed);
          }
        }) {
    pthread_getcpuclockid(thread_.native_handle(), &clock_);
  }
  ~Foreground() {
    stop_ = true;
    thread_.join();
  }
  uint64_t done() const { return done_.load(std::memory_order_relaxed); }
  double cpu_seconds() const { return SecondsOf(clock_); }

 private:
  std::atomic<bool> stop_ = false;
  std::atomic<uint64_t> done_ = 0;
  std::thread thread_;
  clockid_t clock_ = 0;
};

// Processor time of all threads but this one: where there is no foreground, of the library's own.
double BackgroundSeconds() {
  return SecondsOf(CLOCK_PROCESS_CPUTIME_ID) - SecondsOf(CLOCK_THREAD_CPUTIME_ID);
}

template <typename Condition>
void AwaitBackground(const Condition& condition) {
  const double end = bench::Seconds() + kPatience;
  while (!condition()) {
    if (bench::Seconds() > end) Must(absl::DeadlineExceededError("the background frees nothing"));
    std::this_thread::sleep_for(kLook);
  }
}

struct Times {
  double call = 1e9;     // Destroy
  double freeing = 1e9;  // from the moment the background begins until the space is free
  double busy = 1e9;     // a foreground write meanwhile
  double calm = 1e9;     // and while nothing is freed
};

class Subject {
 public:
  explicit Subject(const std::string& path)
      : volume_(Open(path)),
        held_(Must(volume_.CreateFile("/held"))),
        written_(Must(volume_.CreateFile("/written"))) {
    const std::vector<std::byte> page(kPageBytes, std::byte{1});
    for (uint64_t i = 0; i < kForegroundPages; ++i) Must(written_.Write(i * kPageBytes, page));
  }

  // Destroys the snapshot and waits until what it held is free: that is all in the background, and
  // nobody writes.
  void DestroyAlone(Times& times) {
    const uint64_t used = Destroy(times);
    const double idle = BackgroundSeconds();
    AwaitBackground([&] { return BackgroundSeconds() > idle + kBegun; });
    const double begin = bench::Seconds();
    AwaitBackground([&] { return IsFree(used, cow::kMiB); });
    times.freeing = std::min(times.freeing, bench::Seconds() - begin);
  }

  // The same beside a foreground, whose own commits free as well. It is looked at for so long as
  // that lasts, and for `least` seconds.
  void DestroyBeside(const Foreground& foreground, double least, Times& times) {
    const double idle = BackgroundSeconds() - foreground.cpu_seconds();
    const uint64_t used = Destroy(times);
    AwaitBackground([&] {
      return BackgroundSeconds() - foreground.cpu_seconds() > idle + kBegun || IsFree(used, kSlack);
    });
    const uint64_t done = foreground.done();
    const double begin = bench::Seconds();
    AwaitBackground([&] { return IsFree(used, kSlack) && bench::Seconds() > begin + least; });
    times.busy = std::min(
        times.busy, (bench::Seconds() - begin) / static_cast<double>(foreground.done() - done));
  }

  // A snapshot that alone holds 1 GiB.
  void TakeSnapshot() {
    const std::vector<std::byte> block(1 << 20, std::byte{3});
    for (uint64_t at = 0; at < cow::kGiB; at += block.size()) Must(held_.Write(at, block));
    snapshot_.emplace(Must(held_.TakeSnapshot("held")));
    Must(held_.Truncate(0));
    Must(volume_.Sync());
  }

  void Calm(const Foreground& foreground, Times& times) {
    const uint64_t done = foreground.done();
    const double begin = bench::Seconds();
    std::this_thread::sleep_for(std::chrono::duration<double>(kBaseline));
    times.calm = std::min(
        times.calm, (bench::Seconds() - begin) / static_cast<double>(foreground.done() - done));
  }

  cow::Volume& volume() { return volume_; }
  cow::File& written() { return written_; }

 private:
  // Takes the time of the call; returns what was in use before.
  uint64_t Destroy(Times& times) {
    const uint64_t used = volume_.Space().used_bytes;
    const double begin = bench::Seconds();
    Must(snapshot_->Destroy());
    snapshot_.reset();  // the last handle: what it holds can go
    times.call = std::min(times.call, bench::Seconds() - begin);
    return used;
  }

  bool IsFree(uint64_t used, uint64_t slack) const {
    return volume_.Space().used_bytes + cow::kGiB <= used + slack;
  }

  static cow::Volume Open(const std::string& path) {
    unlink(path.c_str());
    cow::OpenOptions options;
    options.create = true;
    options.commit_seconds = 1;
    return Must(cow::Volume::Open(path, options));
  }
  cow::Volume volume_;
  cow::File held_;
  cow::File written_;
  std::optional<cow::Snapshot> snapshot_;
};

void Disturb(Subject& subject, bool durable, double least, const std::string& what) {
  Times times;
  for (int round = 0; round < kRounds; ++round) {
    subject.TakeSnapshot();
    Foreground foreground(subject.volume(), subject.written(), durable);
    subject.Calm(foreground, times);
    subject.DestroyBeside(foreground, least, times);
  }
  bench::Report(what + " while 1 GiB is freed; while nothing is", times.busy, times.calm, 0.8);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: destroy_snapshot FOLDER\n";
    return 2;
  }
  const std::string path = std::string(argv[1]) + "/destroy_snapshot.cow";
  {
    Subject subject(path);
    Times times;
    for (int round = 0; round < kRounds; ++round) {
      subject.TakeSnapshot();
      // What was written for it is on the disk, and the truncated file's share counted.
      std::this_thread::sleep_for(std::chrono::duration<double>(kBaseline));
      subject.DestroyAlone(times);
    }
    bench::Report("destroy a snapshot that holds 1 GiB; 10 ms", times.call, kMostDestroy, 1);
    bench::Report("free what it held, in the background; 2 GiB/s", times.freeing, kMostFreeing, 1);
    Disturb(subject, false, 0, "write 4 KiB at random");
    // Each of these commits, and so frees all within a few: in the second in which that is.
    Disturb(subject, true, 1, "durable 4 KiB");
  }
  unlink(path.c_str());
  return 0;
}
