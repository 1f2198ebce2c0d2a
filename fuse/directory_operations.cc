// Listing directories, with and without attributes.
#include <cerrno>
#include <string>
#include <vector>

#include "cow/base/status.h"
#include "fuse/operations.h"

namespace cow::fuse {
namespace {

// Offsets of the entries that the filesystem does not list; its own cookies are larger.
constexpr off_t kAfterSelf = 1;
constexpr off_t kAfterParent = 2;

// A reply under construction: entries as long as they fit.
class Listing {
 public:
  Listing(fuse_req_t request, fs::NodeId directory, size_t size, bool with_attributes)
      : request_(request),
        server_(ServerOf(request)),
        directory_(directory),
        with_attributes_(with_attributes),
        buffer_(size) {}

  // False when it did not fit.
  bool AddPlain(const char* name, fs::NodeId id, mode_t type, off_t next) {
    fuse_entry_param entry = {};  // number 0: the kernel enters nothing
    entry.attr.st_ino = fs::InodeNumber(id);
    entry.attr.st_mode = type;
    return Put(name, entry, next);
  }

  bool Add(const fs::DirectoryEntry& found) {
    const auto next = static_cast<off_t>(found.cookie);
    const bool guarded = directory_ == fs::kDeletedDirectory;
    if (with_attributes_ || guarded) {
      const absl::StatusOr<fs::Attributes> attributes = server_.fs.GetAttributes(found.id);
      const uid_t user = fuse_req_ctx(request_)->uid;
      if (guarded && (!attributes.ok() || !Sees(user, directory_, *attributes))) return true;
      if (attributes.ok() && with_attributes_) {
        const fuse_entry_param entry =
            EntryOf(server_, directory_, {.id = found.id, .attributes = *attributes});
        const bool fits = Put(found.name.c_str(), entry, next);
        if (fits) {
          referred_.push_back(entry.ino);
        } else {
          server_.nodes.Forget(entry.ino, 1);
        }
        return fits;
      }
    }
    return AddPlain(found.name.c_str(), found.id, fs::TypeBits(found.type), next);
  }

  void Reply(const absl::Status& status) {
    // What came before an error is an answer; the error comes again with the next request.
    if (!status.ok() && used_ == 0) return ReplyStatus(request_, status);
    if (fuse_reply_buf(request_, buffer_.data(), used_) == 0) return;
    for (const uint64_t number : referred_) server_.nodes.Forget(number, 1);
  }

 private:
  bool Put(const char* name, const fuse_entry_param& entry, off_t next) {
    char* const place = buffer_.data() + used_;
    const size_t room = buffer_.size() - used_;
    const size_t size = with_attributes_
                            ? fuse_add_direntry_plus(request_, place, room, name, &entry, next)
                            : fuse_add_direntry(request_, place, room, name, &entry.attr, next);
    if (size > room) return false;
    used_ += size;
    return true;
  }

  fuse_req_t request_;
  Server& server_;
  const fs::NodeId directory_;
  const bool with_attributes_;
  std::vector<char> buffer_;
  size_t used_ = 0;
  std::vector<uint64_t> referred_;
};

void List(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, bool with_attributes) {
  const std::optional<fs::NodeId> directory = NodeOf(request, number);
  if (!directory) return;
  Server& server = ServerOf(request);
  Listing listing(request, *directory, size, with_attributes);
  if (offset < kAfterSelf) {
    if (!listing.AddPlain(".", *directory, S_IFDIR, kAfterSelf)) {
      return listing.Reply(absl::OkStatus());
    }
    offset = kAfterSelf;
  }
  if (offset < kAfterParent) {
    const absl::StatusOr<fs::NodeId> parent = server.fs.Parent(*directory);
    if (!listing.AddPlain("..", parent.value_or(*directory), S_IFDIR, kAfterParent)) {
      return listing.Reply(absl::OkStatus());
    }
    offset = kAfterParent;
  }
  const uint64_t cookie = offset == kAfterParent ? 0 : static_cast<uint64_t>(offset);
  listing.Reply(server.fs.ReadDirectory(
      *directory, cookie, [&](const fs::DirectoryEntry& entry) { return listing.Add(entry); }));
}

void Open(fuse_req_t request, fuse_ino_t number, fuse_file_info* info) {
  const std::optional<fs::NodeId> directory = NodeOf(request, number);
  if (!directory) return;
  // What a directory of a snapshot lists never changes.
  if (directory->in_snapshot()) info->cache_readdir = info->keep_cache = 1;
  fuse_reply_open(request, info);
}

void Read(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, fuse_file_info*) {
  List(request, number, size, offset, false);
}

void ReadWithAttributes(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset,
                        fuse_file_info*) {
  List(request, number, size, offset, true);
}

void Sync(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) {
  ReplyStatus(request, ServerOf(request).fs.Sync());
}

}  // namespace

void AddDirectoryOperations(fuse_lowlevel_ops& operations) {
  operations.opendir = Open;
  operations.readdir = Read;
  operations.readdirplus = ReadWithAttributes;
  operations.fsyncdir = Sync;
}

}  // namespace cow::fuse
