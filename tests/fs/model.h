// A plain model of a filesystem: what a tree holds, as values; so a snapshot of it is a copy.
#pragma once

#include <cerrno>
#include <map>
#include <string>
#include <vector>

#include "cow/fs/node.h"

namespace cow::fs {

struct ModelNode {
  FileType type = FileType::kRegular;
  std::string content = {};  // or a link's target
  uint32_t nlink = 1;
  std::map<std::string, std::string> xattrs = {};
  std::map<std::string, uint64_t> entries = {};  // of a directory: numbers in the same tree
  uint64_t parent = 0;                           // of a directory

  bool is_directory() const { return type == FileType::kDirectory; }
  friend bool operator==(const ModelNode&, const ModelNode&) = default;
};

// A tree. Each change answers an errno, and changes nothing where it is not 0.
struct ModelTree {
  std::map<uint64_t, ModelNode> nodes = {{1, {.type = FileType::kDirectory, .nlink = 2}}};

  std::vector<uint64_t> Select(bool directories) const {
    std::vector<uint64_t> numbers;
    for (const auto& [number, node] : nodes) {
      if (directories ? node.is_directory() : node.type == FileType::kRegular) {
        numbers.push_back(number);
      }
    }
    return numbers;
  }
  uint64_t Find(uint64_t directory, const std::string& name) const {
    const auto& entries = nodes.at(directory).entries;
    const auto it = entries.find(name);
    return it == entries.end() ? 0 : it->second;
  }

  int CanMake(uint64_t directory, const std::string& name) const {
    return Find(directory, name) == 0 ? 0 : EEXIST;
  }
  void Make(uint64_t directory, const std::string& name, uint64_t number, ModelNode node) {
    Enter(directory, name, number, node.is_directory());
    node.parent = directory;
    nodes[number] = std::move(node);
  }
  int Link(uint64_t number, uint64_t directory, const std::string& name) {
    if (const int error = CanMake(directory, name); error != 0) return error;
    Enter(directory, name, number, false);
    ++nodes.at(number).nlink;
    return 0;
  }
  int Unlink(uint64_t directory, const std::string& name) {
    const uint64_t number = Find(directory, name);
    if (number == 0) return ENOENT;
    if (nodes.at(number).is_directory()) return EISDIR;
    Leave(directory, name);
    Drop(number);
    return 0;
  }
  int RemoveDirectory(uint64_t directory, const std::string& name) {
    const uint64_t number = Find(directory, name);
    if (number == 0) return ENOENT;
    if (!nodes.at(number).is_directory()) return ENOTDIR;
    if (!nodes.at(number).entries.empty()) return ENOTEMPTY;
    Leave(directory, name);
    nodes.erase(number);
    return 0;
  }
  int Rename(uint64_t from, const std::string& name, uint64_t to, const std::string& new_name,
             bool no_replace) {
    const uint64_t source = Find(from, name);
    const uint64_t target = Find(to, new_name);
    if (source == 0) return ENOENT;
    if (target != 0 && no_replace) return EEXIST;
    if (source == target) return 0;
    const bool directory = nodes.at(source).is_directory();
    if (directory && IsWithin(to, source)) return EINVAL;
    if (target != 0) {
      if (nodes.at(target).is_directory() != directory) return directory ? ENOTDIR : EISDIR;
      if (directory && !nodes.at(target).entries.empty()) return ENOTEMPTY;
      Leave(to, new_name);
      directory ? (void)nodes.erase(target) : Drop(target);
    }
    Leave(from, name);
    Enter(to, new_name, source, directory);
    return 0;
  }
  int Exchange(uint64_t from, const std::string& name, uint64_t to, const std::string& new_name) {
    const uint64_t a = Find(from, name);
    const uint64_t b = Find(to, new_name);
    if (a == 0 || b == 0) return ENOENT;
    if (a == b) return 0;
    const bool a_directory = nodes.at(a).is_directory();
    const bool b_directory = nodes.at(b).is_directory();
    if ((a_directory && IsWithin(to, a)) || (b_directory && IsWithin(from, b))) return EINVAL;
    Leave(from, name);
    Leave(to, new_name);
    Enter(to, new_name, a, a_directory);
    Enter(from, name, b, b_directory);
    return 0;
  }

 private:
  bool IsWithin(uint64_t directory, uint64_t above) const {
    for (; directory != 1; directory = nodes.at(directory).parent) {
      if (directory == above) return true;
    }
    return above == 1;
  }
  void Enter(uint64_t directory, const std::string& name, uint64_t number, bool is_directory) {
    ModelNode& node = nodes.at(directory);
    node.entries[name] = number;
    if (!is_directory) return;
    ++node.nlink;
    if (nodes.contains(number)) nodes.at(number).parent = directory;
  }
  void Leave(uint64_t directory, const std::string& name) {
    ModelNode& node = nodes.at(directory);
    if (nodes.at(node.entries.at(name)).is_directory()) --node.nlink;
    node.entries.erase(name);
  }
  void Drop(uint64_t number) {
    if (--nodes.at(number).nlink == 0) nodes.erase(number);
  }
};

}  // namespace cow::fs
