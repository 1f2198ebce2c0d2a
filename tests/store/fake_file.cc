#include "tests/store/fake_file.h"

#include <algorithm>

#include "cow/base/status.h"

namespace cow::test {
namespace {

std::span<std::byte> SpanOf(const iovec& part) {
  return {static_cast<std::byte*>(part.iov_base), part.iov_len};
}

uint64_t TotalOf(std::span<const iovec> parts) {
  uint64_t total = 0;
  for (const iovec& part : parts) total += part.iov_len;
  return total;
}

}  // namespace

MemoryFile::MemoryFile(std::shared_ptr<Disk> disk) : disk_(std::move(disk)) {
  absl::MutexLock lock(&disk_->mu);
  owner_ = disk_->next_owner++;
}

MemoryFile::~MemoryFile() {
  absl::MutexLock lock(&disk_->mu);
  for (auto& [byte, holders] : disk_->locks) holders.erase(owner_);
}

absl::Status MemoryFile::Read(uint64_t offset, std::span<std::byte> buffer) const {
  absl::ReaderMutexLock lock(&disk_->mu);
  disk_->image.Read(offset, buffer);
  return absl::OkStatus();
}

absl::Status MemoryFile::Write(uint64_t offset, std::span<const std::byte> buffer) {
  absl::MutexLock lock(&disk_->mu);
  disk_->image.Write(offset, buffer);
  return absl::OkStatus();
}

absl::Status MemoryFile::WriteVector(uint64_t offset, std::span<const iovec> buffers) {
  absl::MutexLock lock(&disk_->mu);
  for (const iovec& part : buffers) {
    disk_->image.Write(offset, SpanOf(part));
    offset += part.iov_len;
  }
  return absl::OkStatus();
}

absl::Status MemoryFile::ReadVector(uint64_t offset, std::span<const iovec> buffers) const {
  absl::ReaderMutexLock lock(&disk_->mu);
  for (const iovec& part : buffers) {
    disk_->image.Read(offset, SpanOf(part));
    offset += part.iov_len;
  }
  return absl::OkStatus();
}

absl::Status MemoryFile::Allocate(uint64_t offset, uint64_t length) {
  absl::MutexLock lock(&disk_->mu);
  if (disk_->image.size() < offset + length) disk_->image.Resize(offset + length);
  return absl::OkStatus();
}

absl::Status MemoryFile::Punch(uint64_t offset, uint64_t length) {
  absl::MutexLock lock(&disk_->mu);
  disk_->image.Punch(offset, length);
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> MemoryFile::Size() const {
  absl::ReaderMutexLock lock(&disk_->mu);
  return disk_->image.size();
}

absl::Status MemoryFile::Resize(uint64_t size) {
  absl::MutexLock lock(&disk_->mu);
  disk_->image.Resize(size);
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> MemoryFile::AllocatedBytes() const {
  absl::ReaderMutexLock lock(&disk_->mu);
  return disk_->image.frames().size() * kPageSize;
}

absl::StatusOr<bool> MemoryFile::TryLock(uint64_t byte, os::LockKind kind) {
  absl::MutexLock lock(&disk_->mu);
  auto& holders = disk_->locks[byte];
  for (const auto& [owner, held] : holders) {
    if (owner == owner_) continue;
    if (kind == os::LockKind::kExclusive || held == os::LockKind::kExclusive) return false;
  }
  holders[owner_] = kind;
  return true;
}

absl::Status MemoryFile::Unlock(uint64_t byte) {
  absl::MutexLock lock(&disk_->mu);
  disk_->locks[byte].erase(owner_);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<uint64_t>> MemoryFile::FirstLocked(uint64_t begin,
                                                                uint64_t end) const {
  absl::ReaderMutexLock lock(&disk_->mu);
  for (auto it = disk_->locks.lower_bound(begin); it != disk_->locks.end() && it->first < end;
       ++it) {
    for (const auto& [owner, kind] : it->second) {
      if (owner != owner_) return it->first;
    }
  }
  return std::nullopt;
}

void Probe::Arm(const Fault& fault) {
  absl::MutexLock lock(&mu_);
  fault_ = fault;
  seen_ = 0;
  failures_ = 0;
}

void Probe::Disarm() {
  absl::MutexLock lock(&mu_);
  fault_.reset();
}

uint64_t Probe::failures() const {
  absl::MutexLock lock(&mu_);
  return failures_;
}

std::optional<Fault> Probe::Enter(Call call) {
  ++calls.of_kind[static_cast<int>(call)];
  absl::MutexLock lock(&mu_);
  if (!fault_.has_value() || fault_->call != call) return std::nullopt;
  const uint64_t number = seen_++;
  if (number < fault_->first || failures_ >= fault_->count) return std::nullopt;
  ++failures_;
  return fault_;
}

ProbedFile::ProbedFile(std::unique_ptr<os::File> file, std::shared_ptr<Probe> probe)
    : file_(std::move(file)), probe_(std::move(probe)) {}

absl::Status ProbedFile::Read(uint64_t offset, std::span<std::byte> buffer) const {
  probe_->calls.bytes_read += buffer.size();
  const std::optional<Fault> fault = probe_->Enter(Call::kRead);
  if (!fault.has_value()) return file_->Read(offset, buffer);
  if (fault->partial) (void)file_->Read(offset, buffer.first(buffer.size() / 2));
  return ErrnoStatus(fault->error, "read");
}

absl::Status ProbedFile::ReadVector(uint64_t offset, std::span<const iovec> buffers) const {
  probe_->calls.bytes_read += TotalOf(buffers);
  const std::optional<Fault> fault = probe_->Enter(Call::kRead);
  if (!fault.has_value()) return file_->ReadVector(offset, buffers);
  if (fault->partial) (void)file_->ReadVector(offset, buffers.first(buffers.size() / 2));
  return ErrnoStatus(fault->error, "read");
}

absl::Status ProbedFile::Write(uint64_t offset, std::span<const std::byte> buffer) {
  probe_->calls.bytes_written += buffer.size();
  const std::optional<Fault> fault = probe_->Enter(Call::kWrite);
  if (!fault.has_value()) return file_->Write(offset, buffer);
  if (fault->partial) (void)file_->Write(offset, buffer.first(buffer.size() / 2));
  return ErrnoStatus(fault->error, "write");
}

absl::Status ProbedFile::WriteVector(uint64_t offset, std::span<const iovec> buffers) {
  probe_->calls.bytes_written += TotalOf(buffers);
  const std::optional<Fault> fault = probe_->Enter(Call::kWrite);
  if (!fault.has_value()) return file_->WriteVector(offset, buffers);
  if (fault->partial) (void)file_->WriteVector(offset, buffers.first(buffers.size() / 2));
  return ErrnoStatus(fault->error, "write");
}

absl::Status ProbedFile::Flush() {
  const std::optional<Fault> fault = probe_->Enter(Call::kFlush);
  return fault.has_value() ? ErrnoStatus(fault->error, "flush") : file_->Flush();
}

absl::Status ProbedFile::Allocate(uint64_t offset, uint64_t length) {
  const std::optional<Fault> fault = probe_->Enter(Call::kAllocate);
  return fault.has_value() ? ErrnoStatus(fault->error, "allocate")
                           : file_->Allocate(offset, length);
}

absl::Status ProbedFile::Punch(uint64_t offset, uint64_t length) {
  const std::optional<Fault> fault = probe_->Enter(Call::kPunch);
  return fault.has_value() ? ErrnoStatus(fault->error, "punch") : file_->Punch(offset, length);
}

}  // namespace cow::test
