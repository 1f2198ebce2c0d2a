// A process that locks its memory.
#pragma once

namespace cow::test {

// While this lives, what the process maps is locked (mlockall), if it may().
class LockedMemory {
 public:
  LockedMemory();
  ~LockedMemory();
  LockedMemory(const LockedMemory&) = delete;
  LockedMemory& operator=(const LockedMemory&) = delete;

  // As much as a test needs.
  bool may() const { return may_; }

 private:
  bool may_ = false;
};

}  // namespace cow::test
