// Operations on whole pages of a file, wherever they are.
#include <algorithm>
#include <set>
#include <vector>

#include "absl/strings/str_format.h"
#include "cow/base/status.h"
#include "tests/store/workload.h"

namespace cow::test {

absl::Status Workload::WritePages() {
  Reference file;
  if (!Pick(Files(true, false, false), file)) return absl::OkStatus();
  const uint64_t whole = HeadOf(file).content->size() / kPageSize;
  if (whole == 0) return absl::OkStatus();
  std::set<PageNumber> chosen;
  for (uint64_t i = random_.Below(16) + 1; i > 0; --i) {
    // Most of them where there is something.
    const uint64_t below =
        random_.OneIn(4) ? whole : std::min(whole, options_.max_size / kPageSize);
    chosen.insert(PageNumber(random_.Below(below)));
  }
  const std::vector<PageNumber> pages(chosen.begin(), chosen.end());
  const std::vector<std::byte> bytes = random_.Bytes(pages.size() * kPageSize);
  Note(absl::StrFormat("write %d pages of %d/%d, from %d on", pages.size(), file.place, file.number,
                       pages[0].value()));
  COW_ASSIGN_OR_RETURN(store::Transaction transaction, store_->Begin(store::FramesToWrite(pages)));
  COW_ASSIGN_OR_RETURN(auto object, Open(file));
  COW_RETURN_IF_ERROR(object->WritePages(transaction, pages, bytes));
  auto content = std::make_shared<Image>(*HeadOf(file).content);
  for (size_t i = 0; i < pages.size(); ++i) {
    content->Write(OffsetOf(pages[i]), std::span(bytes).subspan(i * kPageSize, kPageSize));
  }
  HeadOf(file).content = content;
  return absl::OkStatus();
}

// What others share is moved too: that asks for no commit, which may be under way.
absl::Status Workload::Defragment() {
  Reference file;
  if (!Pick(Files(true, false, false), file)) return absl::OkStatus();
  // As it waits for none, it needs room.
  const uint64_t pages = PagesFor(options_.max_size + options_.max_write);
  if (store_->space().available_frames < 2 * pages + 200) return absl::OkStatus();
  Note(absl::StrFormat("defragment %d/%d", file.place, file.number));
  COW_ASSIGN_OR_RETURN(auto object, Open(file));
  return store_
      ->Defragment(*object, PageNumber(0), PageNumber((pages / 256 + 1) * 256), /*unshare=*/true)
      .status();
}

}  // namespace cow::test
