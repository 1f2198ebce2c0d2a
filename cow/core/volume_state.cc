#include "cow/core/volume_state.h"

#include <unistd.h>

#include <cerrno>

#include "cow/base/status.h"
#include "cow/os/file.h"

namespace cow::core {
namespace {

fs::OpenOptions OptionsOf(const OpenOptions& options) {
  return {.store = {.read_only = options.read_only,
                    .cache_bytes = options.cache_bytes,
                    .commit_seconds = options.commit_seconds}};
}

fs::CreateOptions CreateOptionsOf(uint64_t max_bytes, bool data_checksums) {
  return {.store = {.max_bytes = max_bytes, .data_checksums = data_checksums},
          .uid = geteuid(),
          .gid = getegid()};
}

// Makes the volume if there is none; nullptr where there is one, which is to be opened then.
absl::StatusOr<std::unique_ptr<fs::FileSystem>> Create(const std::string& path,
                                                       const OpenOptions& options) {
  absl::StatusOr<std::unique_ptr<os::File>> file = os::OpenFile(path, os::OpenMode::kCreate);
  const bool made = file.ok();
  if (!made) {
    if (ErrnoOf(file.status()) != EEXIST || options.exclusive) return file.status();
    file = os::OpenFile(path, os::OpenMode::kWrite);
    if (!file.ok()) return file.status();
    // Empty: whoever made it was interrupted before there was a volume.
    COW_ASSIGN_OR_RETURN(const uint64_t size, (*file)->Size());
    if (size != 0) return nullptr;
  }
  auto filesystem = fs::FileSystem::Create(
      std::move(*file), CreateOptionsOf(options.max_bytes, true), OptionsOf(options));
  if (!filesystem.ok() && made) unlink(path.c_str());
  return filesystem;
}

absl::StatusOr<std::unique_ptr<fs::FileSystem>> OpenOrCreate(const std::string& path,
                                                             const OpenOptions& options) {
  if (options.create) {
    if (options.read_only) {
      return MakeError(absl::StatusCode::kInvalidArgument, EINVAL,
                       "a volume cannot be made and opened for reading only");
    }
    COW_ASSIGN_OR_RETURN(std::unique_ptr<fs::FileSystem> made, Create(path, options));
    if (made != nullptr) return made;
  }
  COW_ASSIGN_OR_RETURN(
      std::unique_ptr<os::File> file,
      os::OpenFile(path, options.read_only ? os::OpenMode::kRead : os::OpenMode::kWrite));
  return fs::FileSystem::Open(std::move(file), OptionsOf(options));
}

}  // namespace

absl::StatusOr<std::shared_ptr<VolumeState>> VolumeState::Open(std::string_view path,
                                                               const OpenOptions& options) {
  if (path.find('\0') != std::string_view::npos) {
    return MakeError(absl::StatusCode::kInvalidArgument, EINVAL,
                     "open volume: a path has no zero bytes");
  }
  auto filesystem = OpenOrCreate(std::string(path), options);
  if (!filesystem.ok()) return Annotate(filesystem.status(), "open volume");
  return std::make_shared<VolumeState>(std::move(*filesystem), options.read_only);
}

absl::StatusOr<std::shared_ptr<VolumeState>> VolumeState::InMemory(const MemoryOptions& options) {
  COW_ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, os::OpenMemoryFile("cow"));
  COW_ASSIGN_OR_RETURN(
      auto filesystem,
      fs::FileSystem::Create(std::move(file), CreateOptionsOf(options.max_bytes, false), {}));
  return std::make_shared<VolumeState>(std::move(filesystem), /*read_only=*/false);
}

absl::Status VolumeState::CheckWritable() const {
  if (!read_only_) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, EROFS,
                   "the volume was opened for reading; open it without read_only");
}

std::shared_ptr<Head> VolumeState::HeadOf(std::shared_ptr<fs::FileHandle> file) {
  absl::MutexLock lock(&heads_mu_);
  KnownHead& known = heads_[&file->object()];
  std::shared_ptr<Head> head = known.head.lock();
  if (head == nullptr) {
    known.tree = file->id().tree;
    head = std::make_shared<Head>(std::move(file));
    known.head = head;
    // Forgets those that are gone when they are half of all: amortised O(1).
    if (heads_.size() > 64 && heads_.size() == heads_.capacity() - heads_.capacity() / 8) {
      absl::erase_if(heads_, [](const auto& item) { return item.second.head.expired(); });
    }
  }
  return head;
}

std::vector<std::shared_ptr<Head>> VolumeState::Heads(bool all, uint64_t tree) {
  std::vector<std::shared_ptr<Head>> heads;
  absl::MutexLock lock(&heads_mu_);
  for (const auto& [object, known] : heads_) {
    if (!all && known.tree != tree) continue;
    if (std::shared_ptr<Head> head = known.head.lock(); head != nullptr)
      heads.push_back(std::move(head));
  }
  return heads;
}

absl::Status VolumeState::SealAll() {
  absl::Status first;
  for (const std::shared_ptr<Head>& head : Heads(/*all=*/true, 0)) first.Update(head->Seal());
  return first;
}

absl::Status VolumeState::SealTree(uint64_t tree) {
  absl::Status first;
  for (const std::shared_ptr<Head>& head : Heads(/*all=*/false, tree)) first.Update(head->Seal());
  return first;
}

absl::StatusOr<fs::SnapshotInfo> VolumeState::RollBack(const fs::SnapshotInfo& snapshot) {
  const auto roll_back = [&] { return filesystem_->RollBack(snapshot.number); };
  if (!snapshot.of_tree) {
    absl::ReaderMutexLock same_file(&mapping_mu_);
    absl::StatusOr<fs::FileHandle> owner = filesystem_->OpenFile(snapshot.owner);
    if (!owner.ok()) return roll_back();  // which says what is wrong
    return HeadOf(std::make_shared<fs::FileHandle>(std::move(*owner)))->ChangeUnmapped(roll_back);
  }
  absl::MutexLock no_mapping(&mapping_mu_);
  for (const std::shared_ptr<Head>& head : Heads(/*all=*/false, snapshot.owner.tree)) {
    if (!head->mapped()) continue;
    return MakeError(absl::StatusCode::kFailedPrecondition, EBUSY,
                     "a file of the tree is mapped for writing; destroy the mapping first");
  }
  return roll_back();
}

absl::StatusOr<std::shared_ptr<store::Object>> VolumeState::Freeze(const store::Object& head) {
  COW_ASSIGN_OR_RETURN(store::Transaction transaction,
                       store().BeginFrozen(2 * store::kFramesToChange));
  COW_ASSIGN_OR_RETURN(auto version,
                       store().Share(transaction, head, store().catalog(), /*version=*/true));
  COW_RETURN_IF_ERROR(store().catalog().Remove(transaction, version));
  return version;
}

}  // namespace cow::core
