// The write path with 0, 1, 100 and 10,000 snapshots of the file present: the rival is the same
// work with none. Usage: many_snapshots FOLDER
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "bench/measure.h"
#include "cow/file.h"
#include "cow/volume.h"

namespace {

using bench::Must;

constexpr size_t kPageBytes = 4096;
constexpr uint64_t kPages = 16384;
constexpr uint64_t kWrites = 2048;  // a round: short, so that some are not disturbed
constexpr int kRounds = 30;
constexpr double kTarget = 0.9;

// A volume of its own with `snapshots` snapshots of its file, each a page different from the next.
class Subject {
 public:
  Subject(const std::string& folder, int snapshots)
      : snapshots_(snapshots),
        path_(folder + "/many_snapshots." + std::to_string(snapshots) + ".cow"),
        volume_(Open(path_)),
        file_(Must(volume_.CreateFile("/file"))) {
    const std::vector<std::byte> block(1 << 20, std::byte{1});
    for (uint64_t at = 0; at < kPages * kPageBytes; at += block.size()) {
      Must(file_.Write(at, block));
    }
    for (int i = 0; i < snapshots; ++i) {
      Must(file_.Write(i % kPages * kPageBytes, std::span(block).first(kPageBytes)));
      Must(file_.TakeSnapshot("present " + std::to_string(i)));
    }
    Must(volume_.Sync());
  }
  ~Subject() { unlink(path_.c_str()); }

  // Seconds a write of a page at random takes. What it costs to make them durable is not in it: the
  // disk varies more than what is looked for.
  double Round(int round, bool after_snapshot) {
    if (after_snapshot) Must(file_.TakeSnapshot("round " + std::to_string(round)));
    std::mt19937_64 random(round);
    const std::vector<std::byte> page(kPageBytes, static_cast<std::byte>(round));
    const double begin = bench::Seconds();
    for (uint64_t i = 0; i < kWrites; ++i) Must(file_.Write(random() % kPages * kPageBytes, page));
    const double seconds = bench::Seconds() - begin;
    Must(volume_.Sync());
    return seconds / kWrites;
  }

  std::string present() const {
    return snapshots_ == 1 ? "1 snapshot" : std::to_string(snapshots_) + " snapshots";
  }

 private:
  static cow::Volume Open(const std::string& path) {
    unlink(path.c_str());
    cow::OpenOptions options;
    options.create = true;
    options.commit_seconds = 0;  // nothing is written back within a round
    return Must(cow::Volume::Open(path, options));
  }
  const int snapshots_;
  const std::string path_;
  cow::Volume volume_;
  cow::File file_;
};

void Compare(std::deque<Subject>& subjects, const std::string& what, bool after_snapshot) {
  std::vector<double> best(subjects.size(), 1e9);
  // In turn, so that what disturbs the machine disturbs all of them.
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < subjects.size(); ++i) {
      best[i] = std::min(best[i], subjects[i].Round(round, after_snapshot));
    }
  }
  for (size_t i = 1; i < subjects.size(); ++i) {
    bench::Report(what + ", " + subjects[i].present() + "; none", best[i], best[0], kTarget);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: many_snapshots FOLDER\n";
    return 2;
  }
  std::deque<Subject> subjects;
  for (int snapshots : {0, 1, 100, 10000}) subjects.emplace_back(argv[1], snapshots);
  Compare(subjects, "write 4 KiB at random", false);
  Compare(subjects, "the same, right after another one", true);
  return 0;
}
