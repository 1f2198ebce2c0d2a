// A volume of a test's own, with the few steps that tests are made of.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cow/base/status.h"
#include "cow/fs/filesystem.h"
#include "cow/os/file.h"

namespace cow::fs {

// A file in memory that stays when the store that has it is closed, so that it can be opened again.
class LastingFile : public os::File {
 public:
  explicit LastingFile(std::shared_ptr<os::File> file) : file_(std::move(file)) {}
  absl::Status Read(uint64_t offset, std::span<std::byte> buffer) const override {
    return file_->Read(offset, buffer);
  }
  absl::Status Write(uint64_t offset, std::span<const std::byte> buffer) override {
    return file_->Write(offset, buffer);
  }
  absl::Status WriteVector(uint64_t offset, std::span<const iovec> buffers) override {
    return file_->WriteVector(offset, buffers);
  }
  absl::Status ReadVector(uint64_t offset, std::span<const iovec> buffers) const override {
    return file_->ReadVector(offset, buffers);
  }
  absl::Status Flush() override { return file_->Flush(); }
  absl::Status Allocate(uint64_t offset, uint64_t length) override {
    return file_->Allocate(offset, length);
  }
  absl::Status Punch(uint64_t offset, uint64_t length) override {
    return file_->Punch(offset, length);
  }
  absl::StatusOr<uint64_t> Size() const override { return file_->Size(); }
  absl::Status Resize(uint64_t size) override { return file_->Resize(size); }
  absl::StatusOr<uint64_t> AllocatedBytes() const override { return file_->AllocatedBytes(); }
  absl::StatusOr<bool> TryLock(uint64_t byte, os::LockKind kind) override {
    return file_->TryLock(byte, kind);
  }
  absl::Status Unlock(uint64_t byte) override { return file_->Unlock(byte); }
  absl::StatusOr<std::optional<uint64_t>> FirstLocked(uint64_t begin, uint64_t end) const override {
    return file_->FirstLocked(begin, end);
  }
  int descriptor() const override { return file_->descriptor(); }
  const std::string& name() const override { return file_->name(); }

 private:
  const std::shared_ptr<os::File> file_;
};

class TestVolume {
 public:
  explicit TestVolume(uint64_t max_bytes = 0) : file_(os::OpenMemoryFile("test volume").value()) {
    CreateOptions create;
    create.store.max_bytes = max_bytes;
    auto created = FileSystem::Create(std::make_unique<LastingFile>(file_), create, Options());
    EXPECT_TRUE(created.ok()) << created.status();
    fs_ = *std::move(created);
  }

  FileSystem* operator->() { return fs_.get(); }
  FileSystem& operator*() { return *fs_; }

  void Close() {
    EXPECT_EQ(fs_->Sync(), absl::OkStatus());
    fs_.reset();
  }
  // The file that the volume is in.
  std::unique_ptr<os::File> Disk() { return std::make_unique<LastingFile>(file_); }

  void Reopen() {
    Close();
    auto opened = FileSystem::Open(std::make_unique<LastingFile>(file_), Options());
    ASSERT_TRUE(opened.ok()) << opened.status();
    fs_ = *std::move(opened);
  }

  Node Make(std::string_view path, const NewNode& node) {
    auto place = fs_->ResolveParent(path);
    EXPECT_TRUE(place.ok()) << path << ": " << place.status();
    auto made = fs_->Make(place->first, place->second, node);
    EXPECT_TRUE(made.ok()) << path << ": " << made.status();
    return made.ok() ? *made : Node();
  }
  Node MakeFile(std::string_view path, std::string_view content = {}) {
    Node node = Make(path, {.type = FileType::kRegular, .mode = 0644});
    if (!content.empty()) Write(node.id, content);
    return node;
  }
  Node MakeDirectory(std::string_view path) {
    return Make(path, {.type = FileType::kDirectory, .mode = 0755});
  }
  Node MakeTree(std::string_view path) {
    auto place = fs_->ResolveParent(path);
    auto made = fs_->CreateTree(place->first, place->second);
    EXPECT_TRUE(made.ok()) << path << ": " << made.status();
    return made.ok() ? *made : Node();
  }

  // The file's content becomes `content`.
  void Write(NodeId id, std::string_view content) {
    auto handle = fs_->OpenFile(id);
    ASSERT_TRUE(handle.ok()) << handle.status();
    ASSERT_EQ(handle->Truncate(0), absl::OkStatus());
    ASSERT_EQ(handle->Write(0, std::as_bytes(std::span(content))), absl::OkStatus());
  }
  void Write(std::string_view path, std::string_view content) { Write(Id(path), content); }

  std::string Read(NodeId id) {
    auto handle = fs_->OpenFile(id);
    if (!handle.ok()) return "cannot open: " + handle.status().ToString();
    return Read(*handle);
  }
  static std::string Read(const FileHandle& handle) {
    std::string content(handle.size(), '\0');
    auto got = handle.Read(0, std::as_writable_bytes(std::span(content)));
    return got.ok() ? content : "cannot read: " + got.status().ToString();
  }
  std::string Read(std::string_view path) {
    auto node = fs_->Resolve(path);
    return node.ok() ? Read(node->id) : "no such path: " + node.status().ToString();
  }

  NodeId Id(std::string_view path) {
    auto node = fs_->Resolve(path);
    EXPECT_TRUE(node.ok()) << path << ": " << node.status();
    return node.ok() ? node->id : NodeId();
  }
  Attributes Stat(std::string_view path) {
    auto node = fs_->Resolve(path);
    EXPECT_TRUE(node.ok()) << path << ": " << node.status();
    return node.ok() ? node->attributes : Attributes();
  }
  // errno of resolving it; 0 where it exists.
  int Error(std::string_view path) { return ErrnoOf(fs_->Resolve(path).status()); }

  int Unlink(std::string_view path) {
    auto place = fs_->ResolveParent(path);
    return place.ok() ? ErrnoOf(fs_->Unlink(place->first, place->second)) : ErrnoOf(place.status());
  }
  int RemoveDirectory(std::string_view path) {
    auto place = fs_->ResolveParent(path);
    return place.ok() ? ErrnoOf(fs_->RemoveDirectory(place->first, place->second))
                      : ErrnoOf(place.status());
  }
  int Rename(std::string_view from, std::string_view to, RenameMode mode = RenameMode::kReplace) {
    auto a = fs_->ResolveParent(from);
    auto b = fs_->ResolveParent(to);
    if (!a.ok() || !b.ok()) return ErrnoOf(a.ok() ? b.status() : a.status());
    return ErrnoOf(fs_->Rename(a->first, a->second, b->first, b->second, mode));
  }
  int Link(std::string_view from, std::string_view to) {
    auto place = fs_->ResolveParent(to);
    return ErrnoOf(fs_->Link(Id(from), place->first, place->second).status());
  }
  SnapshotInfo Snapshot(std::string_view path, std::string_view name) {
    auto taken = fs_->TakeSnapshot(Id(path), name);
    EXPECT_TRUE(taken.ok()) << path << ": " << taken.status();
    return taken.ok() ? *taken : SnapshotInfo();
  }
  int Clone(std::string_view from, std::string_view to) {
    auto place = fs_->ResolveParent(to);
    return ErrnoOf(fs_->Clone(Id(from), place->first, place->second).status());
  }
  int RollBack(std::string_view path, std::string_view name, std::string* kept = nullptr) {
    auto info = fs_->FindSnapshot(path, name);
    if (!info.ok()) return ErrnoOf(info.status());
    auto result = fs_->RollBack(info->number);
    if (result.ok() && kept != nullptr) *kept = result->name;
    return ErrnoOf(result.status());
  }
  int Destroy(std::string_view path, std::string_view name) {
    auto info = fs_->FindSnapshot(path, name);
    return info.ok() ? ErrnoOf(fs_->DestroySnapshot(info->number)) : ErrnoOf(info.status());
  }

  std::vector<std::string> List(NodeId directory) {
    std::vector<std::string> names;
    EXPECT_EQ(fs_->ReadDirectory(directory, 0,
                                 [&](const DirectoryEntry& entry) {
                                   names.push_back(entry.name);
                                   return true;
                                 }),
              absl::OkStatus());
    return names;
  }
  std::vector<std::string> List(std::string_view path) { return List(Id(path)); }

  std::vector<SnapshotInfo> Snapshots() {
    auto list = fs_->ListSnapshots();
    EXPECT_TRUE(list.ok()) << list.status();
    return list.ok() ? *std::move(list) : std::vector<SnapshotInfo>();
  }

  // Everything that a check finds wrong.
  std::vector<std::string> Damages() {
    auto checked = fs_->Check();
    if (!checked.ok()) return {checked.status().ToString()};
    std::vector<std::string> texts;
    for (const Damage& damage : checked->damages)
      texts.push_back(damage.where + ": " + damage.what);
    return texts;
  }

 private:
  OpenOptions Options() {
    OpenOptions options;
    options.store.commit_seconds = 0;
    // Each moment is one of its own.
    options.clock = [this] { return timespec{.tv_sec = ++time_, .tv_nsec = 0}; };
    return options;
  }

  const std::shared_ptr<os::File> file_;
  std::atomic<time_t> time_ = 1'000'000'000;
  std::unique_ptr<FileSystem> fs_;
};

}  // namespace cow::fs
