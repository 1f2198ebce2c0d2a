// A version in this process's address space: the pages of a version as a pointer.
//
// A mapping binds the frames of its version by private maps of the volume file: pages that nobody
// wrote are the page cache of the volume file (or the memfd) and shared by all who map them; a
// page that is written becomes this process's own, by the kernel's copy-on-write. Holes are
// anonymous memory that reads as zero. There are three kinds:
//   kRead     cannot be written (SIGSEGV, or EFAULT from system calls).
//   kScratch  can be written; what is written is never published. Reset() drops it.
//   kWrite    can be written; Seal() hands what was written to whoever publishes it.
// There is no handler and no signal: system calls read and write mappings as any memory.
//
//   auto mapping = Mapping::Create(Access::kWrite, size, source).value();
//   mapping->bytes()[0] = std::byte{1};
//   absl::Status sealed = mapping->Seal(sink);        // the sink gets page 0
//
// The dirty set. Where the kernel can (6.7 and later, see os::Features), pages are
// write-protected asynchronously from the first bind on, and a seal finds and re-protects what was
// written in one call: it costs what was written and 1-3 ns for each resident page, and 1.3 us once
// for each run of pages that were never written before, to make sure that they are not the
// volume's. Elsewhere a
// seal looks at all private pages and compares each with the 128-bit hash of what it held when it
// was last sealed: 0.35 us and 30-60 bytes of memory for each page ever written, and 1.5 ns for
// each page of the mapping, resident or not (0.4 s for 1 TiB), to find them.
//
// Limits:
// - All extents are bound when the mapping is made. Holes cost nothing (a sparse version of 1 TiB
//   maps at once, for writing too). Frames cost their verification by the Source, and for writing
//   with tracking in the kernel 0.1-0.5 us each, to enter them into the page tables.
// - Frames are verified before they are bound. What the host reads again later, after it dropped
//   the page from its cache, is not verified again, and an I/O error then is SIGBUS.
// - A process may have so many maps (vm.max_map_count). All mappings together take at most a
//   quarter of them; chunks of 2 MiB in too many extents are copied into memory instead of bound,
//   up to a quarter of the machine's memory for one mapping.
// - System page size is 4 KiB; elsewhere Create fails (kUnimplemented).
// - A child made by fork(2) does not have the addresses. It may destroy its copy of the object.
// - Memory that a write made private stays private until the mapping is destroyed.
// - I/O that the kernel does later into a mapping (in-flight direct reads, io_uring) must be
//   finished before a seal; buffers registered with io_uring escape tracking: unsupported.
// - In a process that locks its memory (mlockall with MCL_FUTURE) a mapping is not locked. mlock(2)
//   works; of a mapping that can be written it makes private copies of all pages it locks.
// - The caller must not unmap, remap, or advise away (MADV_DONTNEED) any part.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "cow/base/types.h"
#include "cow/os/address_range.h"

namespace cow::vm {

class Binder;
class DirtySet;
struct PageRun;

enum class Access { kRead, kScratch, kWrite };

// How a mapping for writing knows what was written.
enum class Tracking {
  kKernel,   // asynchronous write-protect and PAGEMAP_SCAN
  kCompare,  // comparing private pages with what they held at the last seal
};

// Pages [page, page + count) are frames [frame, frame + count).
struct Extent {
  PageNumber page;
  FrameNumber frame;
  uint64_t count = 0;
  friend bool operator==(const Extent&, const Extent&) = default;
};

// What vm asks of whoever owns the version. Its answers are about one version, which does not
// change: as long as the Source lives, the frames it named keep their content.
class Source {
 public:
  virtual ~Source() = default;
  // Frames of pages [begin, end), in order; pages not named are holes. All named frames have been
  // verified. Bytes past the end of the version are zero in its last frame. Called by threads that
  // others wait for: it takes no lock that is held while memory of a mapping is touched.
  virtual absl::StatusOr<std::vector<Extent>> Extents(PageNumber begin, PageNumber end) = 0;
  // The first page from `begin` on that is not a hole; the largest page number where there is none.
  virtual absl::StatusOr<PageNumber> NextData(PageNumber begin) = 0;
  // The volume file or memfd, open for reading at least: frame f is at f * 4096.
  virtual int descriptor() const = 0;
};

// Where sealed pages go.
class Sink {
 public:
  virtual ~Sink() = default;
  // Pages in ascending order, at most 256, with content that no longer changes, one after the other.
  // Whole ones, but for the last page of a version whose size is not a multiple of the page size: it
  // comes alone, and `bytes` ends with the version. The bytes are good until the call returns. After
  // an error none counts as published.
  virtual absl::Status Publish(std::span<const PageNumber> pages,
                               std::span<const std::byte> bytes) = 0;
};

struct Options {
  // kWrite only. Not given: the best that the kernel can. kKernel where the kernel cannot is an
  // error (kUnimplemented).
  std::optional<Tracking> tracking;
  // Most maps this mapping may use. Not given: half of what is left of all mappings' quarter.
  std::optional<uint64_t> map_limit;
};

// A mapping. Unmapped when destroyed; what was written and not sealed is lost then.
//
// Thread safety: any number of threads read and write bytes(). Seal may be called by any thread
// while others write; seals exclude one another. Reset and destruction want to be alone.
class Mapping {
 public:
  // Maps the `size` bytes of the version behind `source`, which the mapping keeps alive.
  // kInvalidArgument (EINVAL) for size 0; kResourceExhausted (ENOMEM) where the address space, the
  // maps or memory do not suffice; kDataLoss (EIO) for frames outside the volume; the Source's
  // errors as they are.
  static absl::StatusOr<std::unique_ptr<Mapping>> Create(Access access, uint64_t size,
                                                         std::shared_ptr<Source> source,
                                                         const Options& options = {});
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  Access access() const { return access_; }
  // Of kWrite mappings; of others, kKernel.
  Tracking tracking() const;
  // The version's bytes: size() of them. The address is a multiple of 2 MiB and stays. Memory
  // between the end and the next page boundary reads as zero and is not part of the version: what
  // is written there is not published.
  std::span<std::byte> bytes() const { return {range_.data(), size_}; }
  uint64_t size() const { return size_; }
  // Pages that were copied into memory because they were in too many extents to be bound.
  uint64_t copied_pages() const;
  // The first error that a touch of the mapping met: which page, and why it cannot be read.
  absl::Status status() const;

  // Hands every page written since the last seal (since creation, for the first) to `sink`, in
  // ascending order, and returns the first error. A page handed to the sink holds at least all
  // that was written to it before the call. What is written meanwhile is dirty again, whether or
  // not it was in time for this seal; for writers that are quiet during the call a seal is one
  // instant. A page written with what it held already may be handed out or not; and a page that was
  // written once may come again unchanged, if the kernel was moving it in memory at the last seal.
  // After an error the pages not published stay dirty, for the next seal.
  // kFailedPrecondition unless access() is kWrite. `sink` must not call Seal.
  absl::Status Seal(Sink& sink);

  // Makes the mapping equal to its version again; gives the memory back. No thread may access the
  // mapping meanwhile. kFailedPrecondition unless access() is kScratch. After an error the content
  // of copied chunks (see the limits) is undefined until a Reset succeeds.
  absl::Status Reset();

 private:
  Mapping(Access access, uint64_t size, std::shared_ptr<Source> source, os::AddressRange range);

  absl::Status ChooseTracking(const Options& options);
  bool BindsOnTouch() const;
  absl::Status Bind(const Options& options);
  absl::Status CopyIn(std::span<const Extent> extents);
  absl::Status TrackWrites(std::vector<Extent> bound, std::span<const Extent> copied);
  // Publishes what is first in `runs`, and takes it away there.
  absl::Status PublishSome(Sink& sink, std::span<PageRun>& runs)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(seal_mutex_);
  DirtySet& dirty() ABSL_EXCLUSIVE_LOCKS_REQUIRED(seal_mutex_);

  const Access access_;
  const uint64_t size_;
  const std::shared_ptr<Source> source_;
  // Set while the mapping is made, constant after.
  Tracking tracking_;
  uint64_t maps_used_ = 0;
  uint64_t copied_pages_ = 0;
  std::vector<Extent> copied_;  // what Reset copies in again
  // Where chunks are bound as they are touched; then it has the dirty set.
  std::unique_ptr<Binder> binder_;

  absl::Mutex seal_mutex_;
  // Taken from the dirty set and not published yet; in order.
  std::vector<PageRun> pending_ ABSL_GUARDED_BY(seal_mutex_);
  std::vector<std::byte> copy_ ABSL_GUARDED_BY(seal_mutex_);  // of pages that are published
  std::unique_ptr<DirtySet> dirty_ ABSL_GUARDED_BY(seal_mutex_);
  // Last, so that it is unmapped before the dirty set's userfaultfd is closed.
  os::AddressRange range_;
};

}  // namespace cow::vm
