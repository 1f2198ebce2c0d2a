#include "cow/move/copier.h"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/base/types.h"

namespace cow::move {
namespace {

constexpr uint64_t kChunk = 64 * kPageSize;

absl::Status TooMany() {
  return MakeError(absl::StatusCode::kDataLoss, EIO, "longer than there can be");
}

// All of a short object.
absl::StatusOr<std::string> ReadWhole(const store::Object& object, uint64_t most) {
  if (object.size() > most) return TooMany();
  std::string bytes(object.size(), '\0');
  COW_RETURN_IF_ERROR(object.Read(0, std::as_writable_bytes(std::span(bytes))).status());
  return bytes;
}

}  // namespace

std::string Copier::CauseOf(const absl::Status& status) const {
  std::string cause(status.message());
  if (cause.starts_with(volume_ + ": ")) cause.erase(0, volume_.size() + 2);
  // What follows is what to do about it, which is being done.
  return cause.substr(0, cause.find("; "));
}

absl::Status NoName() {
  return MakeError(absl::StatusCode::kDataLoss, EIO, "no name that can be read leads to it");
}

void Copier::Lose(std::string path, std::string part, const absl::Status& cause) {
  if (path.empty()) path = "/";
  result.losses.push_back(
      {.path = std::move(path), .part = std::move(part), .cause = CauseOf(cause)});
}

void Copier::LoseBytes(const std::string& path, uint64_t begin, uint64_t end,
                       const absl::Status& cause) {
  if (!result.losses.empty()) {
    Loss& last = result.losses.back();
    if (last.path == path && last.end == begin && last.end != 0) {
      last.end = end;
      last.part = absl::StrCat("bytes ", last.begin, " to ", end);
      return;
    }
  }
  Lose(path, absl::StrCat("bytes ", begin, " to ", end), cause);
  result.losses.back().begin = begin;
  result.losses.back().end = end;
}

void Copier::LoseChanges(const std::string& path, const std::string& part,
                         const absl::Status& cause) {
  Lose(path, absl::StrCat("what changed in the last commit", part.empty() ? "" : " of ", part),
       cause);
}

void Copier::LoseAlso(size_t first, size_t end, const std::string& path) {
  for (; first < end; ++first) {
    Loss loss = result.losses[first];
    loss.path = path;
    result.losses.push_back(std::move(loss));
  }
}

absl::StatusOr<Outcome> Copier::Made(const absl::Status& status, const Place& place) {
  if (status.ok()) return Outcome::kCopied;
  if (HostIsOut(status)) return status;
  if (NameIsRefused(status)) {
    Lose(place.path, "its name", status);
    return Outcome::kRefused;
  }
  Lose(place.path, "", status);
  return Outcome::kLost;
}

absl::Status Copier::Kept(const absl::Status& status, const Place& place, const std::string& part) {
  if (status.ok()) return status;
  if (HostIsOut(status)) return Annotate(status, place.host);
  Lose(place.path, part, status);
  return absl::OkStatus();
}

absl::StatusOr<Outcome> Copier::Copy(const store::Object& object, const fs::InodeRecord& record,
                                     const XattrsObject& xattrs, const Place& place,
                                     const OpenBefore& before) {
  Outcome outcome = Outcome::kLost;
  switch (record.type) {
    case fs::FileType::kRegular: {
      COW_ASSIGN_OR_RETURN(outcome, CopyFile(object, place, before));
      break;
    }
    case fs::FileType::kSymlink: {
      COW_ASSIGN_OR_RETURN(outcome, CopyLink(object, record, place));
      break;
    }
    default: {
      COW_ASSIGN_OR_RETURN(outcome, Made(MakeSpecial(record, place.host), place));
    }
  }
  if (outcome == Outcome::kCopied) COW_RETURN_IF_ERROR(Finish(record, xattrs, place));
  return outcome;
}

absl::StatusOr<Outcome> Copier::CopyDirectory(const Place& place) {
  return Made(MakeDirectory(place.host), place);
}

absl::Status Copier::Finish(const fs::InodeRecord& record, const XattrsObject& xattrs,
                            const Place& place) {
  COW_RETURN_IF_ERROR(Kept(SetOwner(record, place.host), place, "owner"));
  CopyXattrs(record, xattrs, place);
  return Kept(SetModeAndTimes(record, place.host), place, "mode or times");
}

absl::StatusOr<bool> Copier::CopyHardLink(const std::string& existing, const Place& place) {
  const absl::Status linked = MakeHardLink(existing, place.host);
  if (linked.ok() || !HostIsOut(linked)) return linked.ok();
  return linked;
}

absl::StatusOr<Outcome> Copier::CopyFile(const store::Object& object, const Place& place,
                                         const OpenBefore& before) {
  absl::StatusOr<NewFile> file = NewFile::Create(place.host);
  if (!file.ok()) return Made(file.status(), place);
  const uint64_t size = object.size();
  if (absl::Status sized = file->Resize(size); !sized.ok()) {
    if (HostIsOut(sized)) return Annotate(sized, place.host);
    LoseBytes(place.path, 0, size, sized);
    return Outcome::kCopied;
  }
  absl::Status host;
  std::optional<std::shared_ptr<store::Object>> older;
  COW_RETURN_IF_ERROR(
      object.Survey([&](uint64_t first, uint64_t count, const absl::Status& status) {
        const uint64_t begin = OffsetOf(PageNumber(first));
        const uint64_t end = std::min(size, OffsetOf(PageNumber(first + count)));
        if (begin >= size) return true;
        if (status.ok()) {
          host = CopyRange(object, *file, begin, end, place);
        } else {
          if (!older.has_value()) older = before ? before() : nullptr;
          host = CopyFromBefore(older->get(), *file, begin, end, status, place);
        }
        return host.ok();
      }));
  if (!host.ok()) return Annotate(host, place.host);
  return Outcome::kCopied;
}

absl::Status Copier::CopyFromBefore(const store::Object* before, NewFile& file, uint64_t begin,
                                    uint64_t end, const absl::Status& cause, const Place& place) {
  struct Run {
    uint64_t begin;
    uint64_t end;
    absl::Status status;
  };
  std::vector<Run> runs;
  if (before != nullptr && !before->is_tree()) {
    COW_RETURN_IF_ERROR(
        before->Survey([&](uint64_t first, uint64_t count, const absl::Status& status) {
          const uint64_t from = std::max(begin, OffsetOf(PageNumber(first)));
          const uint64_t to = std::min({end, before->size(), OffsetOf(PageNumber(first + count))});
          if (from < to) runs.push_back({from, to, status});
          return to < end;
        }));
  }
  const auto holds = [](const Run& run) { return run.status.ok(); };
  if (std::ranges::none_of(runs, holds)) {
    LoseBytes(place.path, begin, end, cause);
    return absl::OkStatus();
  }
  LoseChanges(place.path, absl::StrCat("bytes ", begin, " to ", end), cause);
  for (const Run& run : runs) {
    if (run.status.ok()) {
      COW_RETURN_IF_ERROR(CopyRange(*before, file, run.begin, run.end, place));
    } else {
      LoseBytes(place.path, run.begin, run.end, run.status);
    }
  }
  return absl::OkStatus();
}

absl::Status Copier::CopyRange(const store::Object& object, NewFile& file, uint64_t begin,
                               uint64_t end, const Place& place) {
  buffer_.resize(kChunk);
  uint64_t careful = begin;  // up to here page by page: to lose no more than what cannot be read
  for (uint64_t at = begin; at < end;) {
    const uint64_t length = std::min(at < careful ? kPageSize : kChunk, end - at);
    const auto bytes = std::span(buffer_).first(length);
    const absl::Status read = object.Read(at, bytes).status();
    if (!read.ok() && length > kPageSize) {
      careful = at + length;
      continue;
    }
    if (read.ok()) {
      COW_RETURN_IF_ERROR(file.Write(at, bytes));
      result.bytes += length;
      Tell();
    } else {
      LoseBytes(place.path, at, at + length, read);
    }
    at += length;
  }
  return absl::OkStatus();
}

absl::StatusOr<Outcome> Copier::CopyLink(const store::Object& object, const fs::InodeRecord& record,
                                         const Place& place) {
  absl::StatusOr<std::string> target = record.inlined;
  if (record.inline_kind != fs::InodeRecord::Inline::kLink) {
    target = ReadWhole(object, fs::kMaxLink);
  }
  if (target.ok()) return Made(MakeLink(*target, place.host), place);
  Lose(place.path, "", target.status());
  return Outcome::kLost;
}

void Copier::CopyXattrs(const fs::InodeRecord& record, const XattrsObject& xattrs,
                        const Place& place) {
  const auto load = [&]() -> absl::StatusOr<fs::Xattrs> {
    if (record.inline_kind == fs::InodeRecord::Inline::kXattrs) {
      return fs::DecodeXattrs(record.inlined);
    }
    if (record.xattrs == 0) return fs::Xattrs();
    COW_RETURN_IF_ERROR(xattrs.status());
    COW_ASSIGN_OR_RETURN(const std::string bytes, ReadWhole(**xattrs, fs::kMaxXattrTotal));
    return fs::DecodeXattrs(bytes);
  };
  const absl::StatusOr<fs::Xattrs> loaded = load();
  if (!loaded.ok()) {
    Lose(place.path, "extended attributes", loaded.status());
    return;
  }
  for (const auto& [name, value] : *loaded) {
    // A host that has no room for an attribute of one file has room for others.
    if (absl::Status set = SetXattr(place.host, name, value); !set.ok()) {
      Lose(place.path, absl::StrCat("extended attribute ", name), set);
    }
  }
}

}  // namespace cow::move
