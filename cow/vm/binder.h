// Binds a mapping's chunks where they are first touched.
//
//   a thread touches a page of a chunk that is not bound, and waits; a thread of the FaultHandler:
//     asks the Source for the frames of the chunk, verified; where that fails, for halves of it, down
//     to the pages that are bad;
//     maps the frames over the chunk, which ends its registration for missing pages; holes are
//     unregistered and go on being anonymous memory, a whole hole at once;
//     or, where that would take too many maps, copies the frames in;
//     poisons the bad pages;
//     wakes the thread.
//
// Of a mapping for writing everything stays registered for protection, and what is bound is protected
// before the thread is woken. Between the moment when a chunk is mapped and that one, other threads
// may write to it: what is private then is dirty from the beginning.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "cow/os/address_range.h"
#include "cow/vm/bindings.h"
#include "cow/vm/dirty_set.h"
#include "cow/vm/fault_handler.h"
#include "cow/vm/mapping.h"
#include "cow/vm/page_set.h"

namespace cow::vm {

// Thread safety: all methods.
class Binder final : public FaultTarget, public DirtySet {
 public:
  // Serves faults in `range`, which is anonymous memory that nobody has touched, from here on.
  static absl::StatusOr<std::unique_ptr<Binder>> Start(os::AddressRange& range, Access access,
                                                       std::shared_ptr<Source> source,
                                                       std::optional<uint64_t> map_limit,
                                                       std::shared_ptr<FaultHandler> handler);
  ~Binder() override;
  // Faults are not served any more: before the range is unmapped.
  void Stop();

  void ServeFault(std::byte* address) override;

  // The dirty set of a mapping for writing, synchronised with what is bound meanwhile.
  absl::Status Take(std::vector<PageRun>& taken) override;
  void Published(PageNumber page, std::span<const std::byte> bytes) override;

  // The content is that of the version again. Nobody touches it meanwhile.
  absl::Status Reset();

  absl::Status status() const;
  uint64_t copied_pages() const;

 private:
  struct BadPage {
    PageNumber page;
    absl::Status status;
  };
  // Pages that one map can show: consecutive frames, or a hole.
  struct Piece {
    PageRun run;
    std::optional<FrameNumber> frame;
  };
  // What is at the pages of a run.
  struct Found {
    PageRun run;
    std::vector<Extent> extents;
    std::vector<BadPage> bad;
  };

  Binder(os::AddressRange& range, Access access, std::shared_ptr<Source> source,
         std::optional<uint64_t> map_limit, std::shared_ptr<FaultHandler> handler);

  bool IsBound(PageNumber page) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::span<std::byte> Memory(const PageRun& run) const;
  // The pages around `page`, of its chunk, that are not bound; whoever gets them binds them. Nothing
  // where another thread is at it or `page` is bound; `bound` says which.
  std::optional<PageRun> Claim(PageNumber page, bool& bound);
  void BindClaimed(const PageRun& run);
  // Of a claimed run, with what was bound after it.
  void EndClaim(const PageRun& run);
  void BindAhead(const PageRun& run);
  void Find(PageNumber begin, PageNumber end, Found& found) const;
  PageNumber HoleEnd(const PageRun& run) const;
  static std::vector<Piece> PiecesOf(const Found& found);
  bool FitsMaps(uint64_t pieces) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Maps as many of the pieces, in order, as can be; how many.
  size_t MapPieces(std::span<const Piece> pieces) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FinishMapping(const PageRun& part, std::span<const Piece> pieces)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CopyPieces(std::span<const Piece> pieces) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Copies `done` pages of it, all where there is no error.
  absl::Status CopyPiece(const Piece& piece, uint64_t& done) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Poison(const PageRun& run, const absl::Status& cause) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CountMaps() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  os::AddressRange& range_;
  const Access access_;
  const PageNumber end_;
  const std::shared_ptr<Source> source_;
  const std::optional<uint64_t> map_limit_;
  const std::shared_ptr<FaultHandler> handler_;

  mutable absl::Mutex mu_;
  Bindings bindings_ ABSL_GUARDED_BY(mu_);
  PageSet copied_ ABSL_GUARDED_BY(mu_);              // bound too, but no map of their own
  std::set<uint64_t> claimed_ ABSL_GUARDED_BY(mu_);  // chunks that somebody binds
  PageNumber next_ ABSL_GUARDED_BY(mu_);             // after what was bound last
  uint64_t ahead_ ABSL_GUARDED_BY(mu_) = 0;          // chunks to bind ahead, if next_ is touched
  uint64_t maps_used_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t copied_pages_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  // Of a mapping for writing. The lock is held from when frames are mapped until they are protected.
  std::unique_ptr<BoundDirtySet> dirty_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cow::vm
