// Taking setuid and setgid bits and file capabilities away from files that are changed.
//
// The kernel can ask for them before each write, in a request of its own, or leave them to the
// server; it is told to leave them (init_reply.h). Then these are the rules that it would follow:
// bits go when somebody other than the superuser changes content, and with every change of owner;
// capabilities go with every change of either.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "cow/fs/filesystem.h"
#include "fuse/kernel.h"
#include "fuse/nodes.h"

namespace cow::fuse {

struct OpenFile;

inline constexpr char kCapability[] = "security.capability";

class Privileges {
 public:
  Privileges(fs::FileSystem& fs, const Nodes& nodes, Kernel& kernel)
      : fs_(fs), nodes_(nodes), kernel_(kernel) {}

  // Before `user` changes the content of an open file.
  absl::Status DropForWrite(OpenFile& file, uid_t user);
  // Adds to a change of size or owner of the node `number`, whose attributes are given, what goes
  // with it; `bits`: the setuid and setgid bits too.
  absl::Status DropForChange(uint64_t number, const fs::Attributes& attributes, bool bits,
                             fs::AttributeChange& change);
  // A file may have got a capability.
  void Appeared() { ++epoch_; }

 private:
  absl::Status DropCapability(uint64_t number);

  fs::FileSystem& fs_;
  const Nodes& nodes_;
  Kernel& kernel_;
  // What was found out about a file holds as long as this is the same.
  std::atomic<uint64_t> epoch_ = 1;
};

}  // namespace cow::fuse
