#include "cow/vm/page_set.h"

#include <cstdint>
#include <random>
#include <set>

#include "gtest/gtest.h"
#include "tests/support/seed.h"

namespace cow::vm {
namespace {

TEST(PageSetTest, AgreesWithASetOfNumbers) {
  std::mt19937_64 random(test::Seed(1));
  PageSet pages;
  std::set<uint64_t> model;
  for (int step = 0; step < 3000; ++step) {
    const uint64_t page = random() % 3000;
    const uint64_t count = random() % (random() % 10 == 0 ? 2000 : 5);
    switch (random() % 3) {
      case 0:
        pages.Add(PageNumber(page), count);
        for (uint64_t i = page; i < page + count; ++i) model.insert(i);
        break;
      case 1:
        pages.Remove(PageNumber(page), count);
        model.erase(model.lower_bound(page), model.lower_bound(page + count));
        break;
      default:
        ASSERT_EQ(pages.ContainsAny(PageNumber(page), count),
                  model.lower_bound(page) != model.lower_bound(page + count))
            << page << ", " << count << " in step " << step;
    }
  }
}

}  // namespace
}  // namespace cow::vm
