// A volume with some of everything, and what copies of it have to be.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/fs/volume.h"
#include "tests/move/host_tree.h"

namespace cow::move {

using fs::FileType;
using fs::NodeId;
using fs::TestVolume;

inline std::string Text(size_t size, char letter) {
  std::string text(size, letter);
  for (size_t i = 0; i < size; i += 100) text[i] = static_cast<char>('a' + i / 100 % 26);
  return text;
}

inline std::string LongName(int number) {
  return absl::StrCat("name-", number, std::string(220, '.'));
}

// Some of everything: holes, links of all kinds, extended attributes inside and outside of the
// record, trees in trees, snapshots of files and trees, of what is gone and of what is hidden.
inline void Populate(TestVolume& volume) {
  const NodeId a = volume.MakeFile("a", Text(3 * kPageSize + 100, 'A')).id;
  ASSERT_EQ(volume.Link("a", "also-a"), 0);
  EXPECT_EQ(volume->SetXattr(a, "user.small", "value"), absl::OkStatus());
  EXPECT_EQ(volume->SetXattr(a, "user.big", Text(1500, 'X')), absl::OkStatus());
  const NodeId sparse = volume.MakeFile("sparse", Text(kPageSize, 'S')).id;
  {
    auto handle = volume->OpenFile(sparse);
    const std::string tail = Text(2 * kPageSize, 'T');
    EXPECT_EQ(handle->Write(uint64_t{300} * kPageSize, std::as_bytes(std::span(tail))),
              absl::OkStatus());
    EXPECT_EQ(handle->Truncate(uint64_t{400} * kPageSize), absl::OkStatus());
  }
  volume.Make("link", {.type = FileType::kSymlink, .mode = 0777, .target = "a"});
  volume.Make("long-link",
              {.type = FileType::kSymlink, .mode = 0777, .target = std::string(300, 'l')});
  volume.Make("fifo", {.type = FileType::kFifo, .mode = 0640});
  volume.MakeDirectory("dir");
  for (int i = 0; i < 22; ++i) volume.MakeFile("dir/" + LongName(i), absl::StrCat("file ", i));
  volume.MakeDirectory("dir/sub");
  volume.MakeFile("dir/sub/x", "within");
  volume.MakeTree("t");
  for (int i = 0; i < 20; ++i) volume.MakeFile(absl::StrCat("t/f", i), absl::StrCat("tree ", i));
  volume.MakeTree("t/u");
  volume.MakeFile("t/u/y", "nested");
  volume.MakeFile("gone", "gone but kept");
  volume.MakeDirectory("old");
  volume.MakeFile("old/far", "gone with its directory");
  volume.Snapshot("a", "mon");
  volume.Snapshot("t", "mon");
  volume.Snapshot("t/u", "mon");
  volume.Snapshot("gone", "mon");
  volume.Snapshot("old/far", "mon");
  volume.Snapshot("", "all");
  {
    auto handle = volume->OpenFile(a);
    const std::string changed = Text(10, 'B');
    EXPECT_EQ(handle->Write(kPageSize, std::as_bytes(std::span(changed))), absl::OkStatus());
  }
  volume.Write("t/f3", "changed");
  EXPECT_EQ(volume->SetXattr(a, "user.big", Text(1200, 'Y')), absl::OkStatus());
  volume.Snapshot("a", "tue");
  ASSERT_EQ(volume.Unlink("gone"), 0);
  ASSERT_EQ(volume.Unlink("old/far"), 0);
  ASSERT_EQ(volume.RemoveDirectory("old"), 0);
  volume.MakeFile("gone", "another");
  volume.Snapshot("gone", "mon");  // hides that of the first
}

// What a copy of `id` and all below it has to be.
inline void Expect(TestVolume& volume, NodeId id, const std::string& path, HostTree& tree,
                   std::map<NodeId, std::string>& first_names) {
  auto attributes = volume->GetAttributes(id);
  // The place of a nested tree is a directory like the one it is in.
  if (id.is_stub()) {
    HostEntry stub = tree[path.substr(0, path.rfind('/'))];
    stub.xattrs.clear();
    tree[path] = stub;
    return;
  }
  ASSERT_TRUE(attributes.ok()) << path << ": " << attributes.status();
  HostEntry entry{.mode = fs::TypeBits(attributes->type) | attributes->mode,
                  .uid = geteuid() == 0 ? attributes->uid : geteuid(),
                  .mtime = attributes->mtime.tv_sec};
  if (attributes->type == FileType::kRegular) entry.content = volume.Read(id);
  if (attributes->type == FileType::kSymlink) entry.content = volume->ReadLink(id).value();
  const auto names = volume->ListXattrs(id);
  ASSERT_TRUE(names.ok()) << names.status();
  for (const std::string& name : *names) entry.xattrs[name] = volume->GetXattr(id, name).value();
  if (attributes->nlink > 1 && attributes->type == FileType::kRegular &&
      (path.starts_with("live/") || path.find("@all/") != std::string::npos)) {
    entry.first_name = first_names.try_emplace(id, path).first->second;
  }
  tree[path] = entry;
  if (attributes->type != FileType::kDirectory) return;
  std::map<std::string, NodeId> below;
  EXPECT_EQ(volume->ReadDirectory(id, 0,
                                  [&](const fs::DirectoryEntry& found) {
                                    below[found.name] = found.id;
                                    return true;
                                  }),
            absl::OkStatus());
  for (const auto& [name, child] : below)
    Expect(volume, child, path + "/" + name, tree, first_names);
}

inline HostTree ExpectedOf(TestVolume& volume) {
  HostTree tree;
  std::map<NodeId, std::string> first_names;
  Expect(volume, fs::kRoot, "live", tree, first_names);
  for (const fs::SnapshotInfo& info : volume.Snapshots()) {
    Expect(volume, info.node, absl::StrCat("snapshots/", info.path, "@", info.name), tree,
           first_names);
  }
  return tree;
}

// Entries that only hold copies: not of the volume.
inline bool IsFrame(const HostTree& expected, const std::string& path) {
  if (expected.contains(path)) return false;
  return std::ranges::any_of(
             expected, [&](const auto& item) { return item.first.starts_with(path + "/"); }) ||
         path == "snapshots" || path == "snapshots/.snapshots" || path.ends_with("/@deleted") ||
         path.ends_with("/lost+found") || path == "live";
}

}  // namespace cow::move
