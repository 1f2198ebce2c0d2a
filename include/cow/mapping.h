// A version as a pointer: memory whose content is a file or a snapshot.
//
//   cow::Mapping live = state.Map(cow::Access::kWrite).value();
//   live.bytes()[0] = std::byte{1};
//   cow::Snapshot before = state.TakeSnapshot("before").value();  // holds the 1
//   live.bytes()[0] = std::byte{2};
//   cow::Mapping old = before.Map(cow::Access::kRead).value();    // old.bytes()[0] is 1
//
// Pages that nobody wrote are the kernel's cache of the volume file, shared by all mappings and all
// processes that have them; a page that is written becomes this process's own at that moment, and
// goes on being ordinary memory. System calls read and write mappings as any memory.
//
// Write mappings
// - A file has at most one, and while it has one, other ways of changing the file (File::Write,
//   Truncate, Punch, Volume::RollBack, a second write mapping) are refused: kFailedPrecondition
//   (EBUSY). Reading it, renaming it and removing its name go on.
// - What is stored reaches the file at a *seal*. Seals are made by TakeSnapshot and Clone of the
//   file, TakeSnapshot of its tree, File::Map, Volume::Sync, Seal() below, and by the end of the
//   mapping. File::Read sees the file as of the last seal.
// - A seal costs what was written since the last one, and about 1 ns for each resident page.
//   Threads may go on writing meanwhile: what was stored before the call began is in the seal; what is
//   stored during it may be in it or not, and is in the next one in any case. For threads that are
//   quiet during the call it is one instant.
// - Nothing stored survives a crash before a seal and a Volume::Sync after it (which seals by
//   itself). After a crash in the middle of a long seal the file may hold a part of it; snapshots
//   are always whole. So recover from a snapshot where pages must fit one another.
// - A full volume makes the seal fail (kResourceExhausted, ENOSPC), never a store: no SIGBUS. What
//   was not sealed stays in memory, for the next seal.
//
// Touching a page
// - A mapping is made in microseconds, whatever its size. Chunks of 2 MiB are verified and bound when
//   they are first touched, by a thread of the library while the one that touches waits; those that
//   follow in order beforehand; a hole as a whole.
// - A page that cannot be read, or whose checksum does not match, is SIGBUS for a load or a store (on
//   kernels before 6.6, SIGSEGV) and EFAULT from a system call; status() says which and why. Other
//   pages are not concerned.
// - Where the process may not handle faults of system calls (no CAP_SYS_PTRACE,
//   vm.unprivileged_userfaultfd=0 and no access to /dev/userfaultfd; or it locks its memory by
//   mlockall), and for writing on kernels before 6.7, all frames are verified and bound when the
//   mapping is made: a damaged one is an error of Map.
// - Threads that bind take no signals, and run while there are mappings.
//
// Limits
// - A page is 4 KiB, and so must be the system's. A host disk that fails later, when the kernel reads
//   a page again that it dropped, is SIGBUS.
// - A mapping has the size its version had; it does not grow. Size 0 cannot be mapped.
// - I/O that the kernel does later into a mapping (direct reads in flight, io_uring) must be
//   finished before a seal; buffers registered with io_uring escape tracking and are not supported.
// - mlockall(2) with MCL_FUTURE does not lock mappings made later; mlock(2) locks any part. Locking
//   a mapping that can be written copies every page of that part, and the next seal publishes them.
// - A child made by fork(2) does not have the addresses. Do not munmap, mremap or madvise them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"

namespace cow {

namespace core {
class MappingState;
}

enum class Access {
  kRead,     // storing to it is SIGSEGV, or EFAULT from a system call
  kScratch,  // private: can be written, is never published; Reset() drops what was written
  kWrite,    // can be written; a seal publishes it
};

// A mapping; the memory is unmapped when it is destroyed. A write mapping is sealed first: an error
// then has nobody to tell, so call Seal() where it matters.
//
// Thread safety: any number of threads use bytes(), and any may call Seal. Reset and the destructor
// want to be alone. Lifetime: needs neither the File, the Snapshot nor the Volume it came from, and
// not that the snapshot still exists: destroy them in any order. A mapping that was moved from may
// only be assigned or destroyed.
class Mapping {
 public:
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  // The content. The address is a multiple of 2 MiB and stays when the Mapping is moved.
  std::span<std::byte> bytes() const { return bytes_; }
  uint64_t size() const { return bytes_.size(); }
  Access access() const { return access_; }

  // The first error that touching the mapping met (kDataLoss with EIO for damage), naming file, page,
  // frame and cause; OK where there was none. It stays.
  absl::Status status() const;

  // Write mappings: makes what was stored part of the file, as TakeSnapshot does first. Durable
  // after the next Volume::Sync. kFailedPrecondition (EINVAL) for other mappings;
  // kResourceExhausted (ENOSPC) when the volume is full; kFailedPrecondition (EROFS) after the
  // volume failed.
  absl::Status Seal();

  // Scratch mappings: makes the content what the version holds again and gives the memory back.
  // Costs what was written. kFailedPrecondition (EINVAL) for other mappings.
  absl::Status Reset();

 private:
  friend class core::MappingState;
  Mapping(std::shared_ptr<core::MappingState> state, std::span<std::byte> bytes, Access access);
  std::shared_ptr<core::MappingState> state_;
  std::span<std::byte> bytes_;
  Access access_;
};

}  // namespace cow
