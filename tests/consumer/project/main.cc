// What a user writes first: keep a state, change it, and have both.
#include <cow/volume.h>

#include <cstddef>
#include <iostream>

int main() {
  absl::StatusOr<cow::Volume> volume = cow::Volume::InMemory();
  if (!volume.ok()) {
    std::cerr << volume.status() << "\n";
    return 1;
  }
  cow::File state = volume->CreateFile("/state", 1 << 20).value();
  cow::Mapping live = state.Map(cow::Access::kWrite).value();
  live.bytes()[0] = std::byte{1};
  cow::Snapshot before = state.TakeSnapshot("before").value();
  live.bytes()[0] = std::byte{2};
  cow::Mapping old = before.Map(cow::Access::kRead).value();
  std::cout << "before " << int(old.bytes()[0]) << ", now " << int(live.bytes()[0]) << "\n";
  return old.bytes()[0] == std::byte{1} && live.bytes()[0] == std::byte{2} ? 0 : 1;
}
