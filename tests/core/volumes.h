// What the tests of the public interface have in common.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cow/base/status.h"
#include "cow/volume.h"
#include "tests/support/temporary_directory.h"

namespace cow {

using Bytes = std::vector<std::byte>;

inline std::span<const std::byte> AsBytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// All that a file or a snapshot reads as.
template <typename Readable>
std::string TextOf(const Readable& readable) {
  std::string text(readable.size(), '\0');
  const absl::StatusOr<size_t> count =
      readable.Read(0, std::as_writable_bytes(std::span(text.data(), text.size())));
  if (!count.ok()) return count.status().ToString();
  text.resize(*count);
  return text;
}

inline std::string TextOf(const Mapping& mapping) {
  return std::string(reinterpret_cast<const char*>(mapping.bytes().data()), mapping.size());
}

// Whether two contents are the same; where they differ, without printing all of them.
inline testing::AssertionResult Same(std::string_view found, std::string_view expected) {
  if (found == expected) return testing::AssertionSuccess();
  const size_t common = std::min(found.size(), expected.size());
  const auto [at, other] =
      std::ranges::mismatch(found.substr(0, common), expected.substr(0, common));
  return testing::AssertionFailure()
         << found.size() << " bytes instead of " << expected.size() << ", different from byte "
         << at - found.begin() << " on: \"" << found.substr(at - found.begin(), 40) << "\"";
}

// A new file with this content.
inline File MakeFile(Volume& volume, std::string_view path, std::string_view text) {
  File file = volume.CreateFile(path).value();
  EXPECT_EQ(file.Write(0, AsBytes(text)), absl::OkStatus());
  return file;
}

inline void Store(const Mapping& mapping, size_t offset, std::string_view text) {
  std::ranges::copy(AsBytes(text), mapping.bytes().begin() + static_cast<ptrdiff_t>(offset));
}

// "before, after" of entries of snapshots.
inline std::vector<std::string> NamesOf(const std::vector<Entry>& entries) {
  std::vector<std::string> names;
  for (const Entry& entry : entries) {
    names.push_back(entry.snapshot.empty() ? entry.path : entry.path + "@" + entry.snapshot);
  }
  return names;
}

// What OK values have in common with errors: errno 0.
inline int ErrnoIn(const absl::Status& status) { return ErrnoOf(status); }
template <typename T>
int ErrnoIn(const absl::StatusOr<T>& result) {
  return ErrnoOf(result.status());
}

// Fails the test where a check of the volume finds damage.
inline void ExpectSound(Volume& volume) {
  const absl::StatusOr<CheckResult> result = volume.Check();
  ASSERT_EQ(result.status(), absl::OkStatus());
  for (const Damage& damage : result->damages) ADD_FAILURE() << damage.where << ": " << damage.what;
}

// Each test runs on a file and in memory.
class EachVolume : public testing::TestWithParam<bool> {
 protected:
  bool in_memory() const { return GetParam(); }
  std::string path() const { return directory_ / "volume.cow"; }

  const test::TemporaryDirectory directory_;
  Volume volume_ =
      (in_memory() ? Volume::InMemory() : Volume::Open(path(), {.create = true})).value();
};

}  // namespace cow

#define COW_EACH_VOLUME(suite)         \
  INSTANTIATE_TEST_SUITE_P(            \
      Volumes, suite, testing::Bool(), \
      [](const testing::TestParamInfo<bool>& info) { return info.param ? "InMemory" : "OnFile"; })
