// A whole volume with damage that no checksum shows. The first byte of an input says what is done
// with it; the rest are patches of the base volume, 16 bytes each.
#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cow/fs/filesystem.h"
#include "tests/fuzz/base_volume.h"
#include "tests/fuzz/exercise.h"
#include "tests/fuzz/fuzz.h"
#include "tests/store/fake_file.h"

namespace cow::fuzz {
namespace {

constexpr size_t kMostPatches = 16;
constexpr uint64_t kUnit = 16;  // of an entry, and of an item of a log

// What is done to 16 bytes of a frame, or to the whole of it; frames and places are taken modulo
// how many there are, so that every patch damages something.
struct Patch {
  enum class Kind : uint8_t {
    kBytes,      // the first `length` of `bytes` go to `offset`
    kCopyUnit,   // the unit at `offset` becomes that of another frame
    kCopyFrame,  // the frame becomes another
    kFill,       // all units of the frame become the one at `offset`
    kAdd,        // the 8 bytes at `offset` become greater by a small number, or less
    kName,       // the frame's number goes, as an entry has it, to `offset` of another frame
    kCount,
  };
  uint8_t kind;
  uint8_t length;
  uint8_t frame;
  uint8_t other;
  uint16_t offset;
  uint16_t other_offset;
  std::array<uint8_t, 8> bytes;
};
static_assert(sizeof(Patch) == 16);

class Damager {
 public:
  explicit Damager(test::Image& image, const std::vector<uint64_t>& frames)
      : image_(image), frames_(frames) {}

  void Apply(const Patch& patch) {
    const uint64_t frame = frames_[patch.frame % frames_.size()];
    const uint64_t other = frames_[patch.other % frames_.size()];
    const uint64_t offset = patch.offset % (kPageSize - kUnit + 1);
    const uint64_t unit = offset / kUnit * kUnit;
    switch (static_cast<Patch::Kind>(patch.kind % static_cast<uint8_t>(Patch::Kind::kCount))) {
      case Patch::Kind::kBytes: {
        const size_t length = patch.length % patch.bytes.size() + 1;
        image_.Write(At(frame, offset), std::as_bytes(std::span(patch.bytes)).first(length));
        return;
      }
      case Patch::Kind::kCopyUnit: {
        const uint64_t from = patch.other_offset % kPageSize / kUnit * kUnit;
        return Copy(At(other, from), At(frame, unit), kUnit);
      }
      case Patch::Kind::kCopyFrame:
        return Copy(At(other, 0), At(frame, 0), kPageSize);
      case Patch::Kind::kFill:
        for (uint64_t to = 0; to < kPageSize; to += kUnit) {
          Copy(At(frame, unit), At(frame, to), kUnit);
        }
        return;
      case Patch::Kind::kAdd: {
        auto number = Read<uint64_t>(At(frame, offset));
        number += static_cast<uint64_t>(int64_t{static_cast<int8_t>(patch.length)});
        Write(At(frame, offset), number);
        return;
      }
      case Patch::Kind::kName: {
        // The lower 40 bits; what else the entry there says stays.
        const uint64_t to = At(other, patch.other_offset % kPageSize / kUnit * kUnit);
        const auto low = Read<uint64_t>(to);
        Write(to, (low & ~((uint64_t{1} << 40) - 1)) | frame);
        return;
      }
      case Patch::Kind::kCount:
        return;
    }
  }

 private:
  static uint64_t At(uint64_t frame, uint64_t offset) { return frame * kPageSize + offset; }
  void Copy(uint64_t from, uint64_t to, uint64_t length) {
    std::array<std::byte, kPageSize> buffer;
    image_.Read(from, std::span(buffer).first(length));
    image_.Write(to, std::span(buffer).first(length));
  }
  template <typename T>
  T Read(uint64_t at) {
    T value;
    image_.Read(at, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  template <typename T>
  void Write(uint64_t at, const T& value) {
    image_.Write(at, std::as_bytes(std::span(&value, 1)));
  }

  test::Image& image_;
  const std::vector<uint64_t>& frames_;
};

// Bits of what is done. Not everything each time: inputs that do little are tried more often.
enum Use : uint8_t { kWrite = 1, kLook = 2, kChange = 4, kDestroy = 8, kCheck = 16, kAll = 31 };

// Answers what the checks found wrong.
std::vector<std::string> UseVolume(test::Image image, uint8_t use) {
  const bool read_only = (use & kWrite) == 0;
  fs::OpenOptions options;
  options.store.commit_seconds = 0;
  options.store.read_only = read_only;
  // Little, so that nodes are read from the disk again.
  options.store.cache_bytes = 1 << 20;
  options.clock = [] { return timespec{.tv_sec = 1'100'000'000, .tv_nsec = 0}; };
  auto disk = std::make_shared<test::Disk>(std::move(image));
  auto fs = fs::FileSystem::Open(std::make_unique<test::MemoryFile>(disk), options);
  if (!fs.ok()) return {fs.status().ToString()};
  Exercise exercise(**fs);
  if ((use & kLook) != 0) exercise.Look();
  if ((use & kChange) != 0) exercise.Change();
  if ((use & kDestroy) != 0) exercise.Destroy();
  if ((use & kCheck) != 0) exercise.Check();
  return exercise.damages();
}

struct Base {
  // Without damage there is nothing to find; else the fuzzer would look at errors only.
  Base() : image(BaseVolume()), frames(FramesOf(image)) {
    for (const int use : {kAll & ~kWrite, +kAll}) {
      const std::vector<std::string> damages = UseVolume(image, static_cast<uint8_t>(use));
      for (const std::string& damage : damages) std::fprintf(stderr, "%s\n", damage.c_str());
      Require(damages.empty());
    }
  }
  test::Image image;
  std::vector<uint64_t> frames;
};

void Run(const uint8_t* data, size_t size) {
  static const Base base;
  Input input(data, size);
  const auto use = input.Take<uint8_t>();
  test::Image image = base.image;
  Damager damager(image, base.frames);
  for (size_t i = 0; i < kMostPatches && !input.empty(); ++i) {
    damager.Apply(input.Take<Patch>());
  }
  UseVolume(std::move(image), use);
}

}  // namespace
}  // namespace cow::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cow::fuzz::Run(data, size);
  return 0;
}
