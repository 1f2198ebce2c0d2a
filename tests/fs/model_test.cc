// Random operations, each against the model; now and then everything is compared, the volume is
// opened anew and checked.
#include "tests/fs/model.h"

#include <algorithm>
#include <random>

#include "cow/fs/catalog.h"
#include "tests/fs/volume.h"
#include "tests/support/seed.h"

namespace cow::fs {
namespace {

class ModelTest : public testing::Test {
 protected:
  void Run(uint64_t seed, int steps) {
    random_.seed(seed);
    trees_[1];
    trees_[volume_.MakeTree("tree").id.tree];
    for (int step = 0; step < steps && !HasFailure(); ++step) {
      SCOPED_TRACE("step " + std::to_string(step));
      Step();
      if (step % 500 == 499) {
        if (step % 1000 == 999) volume_.Reopen();
        Compare();
        EXPECT_THAT(volume_.Damages(), testing::IsEmpty());
      }
    }
  }

 private:
  // A snapshot as it must stay.
  struct ModelSnapshot {
    Owner owner;
    std::string name;
    ModelTree tree = {};
    ModelNode file = {};
  };

  uint64_t Pick(uint64_t end) { return random_() % end; }
  std::string Name() { return "n" + std::to_string(Pick(9)) + (Pick(12) == 0 ? "@s1" : ""); }
  NodeId Id(uint64_t object) const { return {tree_, object}; }
  ModelTree& Tree() { return trees_.at(tree_); }
  uint64_t PickDirectory() {
    const auto numbers = Tree().Select(true);
    return numbers[Pick(numbers.size())];
  }
  uint64_t PickFile() {
    const auto numbers = Tree().Select(false);
    return numbers.empty() ? 0 : numbers[Pick(numbers.size())];
  }

  // Where a name resolves to a snapshot, only the filesystem knows it.
  bool Reserved(uint64_t directory, const std::string& name) {
    return name.find('@') != std::string::npos && Tree().Find(directory, name) == 0 &&
           volume_->Lookup(Id(directory), name).ok();
  }

  void Step() {
    tree_ = std::next(trees_.begin(), static_cast<long>(Pick(trees_.size())))->first;
    switch (Pick(20)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return Make();
      case 4:
      case 5:
      case 6:
        return Write();
      case 7:
        return Link();
      case 8:
      case 9:
        return Remove();
      case 10:
      case 11:
      case 12:
      case 13:
        return Rename();
      case 14:
        return SetXattr();
      case 15:
        return TakeSnapshot();
      case 16:
        return DestroySnapshot();
      case 17:
        return RollBack();
      case 18:
        return Clone();
      default:
        return Copy();
    }
  }

  void Make() {
    const uint64_t directory = PickDirectory();
    const std::string name = Name();
    const int kind = static_cast<int>(Pick(4));
    ModelNode node;
    NewNode request = {.type = FileType::kRegular, .mode = 0644};
    if (kind == 0 && Tree().nodes.size() < 60) {
      request.type = node.type = FileType::kDirectory;
      node.nlink = 2;
    } else if (kind == 1) {
      request.type = node.type = FileType::kSymlink;
      request.target = node.content = std::string(1 + Pick(200), 't');
    }
    const int expected = Reserved(directory, name) ? EEXIST : Tree().CanMake(directory, name);
    auto made = volume_->Make(Id(directory), name, request);
    ASSERT_EQ(ErrnoOf(made.status()), expected) << made.status();
    if (made.ok()) Tree().Make(directory, name, made->id.object, node);
  }

  void Write() {
    const uint64_t number = PickFile();
    if (number == 0) return;
    std::string& content = Tree().nodes.at(number).content;
    FileHandle handle = volume_->OpenFile(Id(number)).value();
    if (Pick(3) == 0) {
      const uint64_t size = Pick(30000);
      ASSERT_EQ(handle.Truncate(size), absl::OkStatus());
      content.resize(size);
      return;
    }
    const std::string bytes(1 + Pick(9000), static_cast<char>('a' + Pick(26)));
    const uint64_t offset = Pick(20000);
    ASSERT_EQ(handle.Write(offset, std::as_bytes(std::span(bytes))), absl::OkStatus());
    content.resize(std::max<size_t>(content.size(), offset + bytes.size()));
    content.replace(offset, bytes.size(), bytes);
  }

  void Link() {
    const uint64_t number = PickFile();
    if (number == 0) return;
    const uint64_t directory = PickDirectory();
    const std::string name = Name();
    const bool reserved = Reserved(directory, name);
    const int result = ErrnoOf(volume_->Link(Id(number), Id(directory), name).status());
    ASSERT_EQ(result, reserved ? EEXIST : Tree().Link(number, directory, name));
  }

  void Remove() {
    const uint64_t directory = PickDirectory();
    const std::string name = Name();
    const bool reserved = Reserved(directory, name);
    if (Pick(3) == 0) {
      const int result = ErrnoOf(volume_->RemoveDirectory(Id(directory), name));
      ASSERT_EQ(result, reserved ? EROFS : Tree().RemoveDirectory(directory, name));
    } else {
      const int result = ErrnoOf(volume_->Unlink(Id(directory), name));
      ASSERT_EQ(result, reserved ? EROFS : Tree().Unlink(directory, name));
    }
  }

  void Rename() {
    const uint64_t from = PickDirectory();
    const uint64_t to = PickDirectory();
    const std::string name = Name();
    const std::string new_name = Name();
    const bool no_source = Reserved(from, name);
    const bool reserved = Reserved(to, new_name);
    const RenameMode mode = Pick(4) == 0   ? RenameMode::kExchange
                            : Pick(4) == 0 ? RenameMode::kNoReplace
                                           : RenameMode::kReplace;
    const int result = ErrnoOf(volume_->Rename(Id(from), name, Id(to), new_name, mode));
    int expected = 0;
    if (no_source) {
      expected = EROFS;
    } else if (mode == RenameMode::kExchange) {
      expected = Tree().Exchange(from, name, to, new_name);
    } else if (reserved && Tree().Find(from, name) != 0) {
      expected = EEXIST;
    } else {
      expected = Tree().Rename(from, name, to, new_name, mode == RenameMode::kNoReplace);
    }
    ASSERT_EQ(result, expected) << name << " to " << new_name;
  }

  void SetXattr() {
    const uint64_t number = PickFile();
    if (number == 0) return;
    const std::string name = "user." + std::to_string(Pick(3));
    auto& xattrs = Tree().nodes.at(number).xattrs;
    if (Pick(3) == 0) {
      const int expected = xattrs.erase(name) > 0 ? 0 : ENODATA;
      ASSERT_EQ(ErrnoOf(volume_->RemoveXattr(Id(number), name)), expected);
      return;
    }
    const std::string value(Pick(4) == 0 ? Pick(9000) : Pick(60), 'v');
    ASSERT_EQ(volume_->SetXattr(Id(number), name, value), absl::OkStatus());
    xattrs[name] = value;
  }

  bool PickOwner(Owner& owner) {
    owner = {tree_, 0};
    if (Pick(3) != 0) owner.object = PickFile();
    return owner.object != 0 || Pick(2) == 0;
  }
  NodeId HeadOf(Owner owner) const { return {owner.tree, owner.is_tree() ? 1 : owner.object}; }
  ModelSnapshot Capture(Owner owner, std::string name) {
    ModelSnapshot snapshot = {.owner = owner, .name = std::move(name)};
    if (owner.is_tree()) {
      snapshot.tree = Tree();
    } else {
      snapshot.file = Tree().nodes.at(owner.object);
    }
    return snapshot;
  }

  void TakeSnapshot() {
    Owner owner;
    if (!PickOwner(owner)) return;
    const std::string name = "s" + std::to_string(Pick(4));
    const bool taken = std::ranges::any_of(snapshots_, [&](const auto& item) {
      return item.second.owner == owner && item.second.name == name;
    });
    // Of several names the filesystem knows one.
    const auto path = volume_->PathOf(HeadOf(owner));
    const auto shown = volume_->Resolve(path.value_or("") + "@" + name);
    const bool hidden = path.ok() && shown.ok() && !shown->id.in_snapshot();
    auto result = volume_->TakeSnapshot(HeadOf(owner), name);
    ASSERT_EQ(ErrnoOf(result.status()), taken || hidden ? EEXIST : 0) << result.status();
    if (result.ok()) snapshots_[result->number] = Capture(owner, name);
  }

  auto PickSnapshot() {
    return std::next(snapshots_.begin(), static_cast<long>(Pick(snapshots_.size())));
  }
  void DestroySnapshot() {
    if (snapshots_.empty()) return;
    const auto it = PickSnapshot();
    if (Pick(2) == 0) {
      auto renamed = volume_->RenameSnapshot(it->first, "renamed" + std::to_string(it->first));
      ASSERT_TRUE(renamed.ok()) << renamed.status();
      it->second.name = renamed->name;
      return;
    }
    ASSERT_EQ(volume_->DestroySnapshot(it->first), absl::OkStatus());
    snapshots_.erase(it);
  }

  void RollBack() {
    if (snapshots_.empty() || Pick(2) == 0) return;
    const auto it = PickSnapshot();
    const ModelSnapshot to = it->second;
    tree_ = to.owner.tree;
    const bool alive = to.owner.is_tree() || Tree().nodes.contains(to.owner.object);
    auto kept = volume_->RollBack(it->first);
    ASSERT_EQ(ErrnoOf(kept.status()), alive ? 0 : ENOENT) << kept.status();
    if (!alive) return;
    snapshots_[kept->number] = Capture(to.owner, kept->name);
    if (to.owner.is_tree()) {
      Tree() = to.tree;
    } else {
      ModelNode& node = Tree().nodes.at(to.owner.object);
      node.content = to.file.content;
      node.xattrs = to.file.xattrs;
    }
  }

  void Clone() {
    const uint64_t directory = PickDirectory();
    const std::string name = Name();
    ModelNode node;
    NodeId source;
    if (Pick(2) == 0) {
      if (snapshots_.empty()) return;
      const auto it = PickSnapshot();
      if (it->second.owner.is_tree()) return;
      node = it->second.file;
      source = {NodeId::kSnapshot | it->first, it->second.owner.object};
    } else {
      const uint64_t number = PickFile();
      if (number == 0) return;
      node = Tree().nodes.at(number);
      source = Id(number);
    }
    const int expected = Reserved(directory, name) ? EEXIST : Tree().CanMake(directory, name);
    auto cloned = volume_->Clone(source, Id(directory), name);
    ASSERT_EQ(ErrnoOf(cloned.status()), expected) << cloned.status();
    if (!cloned.ok()) return;
    node.nlink = 1;
    Tree().Make(directory, name, cloned->id.object, node);
  }

  void Copy() {
    const uint64_t from = PickFile();
    const uint64_t to = PickFile();
    if (from == to) return;
    FileHandle source = volume_->OpenFile(Id(from)).value();
    FileHandle target = volume_->OpenFile(Id(to)).value();
    ASSERT_EQ(volume_->CloneWhole(source, target), absl::OkStatus());
    Tree().nodes.at(to).content = Tree().nodes.at(from).content;
  }

  // ---- Comparing ----

  void CompareNode(NodeId id, const ModelNode& node, bool links) {
    auto attributes = volume_->GetAttributes(id);
    ASSERT_TRUE(attributes.ok()) << attributes.status();
    ASSERT_EQ(attributes->type, node.type);
    if (node.type == FileType::kRegular) {
      ASSERT_EQ(volume_.Read(id), node.content);
    } else if (node.type == FileType::kSymlink) {
      ASSERT_EQ(volume_->ReadLink(id).value(), node.content);
    }
    if (links) {
      ASSERT_EQ(attributes->nlink, node.nlink);
    }
    std::map<std::string, std::string> xattrs;
    const std::vector<std::string> names = volume_->ListXattrs(id).value();
    for (const std::string& name : names) {
      xattrs[name] = volume_->GetXattr(id, name).value();
    }
    ASSERT_EQ(xattrs, node.xattrs);
  }

  void CompareTree(uint64_t tree, const ModelTree& model) {
    for (const auto& [number, node] : model.nodes) {
      SCOPED_TRACE("object " + std::to_string(number));
      // The nested tree is not in the model.
      const bool root = tree == 1 && number == 1;
      ModelNode expected = node;
      if (root) ++expected.nlink;
      CompareNode({tree, number}, expected, (tree & NodeId::kSnapshot) == 0);
      if (!node.is_directory()) continue;
      std::map<std::string, uint64_t> entries;
      ASSERT_EQ(volume_->ReadDirectory({tree, number}, 0,
                                       [&](const DirectoryEntry& entry) {
                                         if (entry.name != "tree") {
                                           entries[entry.name] = entry.id.object;
                                         }
                                         return true;
                                       }),
                absl::OkStatus());
      ASSERT_EQ(entries, node.entries);
    }
  }

  void Compare() {
    for (const auto& [number, tree] : trees_) {
      SCOPED_TRACE("tree " + std::to_string(number));
      CompareTree(number, tree);
    }
    const auto infos = volume_.Snapshots();
    ASSERT_EQ(infos.size(), snapshots_.size());
    for (const SnapshotInfo& info : infos) {
      SCOPED_TRACE("snapshot " + std::to_string(info.number) + " " + info.path + "@" + info.name);
      ASSERT_TRUE(snapshots_.contains(info.number));
      const ModelSnapshot& model = snapshots_.at(info.number);
      ASSERT_EQ(info.name, model.name);
      ASSERT_EQ(info.owner, HeadOf(model.owner));
      const ModelTree& tree = trees_.at(model.owner.tree);
      const bool alive = model.owner.is_tree() || tree.nodes.contains(model.owner.object);
      ASSERT_EQ(info.removed, !alive);
      auto found = volume_->FindSnapshot(info.path, info.name);
      ASSERT_TRUE(found.ok()) << found.status();
      ASSERT_EQ(found->number, info.number);
      if (model.owner.is_tree()) {
        CompareTree(info.node.tree, model.tree);
      } else {
        CompareNode(info.node, model.file, false);
      }
    }
  }

  TestVolume volume_;
  std::mt19937_64 random_;
  std::map<uint64_t, ModelTree> trees_;
  std::map<uint64_t, ModelSnapshot> snapshots_;
  uint64_t tree_ = 1;
};

TEST_F(ModelTest, RandomOperationsMatchTheModel) { Run(test::Seed(4), 12000); }

}  // namespace
}  // namespace cow::fs
