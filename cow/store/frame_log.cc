#include "cow/store/frame_log.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

#include "absl/strings/str_format.h"
#include "cow/base/checksum.h"
#include "cow/base/status.h"
#include "cow/format/log_frame.h"

namespace cow::store {

using format::Entry;
using format::kItemsPerLogFrame;

absl::Status FrameLog::Load(const os::File& file, const format::LogRoot& root) {
  if (root.first > root.end) {
    return MakeError(absl::StatusCode::kDataLoss, EIO,
                     file.name() + ": a log ends before it begins");
  }
  first_ = root.first;
  planned_ = root.end;
  items_.clear();
  frames_.clear();
  std::vector<format::LogFrame> chain;
  uint64_t end = root.end;
  for (Entry at = root.tail; !at.empty();) {
    std::array<std::byte, kPageSize> bytes;
    COW_RETURN_IF_ERROR(file.Read(OffsetOf(at.frame()), bytes));
    if (FrameChecksum(at.frame(), at.birth(), bytes) != at.checksum()) {
      return MakeError(absl::StatusCode::kDataLoss, EIO,
                       file.name() + absl::StrFormat(": frame %d (log): checksum does not match",
                                                     at.frame().value()));
    }
    COW_ASSIGN_OR_RETURN(format::LogFrame log_frame, format::DecodeLogFrame(bytes));
    // No frame is empty and each ends where the next begins; so a chain ends, whatever it says.
    if (log_frame.first + log_frame.items.size() != end) {
      return MakeError(absl::StatusCode::kDataLoss, EIO,
                       file.name() + absl::StrFormat(": frame %d (log): not the one before the "
                                                     "next in its log",
                                                     at.frame().value()));
    }
    frames_.push_front({at, end});
    end = log_frame.first;
    at = log_frame.first <= first_ ? Entry() : log_frame.previous;
    chain.push_back(std::move(log_frame));
  }
  for (auto log_frame = chain.rbegin(); log_frame != chain.rend(); ++log_frame) {
    for (size_t i = 0; i < log_frame->items.size(); ++i) {
      if (log_frame->first + i >= first_) Append(log_frame->items[i], log_frame->generation);
    }
  }
  if (first_ + items_.size() != planned_) {
    return MakeError(absl::StatusCode::kDataLoss, EIO, file.name() + ": a log lacks items");
  }
  return absl::OkStatus();
}

uint64_t FrameLog::FramesToPlan() const {
  const uint64_t end = first_ + items_.size();
  return (end - std::max(first_, planned_) + kItemsPerLogFrame - 1) / kItemsPerLogFrame;
}

absl::StatusOr<format::LogRoot> FrameLog::Plan(Generation generation, Allocator& allocator,
                                               std::vector<PlannedWrite>& writes) {
  const uint64_t end = first_ + items_.size();
  planned_ = std::max(first_, planned_);
  while (planned_ < end) {
    uint64_t unreserved = 0;
    COW_ASSIGN_OR_RETURN(FrameRun run, allocator.Allocate(1, FrameUse::kLog, unreserved));
    format::LogFrame log_frame;
    log_frame.generation = generation;
    log_frame.first = planned_;
    if (!frames_.empty()) log_frame.previous = frames_.back().entry;
    const uint64_t count = std::min<uint64_t>(end - planned_, kItemsPerLogFrame);
    for (uint64_t i = 0; i < count; ++i) {
      log_frame.items.push_back(items_[planned_ - first_ + i].entry);
    }
    auto bytes = std::make_shared<std::array<std::byte, kPageSize>>(EncodeLogFrame(log_frame));
    const Entry entry(run.frame, generation, FrameChecksum(run.frame, generation, *bytes), 0,
                      /*table=*/false);
    writes.push_back({run.frame, bytes});
    planned_ += count;
    frames_.push_back({entry, planned_});
  }
  while (!frames_.empty() && frames_.front().end <= first_) {
    consumed_.push_back(frames_.front().entry.frame());
    frames_.pop_front();
  }
  format::LogRoot root;
  root.first = first_;
  root.end = end;
  if (!frames_.empty()) root.tail = frames_.back().entry;
  return root;
}

std::vector<FrameNumber> FrameLog::TakeConsumed() { return std::exchange(consumed_, {}); }

std::vector<FrameNumber> FrameLog::Frames() const {
  std::vector<FrameNumber> frames;
  for (const Frame& frame : frames_) frames.push_back(frame.entry.frame());
  return frames;
}

}  // namespace cow::store
