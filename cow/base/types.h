// The units of the system. Pages, frames, objects and generations are counted in types of their
// own, so that adding a byte count to a page number does not compile.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace cow {

// Size of a page and of a frame, in bytes.
inline constexpr uint64_t kPageSize = 4096;
inline constexpr uint64_t kPageShift = 12;

// A number of one kind: comparable, hashable, steppable by a plain count; never mixed with another.
template <typename Tag>
class Number {
 public:
  constexpr Number() = default;
  explicit constexpr Number(uint64_t value) : value_(value) {}

  constexpr uint64_t value() const { return value_; }

  friend constexpr auto operator<=>(Number, Number) = default;
  friend constexpr Number operator+(Number a, uint64_t count) { return Number(a.value_ + count); }
  friend constexpr Number operator-(Number a, uint64_t count) { return Number(a.value_ - count); }
  friend constexpr uint64_t operator-(Number a, Number b) { return a.value_ - b.value_; }
  constexpr Number& operator+=(uint64_t count) {
    value_ += count;
    return *this;
  }
  constexpr Number& operator++() {
    ++value_;
    return *this;
  }

  template <typename H>
  friend H AbslHashValue(H h, Number n) {
    return H::combine(std::move(h), n.value_);
  }

 private:
  uint64_t value_ = 0;
};

// 4 KiB unit of a file.
using PageNumber = Number<struct PageTag>;
// 4 KiB unit of the volume file. Frame 0 holds a superblock, so 0 also stands for "none".
using FrameNumber = Number<struct FrameTag>;
// A file, a directory or a link within its table; never reused.
using ObjectNumber = Number<struct ObjectTag>;
// Advances at each commit and each time a version is handed out.
using Generation = Number<struct GenerationTag>;

// The page that holds byte `offset`.
constexpr PageNumber PageOf(uint64_t offset) { return PageNumber(offset >> kPageShift); }
// Offset of the first byte of a page in its file, and of a frame in the volume file.
constexpr uint64_t OffsetOf(PageNumber page) { return page.value() << kPageShift; }
constexpr uint64_t OffsetOf(FrameNumber frame) { return frame.value() << kPageShift; }
// Pages needed to hold `bytes`.
constexpr uint64_t PagesFor(uint64_t bytes) { return (bytes + kPageSize - 1) >> kPageShift; }

}  // namespace cow
