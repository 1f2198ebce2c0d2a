// Frames whose content is known to be what its checksum says: verified, or written, since the
// volume was opened. One bit each; thread safe.
//
// "Known good" holds for what the page cache has. Should the kernel drop a page and read it again
// from a disk that rotted meanwhile, the bit does not notice until the next open.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "cow/base/types.h"

namespace cow::store {

class GoodFrames {
 public:
  GoodFrames() : chunks_(static_cast<ChunkSlot*>(std::calloc(kChunks, sizeof(ChunkSlot)))) {}
  GoodFrames(const GoodFrames&) = delete;
  GoodFrames& operator=(const GoodFrames&) = delete;
  ~GoodFrames() {
    for (uint64_t i = 0; i <= highest_; ++i) delete chunks_[i].load();
    std::free(chunks_);
  }

  bool Contains(FrameNumber frame) const {
    const Chunk* chunk = chunks_[frame.value() / kChunkFrames].load(std::memory_order_acquire);
    if (chunk == nullptr) return false;
    const uint64_t bit = frame.value() % kChunkFrames;
    return ((*chunk)[bit / 64].load(std::memory_order_relaxed) >> (bit % 64) & 1) != 0;
  }

  void Insert(FrameNumber frame) {
    const uint64_t bit = frame.value() % kChunkFrames;
    (*ChunkOf(frame))[bit / 64].fetch_or(uint64_t{1} << (bit % 64), std::memory_order_relaxed);
  }

  void Erase(FrameNumber frame) {
    const uint64_t bit = frame.value() % kChunkFrames;
    (*ChunkOf(frame))[bit / 64].fetch_and(~(uint64_t{1} << (bit % 64)), std::memory_order_relaxed);
  }

  // Nothing is known any more.
  void Clear() {
    for (uint64_t i = 0; i <= highest_; ++i) {
      Chunk* chunk = chunks_[i].load(std::memory_order_acquire);
      if (chunk == nullptr) continue;
      for (std::atomic<uint64_t>& bits : *chunk) bits.store(0, std::memory_order_relaxed);
    }
  }

 private:
  static constexpr uint64_t kChunkFrames = uint64_t{1} << 18;
  static constexpr uint64_t kChunks = (uint64_t{1} << 40) / kChunkFrames;
  using Chunk = std::array<std::atomic<uint64_t>, kChunkFrames / 64>;
  using ChunkSlot = std::atomic<Chunk*>;

  Chunk* ChunkOf(FrameNumber frame) {
    const uint64_t index = frame.value() / kChunkFrames;
    Chunk* chunk = chunks_[index].load(std::memory_order_acquire);
    if (chunk != nullptr) return chunk;
    auto fresh = std::make_unique<Chunk>();
    if (!chunks_[index].compare_exchange_strong(chunk, fresh.get())) return chunk;
    uint64_t highest = highest_.load();
    while (highest < index && !highest_.compare_exchange_weak(highest, index)) {
    }
    return fresh.release();
  }

  // Reserved at once, but only what is touched takes memory.
  ChunkSlot* const chunks_;
  std::atomic<uint64_t> highest_ = 0;
};

}  // namespace cow::store
