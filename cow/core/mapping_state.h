// A mapping of a file or a snapshot: the address range, and what it needs to stay good.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "cow/core/head.h"
#include "cow/core/volume_state.h"
#include "cow/fs/filesystem.h"
#include "cow/mapping.h"
#include "cow/store/store.h"
#include "cow/vm/mapping.h"

namespace cow::core {

class MappingState {
 public:
  // Maps `version`, whose frames keep their content while it is open: a version, or a head of a
  // volume that was opened for reading. `path` is for messages.
  static absl::StatusOr<Mapping> MapVersion(std::shared_ptr<VolumeState> volume,
                                            std::shared_ptr<store::Object> version,
                                            const std::string& path, Access access);

  // Maps the head `file` for writing.
  static absl::StatusOr<Mapping> MapHead(std::shared_ptr<VolumeState> volume,
                                         std::shared_ptr<fs::FileHandle> file,
                                         std::shared_ptr<Head> head, const std::string& path);

  MappingState(std::shared_ptr<VolumeState> volume, std::unique_ptr<vm::Mapping> mapping,
               std::string path);

  // Of a write mapping. Also when Close has run: then all is sealed.
  absl::Status Seal();
  absl::Status Reset();
  absl::Status status();

  // What the end of the handle does: seals and unmaps a write mapping, and lets others change the
  // file. Not left to the destructor, which a seal in another thread can put off.
  void Close();

 private:
  static Mapping Handle(std::shared_ptr<MappingState> state, Access access);

  const std::shared_ptr<VolumeState> volume_;
  const std::string path_;
  // Of write mappings; constant once the mapping was handed out.
  std::shared_ptr<fs::FileHandle> file_;
  std::shared_ptr<Head> head_;

  absl::Mutex mu_;
  std::unique_ptr<vm::Mapping> mapping_ ABSL_GUARDED_BY(mu_);  // until Close
};

}  // namespace cow::core
