#include "cow/fs/state.h"

#include <sys/stat.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <vector>

#include "cow/base/status.h"
#include "cow/fs/bytes.h"

namespace cow::fs {
namespace {

// The catalog's first object is its index.
constexpr ObjectNumber kCatalogIndex(1);
// Tables of snapshots that are kept open.
constexpr size_t kMaxTables = 256;

}  // namespace

uint64_t InodeNumber(NodeId id) {
  const uint64_t tree = id.tree & ~(NodeId::kSnapshot | NodeId::kVirtual);
  const uint64_t object = id.object & ~NodeId::kStub;
  if (id == kRoot) return 1;
  const uint64_t flags = (id.in_snapshot() ? uint64_t{1} << 63 : 0) |
                         (id.is_virtual() || id.is_stub() ? uint64_t{1} << 62 : 0);
  if (tree < (uint64_t{1} << 21) - 1 && object < uint64_t{1} << 40) {
    // Tree 1 plainly; its object 0 does not exist.
    return flags | (id.tree == 1 ? 0 : tree + 1) << 40 | object;
  }
  // splitmix64, with bit 61 set: apart from all of the above.
  uint64_t mixed = tree * 0x9e3779b97f4a7c15 + object;
  mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
  return flags | uint64_t{1} << 61 | (mixed & ((uint64_t{1} << 61) - 1));
}

mode_t TypeBits(FileType type) {
  switch (type) {
    case FileType::kDirectory:
      return S_IFDIR;
    case FileType::kSymlink:
      return S_IFLNK;
    case FileType::kCharacterDevice:
      return S_IFCHR;
    case FileType::kBlockDevice:
      return S_IFBLK;
    case FileType::kFifo:
      return S_IFIFO;
    case FileType::kSocket:
      return S_IFSOCK;
    case FileType::kRegular:
      break;
  }
  return S_IFREG;
}

absl::Status NotFound(std::string_view what) {
  return MakeError(absl::StatusCode::kNotFound, ENOENT, what);
}

absl::Status ReadOnlyNode() {
  return MakeError(absl::StatusCode::kFailedPrecondition, EROFS,
                   "a snapshot cannot be changed; clone it");
}

State::State(std::shared_ptr<store::Store> store, const OpenOptions& options)
    : State(std::move(store), nullptr, options) {}

State::State(std::shared_ptr<store::Store> store, std::shared_ptr<store::PinnedGeneration> pinned,
             const OpenOptions& options)
    : store(std::move(store)), options(options), pinned_(std::move(pinned)) {}

absl::Status State::Format(const CreateOptions& create) {
  {
    COW_ASSIGN_OR_RETURN(store::Transaction transaction, store->Begin(4 * store::kFramesToChange));
    COW_RETURN_IF_ERROR(store->catalog().Create(transaction).status());
    TreeRecord tree;
    tree.created = Now();
    COW_ASSIGN_OR_RETURN(auto object, store->CreateTree(transaction, tree.Encode()));
    COW_ASSIGN_OR_RETURN(auto table, store->OpenTree(object));
    InodeRecord root;
    root.type = FileType::kDirectory;
    root.mode = create.mode & 07777;
    root.uid = create.uid;
    root.gid = create.gid;
    root.nlink = 2;
    root.atime = root.mtime = root.ctime = root.btime = tree.created;
    COW_ASSIGN_OR_RETURN(auto directory, table->Create(transaction, root.Encode()));
    if (object->number().value() != kRoot.tree || directory->number().value() != kRoot.object) {
      return absl::InternalError("the first tree is not number 1");
    }
  }
  COW_RETURN_IF_ERROR(store->Commit());
  return Load();
}

absl::Status State::Load() {
  COW_ASSIGN_OR_RETURN(auto index, versions().Open(kCatalogIndex));
  catalog_ = std::make_unique<Catalog>(std::move(index), SeedOf(0, 0));
  return GetInode(kRoot).status();
}

timespec State::Now() const {
  if (options.clock) return options.clock();
  timespec now = {};
  clock_gettime(CLOCK_REALTIME, &now);
  return now;
}

Index::Seed State::SeedOf(uint64_t tree, uint64_t object) const {
  // Different in each directory of each volume; so nobody can prepare names that collide.
  Index::Seed seed = std::bit_cast<Index::Seed>(store->uuid());
  seed[0] ^= tree * 0x9e3779b97f4a7c15;
  seed[1] ^= object * 0xbf58476d1ce4e5b9;
  return seed;
}

absl::StatusOr<std::shared_ptr<store::Object>> State::TreeObject(uint64_t tree) {
  if ((tree & NodeId::kSnapshot) != 0) {
    return versions().Open(ObjectNumber(tree & ~NodeId::kSnapshot));
  }
  return trees().Open(ObjectNumber(tree));
}

absl::StatusOr<std::shared_ptr<store::Table>> State::TableOf(uint64_t tree) {
  {
    absl::MutexLock lock(&cache_mu_);
    if (auto it = tables_.find(tree); it != tables_.end()) return it->second;
  }
  COW_ASSIGN_OR_RETURN(auto object, TreeObject(tree));
  COW_ASSIGN_OR_RETURN(auto table, store->OpenTree(object));
  absl::MutexLock lock(&cache_mu_);
  if (tables_.size() >= kMaxTables) tables_.clear();
  tables_[tree] = table;
  return table;
}

absl::StatusOr<TreeRecord> State::LoadTree(uint64_t tree) {
  COW_ASSIGN_OR_RETURN(auto object, TreeObject(tree));
  return TreeRecord::Decode(object->attributes());
}

void State::Forget(uint64_t tree) {
  absl::MutexLock lock(&cache_mu_);
  tables_.erase(tree);
}

void State::ForgetRemoved(uint64_t tree) {
  absl::MutexLock lock(&cache_mu_);
  absl::erase_if(inodes_, [tree](const auto& item) {
    if (item.first.tree != tree) return false;
    const std::shared_ptr<Inode> inode = item.second.lock();
    if (inode == nullptr) return true;
    absl::StatusOr<InodeRecord> record = inode->Load();
    return record.ok() && record->nlink == 0;
  });
}

absl::StatusOr<std::shared_ptr<Inode>> State::GetInode(NodeId id) {
  if (id.is_virtual() || id.is_stub()) return NotFound("not an inode");
  {
    absl::MutexLock lock(&cache_mu_);
    if (auto it = inodes_.find(id); it != inodes_.end()) {
      if (auto inode = it->second.lock(); inode != nullptr) return inode;
    }
  }
  std::shared_ptr<store::Object> object;
  if (id.in_snapshot()) {
    if (ObjectNumber(id.snapshot()) == kCatalogIndex) return NotFound("no such snapshot");
    COW_ASSIGN_OR_RETURN(object, TreeObject(id.tree));
  }
  if (object == nullptr || object->is_tree()) {
    COW_ASSIGN_OR_RETURN(auto table, TableOf(id.tree));
    COW_ASSIGN_OR_RETURN(object, table->Open(ObjectNumber(id.object)));
  }
  return Adopt(id, std::move(object));
}

std::shared_ptr<Inode> State::Adopt(NodeId id, std::shared_ptr<store::Object> object) {
  absl::MutexLock lock(&cache_mu_);
  std::weak_ptr<Inode>& known = inodes_[id];
  if (auto inode = known.lock(); inode != nullptr) return inode;
  auto inode = std::make_shared<Inode>(id, std::move(object));
  known = inode;
  // Those that nobody has any more go when the map would grow: amortised O(1).
  if (inodes_.size() >= 64 && inodes_.size() == inodes_.capacity() - inodes_.capacity() / 8) {
    absl::erase_if(inodes_, [](const auto& item) { return item.second.expired(); });
  }
  return inode;
}

absl::StatusOr<std::shared_ptr<Inode>> State::GetLive(NodeId id) {
  if (id.in_snapshot() || id.is_virtual() || id.is_stub()) return ReadOnlyNode();
  return GetInode(id);
}

absl::StatusOr<std::shared_ptr<Inode>> State::GetLiveDirectory(NodeId id) {
  COW_ASSIGN_OR_RETURN(auto inode, GetLive(id));
  COW_ASSIGN_OR_RETURN(InodeRecord record, inode->Load());
  if (!record.is_directory()) {
    return MakeError(absl::StatusCode::kInvalidArgument, ENOTDIR, "not a directory");
  }
  if (record.nlink == 0) return NotFound("the directory was removed");
  return inode;
}

absl::Status State::Change(store::Transaction& transaction, Inode& inode,
                           const std::function<void(InodeRecord&)>& change) {
  absl::MutexLock lock(&inode.mu);
  COW_ASSIGN_OR_RETURN(InodeRecord record, inode.Load());
  change(record);
  return inode.object->SetAttributes(transaction, record.Encode());
}

absl::StatusOr<Attributes> State::AttributesOf(const Inode& inode) {
  COW_ASSIGN_OR_RETURN(InodeRecord record, inode.Load());
  Attributes attributes;
  attributes.type = record.type;
  attributes.mode = record.mode;
  attributes.uid = record.uid;
  attributes.gid = record.gid;
  attributes.nlink = record.nlink;
  attributes.rdev = record.rdev;
  attributes.size = record.inline_kind == InodeRecord::Inline::kLink ? record.inlined.size()
                                                                     : inode.object->size();
  attributes.blocks = inode.object->allocated_pages() * (kPageSize / 512);
  attributes.atime = record.atime;
  attributes.mtime = record.mtime;
  attributes.ctime = record.ctime;
  attributes.btime = record.btime;
  attributes.tree_root = record.is_directory() && inode.id.object == kRootObject;
  return attributes;
}

absl::StatusOr<Node> State::NodeOf(NodeId id) {
  if (!id.is_virtual() && !id.is_stub()) {
    COW_ASSIGN_OR_RETURN(auto inode, GetInode(id));
    COW_ASSIGN_OR_RETURN(Attributes attributes, AttributesOf(*inode));
    return Node{id, attributes};
  }
  COW_ASSIGN_OR_RETURN(auto root, GetInode(kRoot));
  COW_ASSIGN_OR_RETURN(Attributes attributes, AttributesOf(*root));
  attributes.mode = 0555;
  attributes.nlink = 2;
  attributes.size = 0;
  attributes.blocks = 0;
  attributes.atime = attributes.mtime = attributes.ctime = attributes.btime;
  attributes.tree_root = false;
  return Node{id, attributes};
}

}  // namespace cow::fs
