#include "cow/salvage.h"

#include <memory>
#include <utility>

#include "cow/base/status.h"
#include "cow/move/salvage.h"
#include "cow/os/file.h"

namespace cow {

absl::StatusOr<SalvageResult> Salvage(std::string_view volume, std::string_view directory,
                                      const std::function<void(uint64_t bytes)>& progress) {
  COW_ASSIGN_OR_RETURN(std::unique_ptr<os::File> file,
                       os::OpenFile(std::string(volume), os::OpenMode::kRead));
  COW_ASSIGN_OR_RETURN(move::SalvageResult salvaged,
                       move::Salvage(std::move(file), std::string(directory), progress));
  SalvageResult result{.files = salvaged.files,
                       .snapshots = salvaged.snapshots,
                       .bytes = salvaged.bytes,
                       .losses = {}};
  result.losses.reserve(salvaged.losses.size());
  for (move::Loss& loss : salvaged.losses) {
    result.losses.push_back({.path = std::move(loss.path),
                             .part = std::move(loss.part),
                             .cause = std::move(loss.cause),
                             .begin = loss.begin,
                             .end = loss.end});
  }
  return result;
}

}  // namespace cow
