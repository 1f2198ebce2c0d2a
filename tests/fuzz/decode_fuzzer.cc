// Everything that is decoded from bytes somebody else may have written: the frames of a volume, the
// names' pages and records, and the messages of cowctl. The first byte says which; the rest are the
// bytes. What decodes and is encoded again must decode to the same.
#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cow/control/message.h"
#include "cow/format/log_frame.h"
#include "cow/format/superblock.h"
#include "cow/fs/directory_page.h"
#include "cow/fs/inode.h"
#include "cow/fs/xattrs.h"
#include "cow/store/node_cache.h"
#include "tests/fuzz/fuzz.h"
#include "tests/store/fake_file.h"

namespace cow::fuzz {
namespace {

using Frame = std::array<std::byte, kPageSize>;

// What is missing of a frame is zero.
Frame FrameOf(std::span<const std::byte> bytes) {
  Frame frame = {};
  std::copy_n(bytes.begin(), std::min(bytes.size(), frame.size()), frame.begin());
  return frame;
}

std::string_view TextOf(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void DecodeSuperblock(std::span<const std::byte> bytes) {
  const FrameNumber frame(0);
  const auto decoded = format::DecodeSuperblock(FrameOf(bytes), frame);
  if (!decoded.ok()) return;
  const Frame encoded = format::EncodeSuperblock(*decoded, frame);
  const auto again = format::DecodeSuperblock(encoded, frame);
  Require(again.ok() && format::EncodeSuperblock(*again, frame) == encoded);
}

void DecodeLogFrame(std::span<const std::byte> bytes) {
  const auto decoded = format::DecodeLogFrame(FrameOf(bytes));
  if (!decoded.ok()) return;
  const Frame encoded = format::EncodeLogFrame(*decoded);
  const auto again = format::DecodeLogFrame(encoded);
  Require(again.ok() && format::EncodeLogFrame(*again) == encoded);
}

// As a node of each level, of a file and of a table: what is handed out has children of one kind.
void DecodeNode(std::span<const std::byte> bytes) {
  constexpr FrameNumber kFrame(600);
  auto disk = std::make_shared<test::Disk>();
  test::MemoryFile file(disk);
  Require(file.Write(OffsetOf(kFrame), FrameOf(bytes)).ok());
  for (const bool table : {false, true}) {
    for (uint8_t level = table ? 0 : 1; level <= format::kMaxLevel; ++level) {
      store::NodeCache nodes(file, 1 << 20);
      const auto node = nodes.Get(format::Entry(kFrame, Generation(9), 0, level, table));
      if (!node.ok()) continue;
      if (level == 0) {
        for (const format::Record& record : (*node)->content.records) {
          Require(!record.used() || record.root.empty() ||
                  record.root.level() <= format::kMaxLevel);
        }
        continue;
      }
      for (const format::Entry& child : (*node)->content.entries) {
        Require(child.empty() || (child.level() + 1 == level && child.table() == table));
      }
    }
  }
}

void DecodeDirectoryPage(uint64_t number, std::span<const std::byte> bytes) {
  const Frame frame = FrameOf(bytes);
  const auto decoded = fs::DirectoryPage::Decode(number, TextOf(frame));
  if (!decoded.ok()) return;
  fs::DirectoryPage page = *decoded;
  Require(page.fits());
  const std::string encoded = page.Encode();
  const auto again = fs::DirectoryPage::Decode(number, encoded);
  Require(again.ok() && again->Encode() == encoded);
  for (const fs::IndexEntry& entry : page.entries) {
    Require(page.entries[page.FirstAt(entry.position)].position == entry.position);
  }
  for (const fs::IndexChild& child : page.children) {
    Require(page.ChildFor(child.first) < page.children.size());
  }
  const size_t count = page.entries.size() + page.children.size();
  if (count < 2) return;
  fs::DirectoryPage right(number + 1, page.level());
  page.SplitInto(right);
  Require(!page.empty() && !right.empty());
  Require(page.entries.size() + page.children.size() + right.entries.size() +
              right.children.size() ==
          count);
}

template <typename Record>
void DecodeRecord(std::span<const std::byte> bytes) {
  // No object has more of them.
  const auto decoded =
      Record::Decode(TextOf(bytes.first(std::min(bytes.size(), store::kMaxAttributes))));
  if (!decoded.ok()) return;
  const std::string encoded = decoded->Encode();
  Require(encoded.size() <= store::kMaxAttributes);
  const auto again = Record::Decode(encoded);
  Require(again.ok() && again->Encode() == encoded);
}

void DecodeXattrs(std::span<const std::byte> bytes) {
  const auto decoded = fs::DecodeXattrs(TextOf(bytes));
  if (!decoded.ok()) return;
  const auto again = fs::DecodeXattrs(fs::EncodeXattrs(*decoded));
  Require(again.ok() && *again == *decoded);
}

void DecodeRequest(std::span<const std::byte> bytes) {
  const auto decoded = control::DecodeRequest(bytes);
  if (!decoded.ok()) return;
  control::Message message;
  Require(control::EncodeRequest(*decoded, message.bytes).ok());
  const auto again = control::DecodeRequest(message.bytes);
  Require(again.ok() && *again == *decoded);
}

void DecodeReply(std::span<const std::byte> bytes) {
  const auto decoded = control::DecodeReply(bytes);
  if (!decoded.ok()) return;
  control::Message message;
  control::EncodeReply(*decoded, message.bytes);
  Require(control::DecodeReply(message.bytes).ok());
}

void Decode(const uint8_t* data, size_t size) {
  Input input(data, size);
  const uint8_t what = input.Take<uint8_t>();
  switch (what % 10) {
    case 0:
      return DecodeSuperblock(input.rest());
    case 1:
      return DecodeLogFrame(input.rest());
    case 2:
      return DecodeNode(input.rest());
    case 3:
    case 4:  // page 0 is the root of an index
      return DecodeDirectoryPage(what % 10 - 3, input.rest());
    case 5:
      return DecodeRecord<fs::InodeRecord>(input.rest());
    case 6:
      return DecodeRecord<fs::TreeRecord>(input.rest());
    case 7:
      return DecodeXattrs(input.rest());
    case 8:
      return DecodeRequest(input.rest());
    case 9:
      return DecodeReply(input.rest());
  }
}

}  // namespace
}  // namespace cow::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cow::fuzz::Decode(data, size);
  return 0;
}
