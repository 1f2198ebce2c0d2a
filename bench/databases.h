// LMDB and SQLite as rivals in durable overwrites, each as far as it was there at the build.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace bench {

// Overwrites page `page` with `bytes` and returns when that is durable. Called by several threads
// at once, each with its own number, counted from 0.
using DurableWrite = std::function<void(int thread, uint64_t page, std::span<const std::byte>)>;

struct Rival {
  std::string name;
  DurableWrite write;
};

// Databases in `folder` with `pages` values of `page_bytes` bytes each. They close, and remove
// their files, with the last copy of the rival. Says on stderr which are left out.
std::vector<Rival> OpenDatabases(const std::string& folder, uint64_t pages, size_t page_bytes,
                                 int threads);

}  // namespace bench
