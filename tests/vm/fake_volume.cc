#include "tests/vm/fake_volume.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "cow/base/status.h"
#include "gtest/gtest.h"

namespace cow::vm {

std::vector<std::byte> PageOfBytes(uint64_t seed) {
  std::vector<std::byte> bytes(kPageSize);
  for (size_t i = 0; i < kPageSize; i += sizeof(seed)) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    std::memcpy(bytes.data() + i, &seed, sizeof(seed));
  }
  return bytes;
}

size_t CountMaps(std::span<const std::byte> bytes) {
  std::ifstream maps("/proc/self/maps");
  size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    const uint64_t start = std::stoull(line, nullptr, 16);
    const auto begin = reinterpret_cast<uint64_t>(bytes.data());
    if (start >= begin && start < begin + bytes.size()) ++count;
  }
  return count;
}

FrameNumber FakeVolume::Write(std::span<const std::byte> bytes, bool apart) {
  if (apart) ++next_frame_;
  const FrameNumber frame(next_frame_++);
  std::vector<std::byte> whole(kPageSize);
  std::copy(bytes.begin(), bytes.end(), whole.begin());
  EXPECT_TRUE(file_->Write(OffsetOf(frame), whole).ok());
  return frame;
}

std::vector<std::byte> FakeVolume::Read(const PageTable& version, PageNumber page) {
  std::vector<std::byte> bytes(kPageSize);
  const auto found = version.find(page);
  if (found != version.end()) {
    EXPECT_TRUE(file_->Read(OffsetOf(found->second), bytes).ok());
  }
  return bytes;
}

absl::StatusOr<std::vector<Extent>> FakeSource::Extents(PageNumber begin, PageNumber end) {
  std::vector<Extent> extents;
  for (auto at = version_.lower_bound(begin); at != version_.end() && at->first < end; ++at) {
    if (!extents.empty() && extents.back().page + extents.back().count == at->first &&
        extents.back().frame + extents.back().count == at->second) {
      ++extents.back().count;
    } else {
      extents.push_back({at->first, at->second, 1});
    }
  }
  return extents;
}

absl::StatusOr<PageNumber> FakeSource::NextData(PageNumber begin) {
  const auto next = version_.lower_bound(begin);
  return next == version_.end() ? PageNumber(UINT64_MAX) : next->first;
}

absl::Status FakeSink::Publish(std::span<const PageNumber> pages,
                               std::span<const std::byte> bytes) {
  for (const PageNumber page : pages) COW_RETURN_IF_ERROR(before(page));
  last_bytes = bytes.size();
  for (const PageNumber page : pages) {
    const size_t count = std::min<size_t>(kPageSize, bytes.size());
    const std::vector<std::byte> old = volume_.Read(head, page);
    if (!ever_published_.insert(page).second &&
        std::equal(old.begin(), old.begin() + static_cast<std::ptrdiff_t>(count), bytes.begin())) {
      ++unchanged_;
    } else {
      published_.push_back(page.value());
    }
    head[page] = volume_.Write(bytes.first(count));
    bytes = bytes.subspan(count);
  }
  return absl::OkStatus();
}

std::vector<uint64_t> FakeSink::TakePublished() { return std::exchange(published_, {}); }

}  // namespace cow::vm
