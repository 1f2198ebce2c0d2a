// What all handles of one file's head share: whether it is mapped for writing.
//
// Invariant: while a write mapping exists, nothing but its seals changes the file; so pages that
// the mapping has not made its own keep the frames they were bound to.
//
// Lock order: VolumeState::mapping_mu_, VolumeState::heads_mu_, Head::mu_ or MappingState::mu_, and
// then the locks of vm, fs and store. None is held while caller code runs.
#pragma once

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "cow/fs/filesystem.h"

namespace cow::core {

class MappingState;

class Head {
 public:
  // `file` keeps the object that this is the head of, and with it what it is found by.
  explicit Head(std::shared_ptr<fs::FileHandle> file) : file_(std::move(file)) {}

  // Runs `change`, which changes the file, unless the file is mapped for writing:
  // kFailedPrecondition (EBUSY). No write mapping begins meanwhile; other changes may.
  template <typename Change>
  auto ChangeUnmapped(Change change) -> decltype(change()) {
    absl::ReaderMutexLock lock(&mu_);
    if (mapped_) return MappedError();
    return change();
  }

  // As ChangeUnmapped, and nobody else changes the file meanwhile.
  template <typename Change>
  auto ChangeAlone(Change change) -> decltype(change()) {
    absl::MutexLock lock(&mu_);
    if (mapped_) return MappedError();
    return change();
  }

  // Makes the write mapping: `make` returns absl::StatusOr<std::shared_ptr<MappingState>>. Nobody
  // changes the file meanwhile.
  template <typename Make>
  auto MapForWriting(Make make) -> decltype(make()) {
    absl::MutexLock lock(&mu_);
    if (mapped_) return MappedError();
    auto made = make();
    if (made.ok()) {
      mapping_ = *made;
      mapped_ = true;
    }
    return made;
  }

  // The write mapping is sealed and unmapped.
  void Unmapped();

  bool mapped() const;

  // Seals the write mapping where there is one.
  absl::Status Seal();

 private:
  static absl::Status MappedError();

  const std::shared_ptr<fs::FileHandle> file_;

  mutable absl::Mutex mu_;
  // From when the mapping is made until it is sealed and unmapped.
  bool mapped_ ABSL_GUARDED_BY(mu_) = false;
  std::weak_ptr<MappingState> mapping_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cow::core
