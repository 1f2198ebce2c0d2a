#include "cow/fs/index.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <utility>

#include "cow/fs/bytes.h"

namespace cow::fs {
namespace {

constexpr uint64_t kEnd = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kOrdinals = 256;
// A page smaller than this is joined with one beside it where both fit easily.
constexpr size_t kSmallPage = kPageSize / 4;
constexpr size_t kJoinedPage = kPageSize * 3 / 4;

}  // namespace

absl::StatusOr<Index> Index::Open(store::Object& object, const Seed& seed) {
  if (object.size() == 0) {
    DirectoryPage root(0, 0);
    root.root.seed = seed;
    return Index(object, std::move(root));
  }
  std::string bytes(kPageSize, '\0');
  COW_RETURN_IF_ERROR(object.Read(0, std::as_writable_bytes(std::span(bytes))).status());
  COW_ASSIGN_OR_RETURN(DirectoryPage root, DirectoryPage::Decode(0, bytes));
  return Index(object, std::move(root));
}

uint64_t Index::Place(uint64_t hash) {
  return std::max<uint64_t>((hash >> 1) & ~(kOrdinals - 1), kOrdinals);
}

uint64_t Index::Place(uint64_t group, uint64_t member) {
  return std::max<uint64_t>(group >> 33 << 32 | (member >> 32 & ~(kOrdinals - 1)), kOrdinals);
}

std::pair<uint64_t, uint64_t> Index::GroupRange(uint64_t group) {
  const uint64_t begin = group >> 33 << 32;
  return {begin, begin + (uint64_t{1} << 32)};
}

absl::StatusOr<DirectoryPage> Index::ReadPage(uint64_t number, uint8_t level) const {
  if (number == 0 || number >= root_.root.pages) return Malformed("directory page out of range");
  std::string bytes(kPageSize, '\0');
  COW_RETURN_IF_ERROR(
      object_.Read(number * kPageSize, std::as_writable_bytes(std::span(bytes))).status());
  COW_ASSIGN_OR_RETURN(DirectoryPage page, DirectoryPage::Decode(number, bytes));
  if (page.level() != level) return Malformed("directory page of the wrong level");
  // Only the root may be: who joins pages counts on it.
  if (page.empty()) return Malformed("empty directory page");
  return page;
}

absl::Status Index::WritePage(store::Transaction& transaction, const DirectoryPage& page) {
  const std::string bytes = page.Encode();
  return object_.Write(transaction, page.number() * kPageSize,
                       std::as_bytes(std::span(bytes.data(), bytes.size())));
}

absl::StatusOr<Index::Path> Index::Descend(uint64_t position, uint64_t& end) const {
  Path path;
  path.push_back({root_});
  end = kEnd;
  while (path.back().page.level() > 0) {
    Step& step = path.back();
    if (step.page.empty()) return Malformed("directory page without children");
    step.child = step.page.ChildFor(position);
    if (step.child + 1 < step.page.children.size()) {
      end = step.page.children[step.child + 1].first;
    }
    COW_ASSIGN_OR_RETURN(
        DirectoryPage below,
        ReadPage(step.page.children[step.child].page, static_cast<uint8_t>(step.page.level() - 1)));
    path.push_back({std::move(below)});
  }
  return path;
}

absl::Status Index::Scan(uint64_t position,
                         const std::function<bool(const IndexEntry&)>& entry) const {
  for (;;) {
    uint64_t end = kEnd;
    COW_ASSIGN_OR_RETURN(Path path, Descend(position, end));
    const DirectoryPage& leaf = path.back().page;
    for (size_t i = leaf.FirstAt(position); i < leaf.entries.size(); ++i) {
      if (!entry(leaf.entries[i])) return absl::OkStatus();
    }
    if (end == kEnd) return absl::OkStatus();
    position = end;
  }
}

absl::StatusOr<std::optional<IndexEntry>> Index::Find(uint64_t place, std::string_view key) const {
  std::optional<IndexEntry> found;
  COW_RETURN_IF_ERROR(Scan(place, [&](const IndexEntry& entry) {
    if (entry.position >= place + kOrdinals) return false;
    if (entry.key == key) found = entry;
    return !found.has_value();
  }));
  return found;
}

absl::StatusOr<std::optional<IndexEntry>> Index::At(uint64_t position) const {
  std::optional<IndexEntry> found;
  COW_RETURN_IF_ERROR(Scan(position, [&](const IndexEntry& entry) {
    if (entry.position == position) found = entry;
    return false;
  }));
  return found;
}

absl::StatusOr<uint64_t> Index::Insert(store::Transaction& transaction, uint64_t place,
                                       std::string_view key, std::string_view value) {
  if (key.size() + value.size() > kMaxEntryBytes) {
    return MakeError(absl::StatusCode::kInvalidArgument, ENAMETOOLONG, "name too long");
  }
  uint64_t position = place;
  COW_RETURN_IF_ERROR(Scan(place, [&](const IndexEntry& entry) {
    if (entry.position != position) return false;
    ++position;
    return true;
  }));
  if (position >= place + kOrdinals) {
    return MakeError(absl::StatusCode::kResourceExhausted, ENOSPC, "too many names of one hash");
  }
  uint64_t end = kEnd;
  COW_ASSIGN_OR_RETURN(Path path, Descend(position, end));
  DirectoryPage& leaf = path.back().page;
  leaf.entries.insert(leaf.entries.begin() + leaf.FirstAt(position),
                      {position, std::string(key), std::string(value)});
  COW_RETURN_IF_ERROR(WriteGrown(transaction, path));
  return position;
}

absl::Status Index::Update(store::Transaction& transaction, uint64_t position,
                           std::string_view value) {
  uint64_t end = kEnd;
  COW_ASSIGN_OR_RETURN(Path path, Descend(position, end));
  DirectoryPage& leaf = path.back().page;
  const size_t at = leaf.FirstAt(position);
  if (at == leaf.entries.size() || leaf.entries[at].position != position ||
      leaf.entries[at].key.size() + value.size() > kMaxEntryBytes) {
    return absl::InternalError("no such entry to update");
  }
  leaf.entries[at].value = std::string(value);
  return WriteGrown(transaction, path);
}

absl::Status Index::Erase(store::Transaction& transaction, uint64_t position) {
  uint64_t end = kEnd;
  COW_ASSIGN_OR_RETURN(Path path, Descend(position, end));
  DirectoryPage& leaf = path.back().page;
  const size_t at = leaf.FirstAt(position);
  if (at == leaf.entries.size() || leaf.entries[at].position != position) {
    return absl::InternalError("no such entry to erase");
  }
  leaf.entries.erase(leaf.entries.begin() + at);
  return WriteShrunk(transaction, path);
}

absl::Status Index::WriteGrown(store::Transaction& transaction, Path& path) {
  const IndexRoot before = root_.root;
  while (!path.back().page.fits()) {
    if (path.size() == 1) COW_RETURN_IF_ERROR(GrowRoot(path));
    DirectoryPage& page = path.back().page;
    COW_ASSIGN_OR_RETURN(const uint64_t number, NewPage());
    DirectoryPage right(number, page.level());
    const uint64_t first = page.SplitInto(right);
    COW_RETURN_IF_ERROR(WritePage(transaction, page));
    COW_RETURN_IF_ERROR(WritePage(transaction, right));
    path.pop_back();
    Step& above = path.back();
    above.page.children.insert(above.page.children.begin() + above.child + 1, {first, number});
  }
  const bool at_root = path.size() == 1;
  if (at_root) {
    const IndexRoot known = root_.root;
    root_ = std::move(path.back().page);
    root_.root = known;
    return WritePage(transaction, root_);
  }
  COW_RETURN_IF_ERROR(WritePage(transaction, path.back().page));
  // Pages were taken below the root: its header knows.
  return root_.root.pages == before.pages && root_.root.free_pages == before.free_pages
             ? absl::OkStatus()
             : WritePage(transaction, root_);
}

// The root's content moves to a page of its own, below it.
absl::Status Index::GrowRoot(Path& path) {
  COW_ASSIGN_OR_RETURN(const uint64_t number, NewPage());
  DirectoryPage& root = path.front().page;
  DirectoryPage below(number, root.level());
  below.entries = std::move(root.entries);
  below.children = std::move(root.children);
  root.entries.clear();
  root.children = {{0, number}};
  root.set_level(static_cast<uint8_t>(root.level() + 1));
  path.front().child = 0;
  path.push_back({std::move(below)});
  return absl::OkStatus();
}

absl::Status Index::WriteShrunk(store::Transaction& transaction, Path& path) {
  const IndexRoot before = root_.root;
  while (path.size() > 1) {
    if (path.back().page.empty()) {
      COW_RETURN_IF_ERROR(FreePage(transaction, path.back().page.number()));
      path.pop_back();
      Step& above = path.back();
      above.page.children.erase(above.page.children.begin() + above.child);
      continue;
    }
    bool joined = false;
    if (path.back().page.bytes() < kSmallPage) {
      const size_t child = path[path.size() - 2].child;
      const size_t children = path[path.size() - 2].page.children.size();
      if (child + 1 < children) {
        COW_RETURN_IF_ERROR(JoinWithNext(transaction, path, child, joined));
      } else if (child > 0) {
        COW_RETURN_IF_ERROR(JoinWithNext(transaction, path, child - 1, joined));
      }
    }
    if (!joined) {
      COW_RETURN_IF_ERROR(WritePage(transaction, path.back().page));
      break;
    }
    path.pop_back();
  }
  const bool freed = root_.root.free_pages != before.free_pages;
  if (path.size() > 1 && !freed) return absl::OkStatus();
  const IndexRoot known = root_.root;
  root_ = path.front().page;
  root_.root = known;
  if (!root_.empty()) return WritePage(transaction, root_);
  // Nothing is left: as before the first entry, but for the seed, which cookies depend on.
  root_ = DirectoryPage(0, 0);
  root_.root.seed = known.seed;
  return object_.Truncate(transaction, 0);
}

// Moves what is in child `left` + 1 of the page above the last of `path` to child `left`, where
// both fit, and drops the emptied page from the page above, which is written by the caller.
absl::Status Index::JoinWithNext(store::Transaction& transaction, Path& path, size_t left,
                                 bool& joined) {
  Step& above = path[path.size() - 2];
  DirectoryPage& mine = path.back().page;
  const bool mine_is_left = above.child == left;
  COW_ASSIGN_OR_RETURN(
      DirectoryPage other,
      ReadPage(above.page.children[mine_is_left ? left + 1 : left].page, mine.level()));
  if (mine.bytes() + other.bytes() > kJoinedPage) return absl::OkStatus();
  DirectoryPage& target = mine_is_left ? mine : other;
  DirectoryPage& source = mine_is_left ? other : mine;
  if (source.level() > 0) source.children.front().first = above.page.children[left + 1].first;
  std::move(source.entries.begin(), source.entries.end(), std::back_inserter(target.entries));
  std::move(source.children.begin(), source.children.end(), std::back_inserter(target.children));
  COW_RETURN_IF_ERROR(WritePage(transaction, target));
  COW_RETURN_IF_ERROR(FreePage(transaction, source.number()));
  above.page.children.erase(above.page.children.begin() + left + 1);
  joined = true;
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Index::NewPage() {
  IndexRoot& root = root_.root;
  if (root.free_pages == 0) return root.pages++;
  COW_ASSIGN_OR_RETURN(const uint64_t hole, object_.NextHole(root.first_free * kPageSize));
  const uint64_t number = hole / kPageSize;
  if (number == 0 || number >= root.pages) return Malformed("free directory pages are missing");
  --root.free_pages;
  root.first_free = number + 1;
  return number;
}

absl::Status Index::FreePage(store::Transaction& transaction, uint64_t number) {
  IndexRoot& root = root_.root;
  root.first_free = root.free_pages == 0 ? number : std::min(root.first_free, number);
  ++root.free_pages;
  return object_.Punch(transaction, number * kPageSize, kPageSize);
}

absl::Status Index::CheckPage(const DirectoryPage& page, uint64_t begin, uint64_t end,
                              uint64_t& pages) const {
  ++pages;
  if (page.empty() && !(page.is_root() && page.level() == 0)) return Malformed("empty page");
  if (!page.entries.empty() &&
      (page.entries.front().position < begin || page.entries.back().position >= end)) {
    return Malformed("entry in the wrong page");
  }
  for (size_t i = 0; i < page.children.size(); ++i) {
    const IndexChild& child = page.children[i];
    const uint64_t child_begin = i == 0 ? begin : child.first;
    const uint64_t child_end = i + 1 < page.children.size() ? page.children[i + 1].first : end;
    if (child_begin < begin || child_begin >= child_end || child_end > end) {
      return Malformed("child out of order");
    }
    COW_ASSIGN_OR_RETURN(DirectoryPage below,
                         ReadPage(child.page, static_cast<uint8_t>(page.level() - 1)));
    COW_RETURN_IF_ERROR(CheckPage(below, child_begin, child_end, pages));
  }
  return absl::OkStatus();
}

absl::Status Index::Check() const {
  uint64_t pages = 0;
  COW_RETURN_IF_ERROR(CheckPage(root_, 0, kEnd, pages));
  if (pages + root_.root.free_pages != root_.root.pages) {
    return Malformed("pages of a directory are lost");
  }
  return absl::OkStatus();
}

absl::Status Index::Remains(const store::Object& object,
                            const std::function<void(const IndexEntry&)>& entry,
                            const LostFunction& lost) {
  const uint64_t end = object.size();
  std::string bytes(kPageSize, '\0');
  const auto read = [&](uint64_t number) -> absl::StatusOr<DirectoryPage> {
    COW_RETURN_IF_ERROR(
        object.Read(number * kPageSize, std::as_writable_bytes(std::span(bytes))).status());
    return DirectoryPage::Decode(number, bytes);
  };
  // Pages that are free are holes, so all data is part of the index.
  return object.Survey([&](uint64_t begin, uint64_t count, const absl::Status& status) {
    if (begin * kPageSize >= end) return true;
    if (!status.ok()) {
      lost(begin * kPageSize, std::min(end, (begin + count) * kPageSize), status);
      return true;
    }
    for (uint64_t number = begin; number < begin + count; ++number) {
      const absl::StatusOr<DirectoryPage> page = read(number);
      if (!page.ok()) {
        lost(number * kPageSize, (number + 1) * kPageSize, page.status());
        continue;
      }
      for (const IndexEntry& found : page->entries) entry(found);
    }
    return true;
  });
}

}  // namespace cow::fs
