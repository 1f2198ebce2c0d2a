#include "cow/vm/layout.h"

#include <random>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/seed.h"

namespace cow::vm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Extent Pages(uint64_t page, uint64_t frame, uint64_t count) {
  return {PageNumber(page), FrameNumber(frame), count};
}

TEST(LayoutTest, AVersionOfHolesIsOneMap) {
  const Layout layout = PlanLayout({}, 1000, 8);
  EXPECT_THAT(layout.bound, IsEmpty());
  EXPECT_EQ(layout.maps, 1u);
}

TEST(LayoutTest, JoinsExtentsThatGoOnInPagesAndFrames) {
  const std::vector<Extent> extents = {Pages(0, 10, 5), Pages(5, 15, 5), Pages(10, 99, 5)};
  const Layout layout = PlanLayout(extents, 15, 8);
  EXPECT_THAT(layout.bound, ElementsAre(Pages(0, 10, 10), Pages(10, 99, 5)));
  EXPECT_EQ(layout.maps, 2u);
  EXPECT_EQ(layout.copied_pages, 0u);
}

TEST(LayoutTest, CopiesTheChunksThatSaveMost) {
  std::vector<Extent> extents = {Pages(0, 1000, 512)};
  // The second chunk is in a hundred extents, the third is whole.
  for (uint64_t i = 0; i < 100; ++i) extents.push_back(Pages(512 + 2 * i, 5000 + 7 * i, 1));
  extents.push_back(Pages(1024, 2000, 512));
  const Layout layout = PlanLayout(extents, 1536, 10);
  EXPECT_THAT(layout.bound, ElementsAre(Pages(0, 1000, 512), Pages(1024, 2000, 512)));
  EXPECT_EQ(layout.copied.size(), 100u);
  EXPECT_EQ(layout.copied_pages, 100u);
  EXPECT_EQ(layout.maps, 3u);
}

TEST(LayoutTest, AlwaysFitsAndLosesNoPage) {
  std::mt19937_64 random(test::Seed(1));
  for (int round = 0; round < 200; ++round) {
    const uint64_t pages = 1 + random() % 5000;
    std::vector<Extent> extents;
    for (uint64_t page = random() % 50; page < pages;) {
      const uint64_t count = std::min(1 + random() % (random() % 4 == 0 ? 1500 : 3), pages - page);
      extents.push_back(Pages(page, 1 + random() % 100000, count));
      page += count + random() % 3;
    }
    const uint64_t limit = 1 + random() % 300;
    const Layout layout = PlanLayout(extents, pages, limit);
    EXPECT_LE(layout.maps, limit);

    std::set<std::pair<PageNumber, FrameNumber>> expected;
    std::set<std::pair<PageNumber, FrameNumber>> planned;
    const auto add = [](auto& set, std::span<const Extent> from) {
      for (const Extent& extent : from) {
        for (uint64_t i = 0; i < extent.count; ++i) set.emplace(extent.page + i, extent.frame + i);
      }
    };
    add(expected, extents);
    add(planned, layout.bound);
    const size_t bound = planned.size();
    add(planned, layout.copied);
    EXPECT_EQ(planned, expected);
    EXPECT_EQ(layout.copied_pages, expected.size() - bound);
  }
}

TEST(MapAccountTest, MappingsShareTheirQuarterAndAlwaysGetAHandful) {
  const uint64_t free = MapAccount::Available();
  MapAccount::Add(free);
  EXPECT_LT(MapAccount::Available(), free);
  MapAccount::Add(free * 100);
  EXPECT_EQ(MapAccount::Available(), 8u);
  MapAccount::Subtract(free * 101);
  EXPECT_EQ(MapAccount::Available(), free);
}

}  // namespace
}  // namespace cow::vm
