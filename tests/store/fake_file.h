// Fakes of os::File: in memory, counting, failing. Recording ones are in recording_file.h.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "cow/os/file.h"
#include "tests/store/image.h"

namespace cow::test {

// A disk in memory. Several MemoryFiles on one are like several descriptions of one file: they see
// the same bytes, and their locks conflict.
struct Disk {
  Disk() = default;
  explicit Disk(Image bytes) : image(std::move(bytes)) {}
  Image Copy() {
    absl::MutexLock lock(&mu);
    return image;
  }

  absl::Mutex mu;
  Image image ABSL_GUARDED_BY(mu);
  uint64_t next_owner ABSL_GUARDED_BY(mu) = 0;
  // By byte: who holds it, and how.
  std::map<uint64_t, std::map<uint64_t, os::LockKind>> locks ABSL_GUARDED_BY(mu);
};

class MemoryFile : public os::File {
 public:
  explicit MemoryFile(std::shared_ptr<Disk> disk);
  ~MemoryFile() override;

  absl::Status Read(uint64_t offset, std::span<std::byte> buffer) const override;
  absl::Status Write(uint64_t offset, std::span<const std::byte> buffer) override;
  absl::Status WriteVector(uint64_t offset, std::span<const iovec> buffers) override;
  absl::Status ReadVector(uint64_t offset, std::span<const iovec> buffers) const override;
  absl::Status Flush() override { return absl::OkStatus(); }
  absl::Status Allocate(uint64_t offset, uint64_t length) override;
  absl::Status Punch(uint64_t offset, uint64_t length) override;
  absl::StatusOr<uint64_t> Size() const override;
  absl::Status Resize(uint64_t size) override;
  absl::StatusOr<uint64_t> AllocatedBytes() const override;
  absl::StatusOr<bool> TryLock(uint64_t byte, os::LockKind kind) override;
  absl::Status Unlock(uint64_t byte) override;
  absl::StatusOr<std::optional<uint64_t>> FirstLocked(uint64_t begin, uint64_t end) const override;
  int descriptor() const override { return -1; }
  const std::string& name() const override { return name_; }

 private:
  const std::shared_ptr<Disk> disk_;
  uint64_t owner_;
  const std::string name_ = "memory disk";
};

enum class Call { kRead, kWrite, kFlush, kAllocate, kPunch, kCount };

// Calls of each kind, and bytes read and written.
struct Calls {
  std::atomic<uint64_t> of_kind[static_cast<int>(Call::kCount)] = {};
  std::atomic<uint64_t> bytes_read = 0;
  std::atomic<uint64_t> bytes_written = 0;

  uint64_t operator[](Call call) const { return of_kind[static_cast<int>(call)]; }
};

// Which calls fail: the first-th of `call` after arming and all that follow it until `count` have;
// with a transfer of half of the bytes first where `partial`.
struct Fault {
  Call call = Call::kRead;
  uint64_t first = 0;
  uint64_t count = 1;
  int error = 0;
  bool partial = false;
};

// What a test steers a ProbedFile by; outlives it.
class Probe {
 public:
  Calls calls;

  void Arm(const Fault& fault);
  void Disarm();
  // How many calls have failed since it was armed.
  uint64_t failures() const;

 private:
  friend class ProbedFile;
  // The fault that this call is to have; counts it.
  std::optional<Fault> Enter(Call call);

  mutable absl::Mutex mu_;
  std::optional<Fault> fault_ ABSL_GUARDED_BY(mu_);
  uint64_t seen_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t failures_ ABSL_GUARDED_BY(mu_) = 0;
};

// Passes everything on to `file`; counts, and fails where the probe says so.
class ProbedFile : public os::File {
 public:
  ProbedFile(std::unique_ptr<os::File> file, std::shared_ptr<Probe> probe);

  absl::Status Read(uint64_t offset, std::span<std::byte> buffer) const override;
  absl::Status Write(uint64_t offset, std::span<const std::byte> buffer) override;
  absl::Status WriteVector(uint64_t offset, std::span<const iovec> buffers) override;
  absl::Status ReadVector(uint64_t offset, std::span<const iovec> buffers) const override;
  absl::Status Flush() override;
  absl::Status Allocate(uint64_t offset, uint64_t length) override;
  absl::Status Punch(uint64_t offset, uint64_t length) override;
  absl::StatusOr<uint64_t> Size() const override { return file_->Size(); }
  absl::Status Resize(uint64_t size) override { return file_->Resize(size); }
  absl::StatusOr<uint64_t> AllocatedBytes() const override { return file_->AllocatedBytes(); }
  absl::StatusOr<bool> TryLock(uint64_t byte, os::LockKind kind) override {
    return file_->TryLock(byte, kind);
  }
  absl::Status Unlock(uint64_t byte) override { return file_->Unlock(byte); }
  absl::StatusOr<std::optional<uint64_t>> FirstLocked(uint64_t begin, uint64_t end) const override {
    return file_->FirstLocked(begin, end);
  }
  int descriptor() const override { return file_->descriptor(); }
  const std::string& name() const override { return file_->name(); }

 private:
  const std::unique_ptr<os::File> file_;
  const std::shared_ptr<Probe> probe_;
};

}  // namespace cow::test
