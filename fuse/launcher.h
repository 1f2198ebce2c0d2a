// Going into the background the way mount(8) expects: the command returns when the mount is up, or
// with the reason why it is not.
//
// Invariant: exactly one verdict leaves the process that serves, and the process that was started
// by the user exits with it. Fork comes before anything that has threads.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cow::fuse {

class Launcher {
 public:
  // Forks, unless `foreground`. The child returns at once and serves; the process that was started
  // returns after the child's verdict, with an exit code.
  static absl::StatusOr<Launcher> Start(bool foreground);

  Launcher(Launcher&& other) noexcept;
  Launcher& operator=(Launcher&&) = delete;
  ~Launcher();

  // Set in the process that was left behind: what it exits with, after the child's verdict.
  std::optional<int> exit_code() const { return exit_code_; }

  // The mount is up. Detaches from the terminal.
  void Ready();
  // It will not come up; `why` is printed by the process that the user started.
  void Failed(const absl::Status& why);
  bool decided() const { return decided_; }

 private:
  Launcher(bool foreground, int verdict) : foreground_(foreground), verdict_(verdict) {}
  static int Await(int verdict);

  bool foreground_;
  int verdict_;  // pipe to the process left behind, -1 in the foreground
  bool decided_ = false;
  std::optional<int> exit_code_;
};

}  // namespace cow::fuse
