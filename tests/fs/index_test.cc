#include "cow/fs/index.h"

#include <map>
#include <random>
#include <set>

#include "cow/fs/bytes.h"
#include "cow/fs/hash.h"
#include "tests/fs/volume.h"
#include "tests/support/seed.h"

namespace cow::fs {
namespace {

// An index in an object of its own, beside a map that says what must be in it.
class IndexTest : public testing::Test {
 protected:
  IndexTest() {
    auto transaction = Begin();
    object_ = volume_->store().catalog().Create(transaction).value();
  }

  store::Transaction Begin() { return volume_->store().Begin(kFramesPerIndexChange).value(); }
  Index Open() { return Index::Open(*object_, {1, 2}).value(); }
  uint64_t PlaceOf(const std::string& key) { return Index::Place(SipHash({1, 2}, key)); }

  void Insert(const std::string& key, const std::string& value) {
    InsertAt(PlaceOf(key), key, value);
  }
  void InsertAt(uint64_t place, const std::string& key, const std::string& value) {
    auto transaction = Begin();
    Index index = Open();
    auto position = index.Insert(transaction, place, key, value);
    ASSERT_TRUE(position.ok()) << position.status();
    model_[key] = {*position, value};
  }
  void Erase(const std::string& key) {
    auto transaction = Begin();
    Index index = Open();
    ASSERT_EQ(index.Erase(transaction, model_.at(key).first), absl::OkStatus());
    model_.erase(key);
  }
  void ExpectModel() {
    Index index = Open();
    ASSERT_EQ(index.Check(), absl::OkStatus());
    std::map<std::string, std::pair<uint64_t, std::string>> found;
    ASSERT_EQ(index.Scan(0,
                         [&](const IndexEntry& entry) {
                           found[entry.key] = {entry.position, entry.value};
                           return true;
                         }),
              absl::OkStatus());
    EXPECT_EQ(found, model_);
  }

  TestVolume volume_;
  std::shared_ptr<store::Object> object_;
  std::map<std::string, std::pair<uint64_t, std::string>> model_;
};

TEST_F(IndexTest, RandomInsertsUpdatesAndErasesMatchAMap) {
  std::mt19937_64 random(test::Seed(1));
  for (int step = 0; step < 30000; ++step) {
    const bool growing = step / 6000 % 2 == 0;
    const std::string key =
        std::to_string(random() % 4000) + std::string(random() % 16 == 0 ? 200 : 1, 'k');
    const auto known = model_.find(key);
    if (known == model_.end()) {
      if (growing || random() % 4 == 0) Insert(key, std::string(random() % 60, 'v'));
    } else if (random() % 4 == 0) {
      auto transaction = Begin();
      Index index = Open();
      known->second.second = std::string(random() % 90, 'u');
      ASSERT_EQ(index.Update(transaction, known->second.first, known->second.second),
                absl::OkStatus());
    } else if (!growing || random() % 4 == 0) {
      Erase(key);
    }
    if (step % 3000 == 2999) ExpectModel();
  }
}

TEST_F(IndexTest, ErasingAllGivesAllPagesBack) {
  for (int i = 0; i < 3000; ++i) Insert("name" + std::to_string(i), "value");
  EXPECT_GT(object_->allocated_pages(), 20u);
  // Leaving every tenth joins pages that have become small.
  const uint64_t full = object_->allocated_pages();
  for (int i = 0; i < 3000; ++i) {
    if (i % 10 != 0) Erase("name" + std::to_string(i));
  }
  ExpectModel();
  EXPECT_LT(object_->allocated_pages(), full / 2);
  for (int i = 0; i < 3000; i += 10) Erase("name" + std::to_string(i));
  EXPECT_EQ(object_->size(), 0u);
  EXPECT_EQ(object_->allocated_pages(), 0u);
  Insert("again", "value");
  ExpectModel();
}

TEST_F(IndexTest, KeysOfOneHashAreToldApart) {
  for (int i = 0; i < 256; ++i) InsertAt(512, "key" + std::to_string(i), std::string(40, 'v'));
  Index index = Open();
  for (int i = 0; i < 256; ++i) {
    auto found = index.Find(512, "key" + std::to_string(i));
    ASSERT_TRUE(found.ok() && found->has_value()) << i;
  }
  EXPECT_FALSE((*index.Find(512, "none")).has_value());
  auto transaction = Begin();
  EXPECT_EQ(ErrnoOf(index.Insert(transaction, 512, "one more", "").status()), ENOSPC);
}

TEST_F(IndexTest, AGroupIsOneRange) {
  for (uint64_t group = 0; group < 20; ++group) {
    for (int member = 0; member < 50; ++member) {
      const std::string key = std::to_string(group) + "/" + std::to_string(member);
      InsertAt(Index::Place(SipHash({1, 2}, std::to_string(group)), SipHash({1, 2}, key)), key, "");
    }
  }
  const auto [begin, end] = Index::GroupRange(SipHash({1, 2}, "7"));
  int found = 0;
  ASSERT_EQ(Open().Scan(begin,
                        [&, end = end](const IndexEntry& entry) {
                          if (entry.position < end && entry.key.starts_with("7/")) ++found;
                          return entry.position < end;
                        }),
            absl::OkStatus());
  EXPECT_EQ(found, 50);
}

TEST_F(IndexTest, APageWithoutChildrenThatOthersAreJoinedWithIsAnError) {
  auto transaction = Begin();
  const auto write = [&](const DirectoryPage& page) {
    const std::string bytes = page.Encode();
    ASSERT_EQ(object_->Write(transaction, page.number() * kPageSize,
                             std::as_bytes(std::span(bytes.data(), bytes.size()))),
              absl::OkStatus());
  };
  // Below the root: page 1 with two leaves of one entry each, and page 2 with nothing.
  DirectoryPage root(0, 2);
  root.root.pages = 5;
  root.children = {{0, 1}, {1024, 2}};
  DirectoryPage above(1, 1);
  above.children = {{0, 3}, {512, 4}};
  DirectoryPage first(3, 0);
  first.entries = {{256, "a", "value"}};
  DirectoryPage second(4, 0);
  second.entries = {{512, "b", "value"}};
  for (const DirectoryPage& page : {root, above, DirectoryPage(2, 1), first, second}) write(page);
  Index index = Open();
  const absl::Status erased = index.Erase(transaction, 256);
  EXPECT_TRUE(absl::IsDataLoss(erased)) << erased;
}

TEST(DirectoryPageTest, AnyBytesAreDecodedOrRefused) {
  std::mt19937_64 random(test::Seed(2));
  DirectoryPage page(0, 0);
  for (uint64_t i = 0; i < 40; ++i) page.entries.push_back({256 * (i + 1), "name", "value"});
  const std::string good = page.Encode();
  ASSERT_TRUE(DirectoryPage::Decode(0, good).ok());
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good;
    for (uint64_t flips = 1 + random() % 8; flips > 0; --flips) {
      bytes[random() % 700] = static_cast<char>(random());
    }
    auto decoded = DirectoryPage::Decode(random() % 2, bytes);
    if (!decoded.ok()) ++refused;
  }
  EXPECT_GT(refused, 10000);
}

// The vector of the paper's reference code: key 00 01 .. 0f, message 00 01 .. 0e.
TEST(HashTest, IsSipHash24) {
  std::string message;
  for (char c = 0; c < 15; ++c) message.push_back(c);
  EXPECT_EQ(SipHash({0x0706050403020100, 0x0f0e0d0c0b0a0908}, message), 0xa129ca6149be45e5u);
}

}  // namespace
}  // namespace cow::fs
