#include "cow/core/head.h"

#include <cerrno>

#include "cow/base/status.h"
#include "cow/core/mapping_state.h"

namespace cow::core {

void Head::Unmapped() {
  absl::MutexLock lock(&mu_);
  mapped_ = false;
  mapping_.reset();
}

bool Head::mapped() const {
  absl::ReaderMutexLock lock(&mu_);
  return mapped_;
}

absl::Status Head::Seal() {
  std::shared_ptr<MappingState> mapping;
  {
    absl::ReaderMutexLock lock(&mu_);
    mapping = mapping_.lock();
  }
  return mapping == nullptr ? absl::OkStatus() : mapping->Seal();
}

absl::Status Head::MappedError() {
  return MakeError(absl::StatusCode::kFailedPrecondition, EBUSY,
                   "the file is mapped for writing; change it through the mapping, or destroy the "
                   "mapping first");
}

}  // namespace cow::core
