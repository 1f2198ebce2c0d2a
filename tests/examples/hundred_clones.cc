// A hundred experiments on one base: each gets 64 MiB of its own to write on, and takes only what
// it writes. What `fork()` is used for, without the processes.
#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "cow/volume.h"
#include "expect.h"

namespace {

// The base: a table of numbers.
constexpr size_t kNumbers = 64 * cow::kMiB / sizeof(uint64_t);

std::span<uint64_t> NumbersIn(const cow::Mapping& mapping) {
  return {reinterpret_cast<uint64_t*>(mapping.bytes().data()), kNumbers};
}

}  // namespace

int main() {
  cow::Volume volume = Must(cow::Volume::InMemory());
  cow::File table = Must(volume.CreateFile("/table", 64 * cow::kMiB));
  {
    const cow::Mapping filling = Must(table.Map(cow::Access::kWrite));
    uint64_t next = 0;
    for (uint64_t& number : NumbersIn(filling)) number = next++;
  }
  const cow::Snapshot base = Must(table.TakeSnapshot("base"));
  const uint64_t used_before = volume.Space().used_bytes;

  // All of them at once: 6.4 GiB of address space over one copy of the table.
  std::vector<cow::Mapping> experiments;
  for (uint64_t i = 0; i < 100; ++i) {
    experiments.push_back(Must(base.Map(cow::Access::kScratch)));
    NumbersIn(experiments[i])[i * 1000] = 1'000'000'000 + i;
  }
  for (uint64_t i = 0; i < 100; ++i) {
    const std::span<uint64_t> numbers = NumbersIn(experiments[i]);
    Expect(numbers[i * 1000] == 1'000'000'000 + i, "each experiment has what it wrote");
    Expect(numbers[(i + 1) % 100 * 1000] == (i + 1) % 100 * 1000, "and nothing of its neighbours");
  }
  Expect(volume.Space().used_bytes == used_before, "scratch mappings take no space in the volume");

  // The one that was worth it becomes a file; the others vanish.
  const cow::File result = Must(volume.Clone(base, "/result"));
  {
    cow::File writable = Must(volume.OpenFile("/result"));
    const cow::Mapping kept = Must(writable.Map(cow::Access::kWrite));
    std::ranges::copy(NumbersIn(experiments[42]).subspan(42'000, 512),
                      NumbersIn(kept).begin() + 42'000);
  }
  uint64_t number = 0;
  Must(result.Read(42'000 * sizeof number, std::as_writable_bytes(std::span(&number, 1))));
  Expect(number == 1'000'000'042, "the clone has the result");

  experiments[7].bytes()[0] = std::byte{99};
  Must(experiments[7].Reset());
  Expect(NumbersIn(experiments[7])[7000] == 7000, "a reset experiment is the base again");
  std::cout << "a hundred clones of 64 MiB; the volume uses "
            << volume.Space().used_bytes / cow::kMiB << " MiB\n";
}
