// A check of a whole volume beside reading the same file of the host from end to end, both from the
// disk: the kernel's cache of the file is dropped before. Usage: check_rate FOLDER [MIB]
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "bench/measure.h"
#include "cow/file.h"
#include "cow/volume.h"

namespace {

using bench::Must;

constexpr int kRounds = 3;
constexpr size_t kBlock = 1 << 20;

// The file of the volume as the host has it.
class HostFile {
 public:
  explicit HostFile(const std::string& path) : descriptor_(open(path.c_str(), O_RDONLY)) {
    if (descriptor_ < 0) Fail(path);
  }
  HostFile(const HostFile&) = delete;
  HostFile& operator=(const HostFile&) = delete;
  ~HostFile() { close(descriptor_); }

  void DropCache() {
    // Only what is on the disk can be dropped.
    if (fsync(descriptor_) != 0) Fail("fsync");
    if (posix_fadvise(descriptor_, 0, 0, POSIX_FADV_DONTNEED) != 0) Fail("fadvise");
  }

  // Seconds a byte to read all that is not a hole: space that is reserved costs no read.
  double ReadAll() {
    std::vector<std::byte> buffer(kBlock);
    uint64_t bytes = 0;
    const double begin = bench::Seconds();
    off_t hole = 0;
    for (off_t data = 0; (data = lseek(descriptor_, hole, SEEK_DATA)) >= 0;) {
      hole = lseek(descriptor_, data, SEEK_HOLE);
      while (data < hole) {
        const ssize_t count =
            pread(descriptor_, buffer.data(), std::min<size_t>(kBlock, hole - data), data);
        if (count <= 0) Fail("pread");
        data += count;
        bytes += count;
      }
    }
    return (bench::Seconds() - begin) / static_cast<double>(bytes);
  }

 private:
  static void Fail(const std::string& what) {
    std::perror(what.c_str());
    std::exit(1);
  }
  const int descriptor_;
};

void Fill(const std::string& path, uint64_t size, bool scattered) {
  cow::Volume volume = Must(cow::Volume::Open(path, {.create = true}));
  cow::File file = Must(volume.CreateFile("/file"));
  std::mt19937_64 random(1);
  std::vector<std::byte> block(kBlock);
  for (std::byte& byte : block) byte = static_cast<std::byte>(random());
  for (uint64_t at = 0; at < size; at += kBlock) Must(file.Write(at, block));
  if (scattered) {
    // Half of the pages move to frames in another order than theirs.
    Must(file.TakeSnapshot("before"));
    for (uint64_t i = 0; i < size / 8192; ++i) {
      Must(file.Write(random() % (size / 4096) * 4096, std::span(block).first(4096)));
    }
  }
  Must(volume.Sync());
}

void Measure(const std::string& path, const std::string& name, uint64_t size, bool scattered) {
  unlink(path.c_str());
  Fill(path, size, scattered);
  double ours = 1e9;
  double rival = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    HostFile host(path);
    host.DropCache();
    rival = std::min(rival, host.ReadAll());
    host.DropCache();
    cow::Volume volume = Must(cow::Volume::Open(path, {.read_only = true}));
    const double begin = bench::Seconds();
    const cow::CheckResult result = Must(volume.Check());
    ours = std::min(ours, (bench::Seconds() - begin) / static_cast<double>(result.checked_bytes));
    if (!result.damages.empty()) {
      std::cerr << result.damages[0].where << ": " << result.damages[0].what << "\n";
      std::exit(1);
    }
  }
  unlink(path.c_str());
  bench::Report(name, ours * kBlock, rival * kBlock, 0.9);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: check_rate FOLDER [MIB]\n";
    return 2;
  }
  const std::string path = std::string(argv[1]) + "/check_rate.cow";
  const uint64_t size = (argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1024) << 20;
  Measure(path, "check 1 MiB, cold, written in order; pread", size, false);
  Measure(path, "check 1 MiB, cold, half overwritten; pread", size, true);
  return 0;
}
