#include "cow/core/mapping_state.h"

#include <cerrno>
#include <utility>
#include <vector>

#include "cow/base/status.h"

namespace cow::core {
namespace {

// The frames of an object of the store.
class ObjectSource : public vm::Source {
 public:
  ObjectSource(std::shared_ptr<VolumeState> volume, std::shared_ptr<store::Object> object)
      : volume_(std::move(volume)), object_(std::move(object)) {}

  absl::StatusOr<std::vector<vm::Extent>> Extents(PageNumber begin, PageNumber end) override {
    COW_ASSIGN_OR_RETURN(const std::vector<store::Extent> found,
                         object_->Extents(begin, end, /*verify=*/true));
    std::vector<vm::Extent> extents;
    extents.reserve(found.size());
    for (const store::Extent& extent : found) {
      extents.push_back({extent.page, extent.frame, extent.count});
    }
    return extents;
  }

  absl::StatusOr<PageNumber> NextData(PageNumber begin) override {
    const absl::StatusOr<uint64_t> offset = object_->NextData(OffsetOf(begin));
    if (absl::IsNotFound(offset.status())) return PageNumber(UINT64_MAX);
    COW_RETURN_IF_ERROR(offset.status());
    return PageOf(*offset);
  }

  int descriptor() const override { return volume_->store().file().descriptor(); }

 private:
  const std::shared_ptr<VolumeState> volume_;  // outlives the object
  const std::shared_ptr<store::Object> object_;
};

// Writes sealed pages to the head.
class HeadSink : public vm::Sink {
 public:
  explicit HeadSink(fs::FileHandle& file) : file_(file) {}

  absl::Status Publish(std::span<const PageNumber> pages,
                       std::span<const std::byte> bytes) override {
    if (bytes.size() == pages.size() * kPageSize) return file_.WritePages(pages, bytes);
    return file_.Write(OffsetOf(pages[0]), bytes);
  }

 private:
  fs::FileHandle& file_;
};

vm::Access AccessOf(Access access) {
  switch (access) {
    case Access::kRead:
      return vm::Access::kRead;
    case Access::kScratch:
      return vm::Access::kScratch;
    case Access::kWrite:
      return vm::Access::kWrite;
  }
  return vm::Access::kRead;
}

}  // namespace

MappingState::MappingState(std::shared_ptr<VolumeState> volume,
                           std::unique_ptr<vm::Mapping> mapping, std::string path)
    : volume_(std::move(volume)), path_(std::move(path)), mapping_(std::move(mapping)) {}

void MappingState::Close() {
  if (head_ == nullptr) return;
  // Nobody to tell about an error: that is what Mapping::Seal is for.
  Seal().IgnoreError();
  {
    absl::MutexLock lock(&mu_);
    mapping_.reset();
  }
  head_->Unmapped();
}

Mapping MappingState::Handle(std::shared_ptr<MappingState> state, Access access) {
  std::span<std::byte> bytes;
  {
    absl::ReaderMutexLock lock(&state->mu_);
    bytes = state->mapping_->bytes();
  }
  return Mapping(std::move(state), bytes, access);
}

absl::StatusOr<Mapping> MappingState::MapVersion(std::shared_ptr<VolumeState> volume,
                                                 std::shared_ptr<store::Object> version,
                                                 const std::string& path, Access access) {
  const uint64_t size = version->size();
  auto source = std::make_shared<ObjectSource>(volume, std::move(version));
  auto mapping = vm::Mapping::Create(AccessOf(access), size, std::move(source));
  if (!mapping.ok()) return Explain(mapping.status(), "map", path);
  return Handle(std::make_shared<MappingState>(std::move(volume), std::move(*mapping), path),
                access);
}

absl::StatusOr<Mapping> MappingState::MapHead(std::shared_ptr<VolumeState> volume,
                                              std::shared_ptr<fs::FileHandle> file,
                                              std::shared_ptr<Head> head, const std::string& path) {
  absl::ReaderMutexLock no_rollback(&volume->mapping_mu());
  auto made = head->MapForWriting([&]() -> absl::StatusOr<std::shared_ptr<MappingState>> {
    // Of a head: its frames stay as long as nothing but this mapping changes it.
    std::shared_ptr<store::Object> object(file, &file->object());
    auto source = std::make_shared<ObjectSource>(volume, object);
    COW_ASSIGN_OR_RETURN(auto mapping,
                         vm::Mapping::Create(vm::Access::kWrite, object->size(), source));
    auto state = std::make_shared<MappingState>(volume, std::move(mapping), path);
    state->file_ = file;
    state->head_ = head;
    return state;
  });
  if (!made.ok()) return Explain(made.status(), "map", path);
  return Handle(std::move(*made), Access::kWrite);
}

absl::Status MappingState::Seal() {
  if (head_ == nullptr) {
    return Explain(
        MakeError(absl::StatusCode::kFailedPrecondition, EINVAL, "only a write mapping is sealed"),
        "seal", path_);
  }
  HeadSink sink(*file_);
  absl::ReaderMutexLock lock(&mu_);
  if (mapping_ == nullptr) return absl::OkStatus();
  return Explain(mapping_->Seal(sink), "seal", path_);
}

absl::Status MappingState::Reset() {
  absl::ReaderMutexLock lock(&mu_);
  return Explain(mapping_->Reset(), "reset", path_);
}

absl::Status MappingState::status() {
  absl::ReaderMutexLock lock(&mu_);
  if (mapping_ == nullptr) return absl::OkStatus();
  return Explain(mapping_->status(), "read mapping of", path_);
}

}  // namespace cow::core

namespace cow {

Mapping::Mapping(std::shared_ptr<core::MappingState> state, std::span<std::byte> bytes,
                 Access access)
    : state_(std::move(state)), bytes_(bytes), access_(access) {}
Mapping::Mapping(Mapping&& other) noexcept = default;

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this == &other) return *this;
  std::swap(state_, other.state_);
  std::swap(bytes_, other.bytes_);
  std::swap(access_, other.access_);
  // What this one had ends here, not when `other` does.
  const Mapping replaced(std::move(other));
  return *this;
}

Mapping::~Mapping() {
  if (state_ != nullptr) state_->Close();
}

absl::Status Mapping::status() const { return state_->status(); }
absl::Status Mapping::Seal() { return state_->Seal(); }
absl::Status Mapping::Reset() { return state_->Reset(); }

}  // namespace cow
