// Tables and page tables of a damaged volume to which no node leads any more that can be read.
//
// A node says nothing of itself. It is known by its structure (entries of one kind, or records with
// zero where zero has to be), and believed where something that it names, and that nothing else
// leads to, matches the checksum it gives. Only frames in use are looked at: what the counts say,
// less what is logged as dropped. Of what was dropped lately some may be found all the same.
//
// Memory: a few bits for each frame in use, 24 bytes for each node found.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "cow/format/entry.h"
#include "cow/format/superblock.h"
#include "cow/store/node.h"
#include "cow/store/store.h"

namespace cow::store {

class FrameSet {
 public:
  bool Contains(FrameNumber frame) const {
    const auto word = words_.find(frame.value() / 64);
    return word != words_.end() && (word->second >> frame.value() % 64 & 1) != 0;
  }
  // Whether it was not there yet.
  bool Insert(FrameNumber frame) {
    uint64_t& word = words_[frame.value() / 64];
    const uint64_t bit = uint64_t{1} << frame.value() % 64;
    const bool fresh = (word & bit) == 0;
    word |= bit;
    return fresh;
  }
  void Erase(FrameNumber frame) {
    words_[frame.value() / 64] &= ~(uint64_t{1} << frame.value() % 64);
  }

 private:
  absl::flat_hash_map<uint64_t, uint64_t> words_;
};

class Strays {
 public:
  // One of these: a table, in which objects are numbered from an unknown multiple of what it covers
  // on, or a page table, as an object of all pages up to the last.
  struct Stray {
    FrameNumber frame;
    std::shared_ptr<Table> table = {};
    std::shared_ptr<Object> pages = {};
    // False: of records without content, known by their structure alone.
    bool vouched = false;
  };

  // `store` was opened for reading, and stays open.
  explicit Strays(Store& store);

  // Calls `found` for each, until it answers an error, if any node cannot be read; the largest
  // first, and of like size the youngest. Reads all nodes, and then all frames in use that they do
  // not lead to. `progress` is called now and then.
  absl::Status Find(const std::function<void()>& progress,
                    const std::function<absl::Status(const Stray&)>& found);

  // Whether the content of `object` is none that something else leads to; once for each.
  bool Claim(const Object& object);

 private:
  struct Candidate {
    format::Entry entry;
    Generation youngest;  // of what it names
    bool vouched = false;
  };

  bool Exists(FrameNumber frame) const { return frame.value() < frames_; }
  // Marks all that `roots` lead to; whether all of it could be read.
  bool Reach(std::vector<format::Entry> roots);
  void ReadLogs(const format::Superblock& superblock);
  // How often the frames of a count leaf are referred to, at the most.
  void ReadCounts(uint64_t leaf, const format::Superblock& superblock,
                  std::vector<int64_t>& counts) const;
  void Look(FrameNumber frame);
  // What the content of a frame may be an entry of, and names.
  bool IsPlausible(const format::Entry& entry, uint8_t most_level) const;
  std::optional<Candidate> AsNode(FrameNumber frame, std::vector<format::Entry>& children) const;
  std::optional<Candidate> AsRecords(FrameNumber frame, std::vector<format::Entry>& children) const;
  bool Matches(const format::Entry& child);
  Stray Open(const Candidate& candidate) const;

  Store& store_;
  Core& core_;
  uint64_t frames_ = 0;  // that the file has
  FrameSet reached_;     // or claimed
  FrameSet unread_;      // nodes that cannot be read
  FrameSet free_;
  FrameSet named_;                                     // by a candidate
  absl::flat_hash_map<FrameNumber, int64_t> pending_;  // what the log of counts adds
  std::vector<Candidate> candidates_;
  Node::Content content_;
  Node::Content child_;
};

}  // namespace cow::store
