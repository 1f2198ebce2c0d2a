// Random overwrites of 4 KiB, each made durable before the next, by one thread and by eight: the
// library beside plain files and databases. Usage: commits FOLDER [NAME=FOLDER]...
//
// The volume, a plain file and the databases are in FOLDER; each NAME is another filesystem with a
// plain file on it.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "bench/databases.h"
#include "bench/measure.h"
#include "bench/plain_file.h"
#include "cow/file.h"
#include "cow/volume.h"

namespace {

using bench::DurableWrite;
using bench::Must;

constexpr size_t kPageBytes = 4096;
constexpr uint64_t kPages = 16384;
constexpr int kThreads = 8;
constexpr int kRounds = 5;
constexpr double kRoundSeconds = 0.5;

struct Contender {
  std::string name;
  DurableWrite write;
  double target = 0;  // of our rate over its rate, one thread
  double one = 1e9;   // best seconds a write, one thread
  double many = 1e9;  // and kThreads together
};

// Seconds a durable write takes, all threads together: the time over the number of them.
double TimeOf(const DurableWrite& write, int threads, int round) {
  std::atomic<uint64_t> done = 0;
  const double begin = bench::Seconds();
  const double end = begin + kRoundSeconds;
  std::vector<std::thread> workers;
  for (int thread = 0; thread < threads; ++thread) {
    workers.emplace_back([&, thread] {
      std::mt19937_64 random(round * kThreads + thread);
      std::vector<std::byte> page(kPageBytes);
      while (bench::Seconds() < end) {
        page[random() % kPageBytes] = static_cast<std::byte>(random());
        write(thread, random() % kPages, page);
        ++done;
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  return (bench::Seconds() - begin) / static_cast<double>(done.load());
}

DurableWrite PlainWrite(const std::string& folder) {
  auto plain = std::make_shared<bench::PlainFile>(folder + "/commits.plain");
  const std::vector<std::byte> block(1 << 20, std::byte{1});
  for (uint64_t at = 0; at < kPages * kPageBytes; at += block.size()) plain->Write(at, block);
  plain->Flush();
  return [plain](int, uint64_t page, std::span<const std::byte> bytes) {
    plain->Write(page * kPageBytes, bytes);
    plain->Flush();
  };
}

std::vector<Contender> Rivals(const std::string& folder, int count, char** filesystems) {
  std::vector<Contender> rivals;
  rivals.push_back({"plain file", PlainWrite(folder), 0.45});
  for (int i = 0; i < count; ++i) {
    const std::string argument = filesystems[i];
    const size_t split = argument.find('=');
    const std::string name = argument.substr(0, split);
    rivals.push_back({"file on " + name + ", loop device", PlainWrite(argument.substr(split + 1)),
                      name == "btrfs" ? 1.0 : 0.0});
  }
  for (bench::Rival& database : bench::OpenDatabases(folder, kPages, kPageBytes, kThreads)) {
    rivals.push_back({database.name, std::move(database.write)});
  }
  return rivals;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: commits FOLDER [NAME=FOLDER]...\n";
    return 2;
  }
  const std::string path = std::string(argv[1]) + "/commits.cow";
  unlink(path.c_str());
  {
    cow::Volume volume = Must(cow::Volume::Open(path, {.create = true}));
    cow::File file = Must(volume.CreateFile("/file"));
    const std::vector<std::byte> block(1 << 20, std::byte{1});
    for (uint64_t at = 0; at < kPages * kPageBytes; at += block.size()) Must(file.Write(at, block));
    Must(volume.Sync());
    Contender ours{"", [&](int, uint64_t page, std::span<const std::byte> bytes) {
                     Must(file.Write(page * kPageBytes, bytes));
                     Must(volume.Sync());
                   }};
    std::vector<Contender> rivals = Rivals(argv[1], argc - 2, argv + 2);
    std::vector<Contender*> all = {&ours};
    for (Contender& rival : rivals) all.push_back(&rival);
    // In turn, so that what disturbs the disk disturbs all of them.
    for (int round = 0; round < kRounds; ++round) {
      for (Contender* contender : all) {
        contender->one = std::min(contender->one, TimeOf(contender->write, 1, round));
        contender->many = std::min(contender->many, TimeOf(contender->write, kThreads, round));
      }
    }
    for (const Contender& rival : rivals) {
      bench::Report("durable 4 KiB, 1 thread; " + rival.name, ours.one, rival.one, rival.target);
    }
    for (const Contender& rival : rivals) {
      bench::Report("durable 4 KiB, 8 threads; " + rival.name, ours.many, rival.many, 0);
    }
    bench::Report("durable 4 KiB, 8 threads; ours with 1 thread", ours.many, ours.one, 5);
  }
  unlink(path.c_str());
  return 0;
}
