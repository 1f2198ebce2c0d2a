// Random work through the public interface, against a model in which every version is a plain
// vector of bytes.
#include <map>
#include <optional>
#include <random>

#include "absl/strings/str_cat.h"
#include "tests/core/volumes.h"
#include "tests/support/seed.h"

namespace cow {
namespace {

class ModelTest : public EachVolume {
 protected:
  struct Tracked {
    std::optional<File> file;
    std::optional<Mapping> live;
    Bytes head;  // what the mapping holds, where there is one
    std::map<std::string, Bytes> snapshots;
  };
  struct Held {
    Mapping mapping;
    Bytes content;
  };

  uint64_t Below(uint64_t end) {
    return std::uniform_int_distribution<uint64_t>(0, end - 1)(random_);
  }

  Bytes RandomBytes(size_t size) {
    Bytes bytes(size);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random_());
    return bytes;
  }

  std::pair<const std::string, Tracked>& AnyFile() {
    return *std::next(files_.begin(), static_cast<ptrdiff_t>(Below(files_.size())));
  }

  void ExpectHolds(std::span<const std::byte> found, const Bytes& expected,
                   const std::string& what) {
    ASSERT_EQ(found.size(), expected.size()) << what;
    const auto [at, other] = std::ranges::mismatch(found, expected);
    ASSERT_EQ(at, found.end()) << what << " differs at byte " << at - found.begin();
  }

  template <typename Readable>
  void ExpectReads(const Readable& readable, const Bytes& expected, const std::string& what) {
    Bytes bytes(readable.size() + 10);
    const absl::StatusOr<size_t> count = readable.Read(0, bytes);
    ASSERT_EQ(count.status(), absl::OkStatus()) << what;
    bytes.resize(*count);
    ExpectHolds(bytes, expected, what);
  }

  void Create() {
    const std::string path = absl::StrCat("/file-", ++names_);
    Tracked& file = files_[path];
    file.file.emplace(volume_.CreateFile(path, Below(40 * 4096)).value());
    file.head.resize(file.file->size());
  }

  void Change(Tracked& file) {
    const uint64_t offset = Below(file.head.size() + 1);
    const Bytes bytes = RandomBytes(Below(Below(2) ? 100 : 6 * 4096) + 1);
    if (file.live.has_value()) {
      if (offset == file.head.size()) return;
      const size_t length = std::min(bytes.size(), file.head.size() - offset);
      std::copy_n(bytes.begin(), length, file.live->bytes().begin() + offset);
      std::copy_n(bytes.begin(), length, file.head.begin() + offset);
      return;
    }
    switch (Below(6)) {
      case 0: {
        const uint64_t size = Below(60 * 4096);
        ASSERT_EQ(file.file->Truncate(size), absl::OkStatus());
        file.head.resize(size);
        return;
      }
      case 1: {
        ASSERT_EQ(file.file->Punch(offset, bytes.size()), absl::OkStatus());
        const size_t length = std::min(bytes.size(), file.head.size() - offset);
        std::fill_n(file.head.begin() + offset, length, std::byte{0});
        return;
      }
      default:
        ASSERT_EQ(file.file->Write(offset, bytes), absl::OkStatus());
        if (file.head.size() < offset + bytes.size()) file.head.resize(offset + bytes.size());
        std::ranges::copy(bytes, file.head.begin() + offset);
    }
  }

  void MapOrUnmap(Tracked& file) {
    if (file.live.has_value()) {
      file.live.reset();
    } else if (!file.head.empty()) {
      file.live.emplace(file.file->Map(Access::kWrite).value());
      ExpectHolds(file.live->bytes(), file.head, "a new write mapping");
    }
  }

  void Snap(Tracked& file) {
    const std::string name = absl::StrCat("s", ++names_);
    ASSERT_EQ(file.file->TakeSnapshot(name).status(), absl::OkStatus());
    file.snapshots[name] = file.head;
  }

  void UseSnapshot(const std::string& path, Tracked& file) {
    if (file.snapshots.empty()) return Snap(file);
    const auto chosen =
        std::next(file.snapshots.begin(), static_cast<ptrdiff_t>(Below(file.snapshots.size())));
    const Bytes content = chosen->second;
    Snapshot snapshot = file.file->OpenSnapshot(chosen->first).value();
    switch (Below(5)) {
      case 0:
        ASSERT_EQ(snapshot.Destroy(), absl::OkStatus());
        file.snapshots.erase(chosen);
        ExpectReads(snapshot, content, "a snapshot that was destroyed");
        return;
      case 1: {
        file.live.reset();
        const Snapshot kept = volume_.RollBack(snapshot).value();
        file.snapshots[kept.name()] = file.head;
        file.head = content;
        return;
      }
      case 2: {
        const std::string clone = absl::StrCat("/clone-", ++names_);
        Tracked& made = files_[clone];
        made.file.emplace(volume_.Clone(snapshot, clone).value());
        made.head = content;
        return;
      }
      case 3:
        if (!content.empty()) return Scratch(snapshot, content);
        [[fallthrough]];
      default:
        ExpectReads(snapshot, content, path + "@" + chosen->first);
        if (content.empty()) return;
        held_.push_back({snapshot.Map(Access::kRead).value(), content});
    }
  }

  void Scratch(const Snapshot& snapshot, const Bytes& content) {
    Mapping scratch = snapshot.Map(Access::kScratch).value();
    Bytes copy = content;
    for (int i = 0; i < 5; ++i) {
      const size_t at = Below(copy.size());
      copy[at] = scratch.bytes()[at] = static_cast<std::byte>(i);
    }
    ExpectHolds(scratch.bytes(), copy, "a scratch mapping that was written");
    ASSERT_EQ(scratch.Reset(), absl::OkStatus());
    ExpectHolds(scratch.bytes(), content, "a scratch mapping that was reset");
  }

  void Remove(const std::string& path) {
    if (files_.size() < 3) return;
    ASSERT_EQ(volume_.Remove(path), absl::OkStatus());
    files_.erase(path);
  }

  void Verify() {
    for (auto& [path, file] : files_) {
      if (file.live.has_value()) {
        ExpectHolds(file.live->bytes(), file.head, path + ", mapped");
        ASSERT_EQ(file.live->Seal(), absl::OkStatus());
      }
      ExpectReads(*file.file, file.head, path);
      ASSERT_EQ(file.file->ListSnapshots()->size(), file.snapshots.size()) << path;
      for (const auto& [name, content] : file.snapshots) {
        ExpectReads(file.file->OpenSnapshot(name).value(), content, path + "@" + name);
      }
    }
    for (const Held& held : held_)
      ExpectHolds(held.mapping.bytes(), held.content, "a held mapping");
  }

  void Reopen() {
    if (in_memory()) return;
    for (auto& [path, file] : files_) {
      file.live.reset();
      file.file.reset();
    }
    held_.clear();
    volume_ = Volume::InMemory().value();
    volume_ = Volume::Open(path(), {.commit_seconds = 0}).value();
    for (auto& [path, file] : files_) file.file.emplace(volume_.OpenFile(path).value());
  }

  void Sync() { ASSERT_EQ(volume_.Sync(), absl::OkStatus()); }

  void Step() {
    auto& [path, file] = AnyFile();
    const uint64_t dice = Below(100);
    if (dice < 50) return Change(file);
    if (dice < 58) return MapOrUnmap(file);
    if (dice < 68) return Snap(file);
    if (dice < 88) return UseSnapshot(path, file);
    if (dice < 91) return Create();
    if (dice < 94) return Remove(std::string(path));
    if (dice < 97) return Sync();
    if (dice < 98) return Reopen();
    if (!held_.empty()) held_.erase(held_.begin());
  }

  std::mt19937_64 random_{test::Seed(20'26)};
  std::map<std::string, Tracked> files_;
  std::vector<Held> held_;
  int names_ = 0;
};
COW_EACH_VOLUME(ModelTest);

TEST_P(ModelTest, EveryVersionIsWhatItWas) {
  Create();
  Create();
  for (int step = 1; step <= 1500; ++step) {
    SCOPED_TRACE(step);
    Step();
    if (HasFatalFailure()) return;
    if (step % 50 == 0) Verify();
    if (HasFatalFailure()) return;
    if (step % 500 == 0) ExpectSound(volume_);
  }
  Reopen();
  Verify();
  ExpectSound(volume_);
}

}  // namespace
}  // namespace cow
