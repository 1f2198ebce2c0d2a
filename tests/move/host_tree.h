// A directory of the host as values that can be compared.
#pragma once

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <ostream>
#include <string>
#include <vector>

namespace cow::move {

struct HostEntry {
  mode_t mode = 0;  // with the type
  uid_t uid = 0;
  int64_t mtime = 0;
  std::string content = {};  // of a file; of a link its target
  std::map<std::string, std::string> xattrs = {};
  std::string first_name = {};  // of a file with several: the first of them
  uint64_t allocated = 0;       // bytes of the host; not compared

  bool operator==(const HostEntry& other) const {
    return mode == other.mode && uid == other.uid && mtime == other.mtime &&
           content == other.content && xattrs == other.xattrs && first_name == other.first_name;
  }
};

inline std::ostream& operator<<(std::ostream& out, const HostEntry& entry) {
  out << std::oct << entry.mode << std::dec << " uid " << entry.uid << " mtime " << entry.mtime
      << " \"" << entry.content.substr(0, 40) << "\" of " << entry.content.size();
  for (const auto& [name, value] : entry.xattrs) out << " " << name << "=" << value.size();
  return out << " " << entry.first_name;
}

using HostTree = std::map<std::string, HostEntry>;

inline HostEntry ReadHostEntry(const std::string& path) {
  struct stat found = {};
  lstat(path.c_str(), &found);
  HostEntry entry{.mode = found.st_mode, .uid = found.st_uid, .mtime = found.st_mtim.tv_sec};
  entry.allocated = static_cast<uint64_t>(found.st_blocks) * 512;
  if (S_ISREG(found.st_mode)) {
    std::ifstream in(path, std::ios::binary);
    entry.content.assign(std::istreambuf_iterator<char>(in), {});
  } else if (S_ISLNK(found.st_mode)) {
    entry.content = std::filesystem::read_symlink(path).string();
  }
  std::string names(4096, '\0');
  const ssize_t length = llistxattr(path.c_str(), names.data(), names.size());
  for (ssize_t at = 0; at < length;) {
    const std::string name = names.c_str() + at;
    at += static_cast<ssize_t>(name.size()) + 1;
    if (!name.starts_with("user.")) continue;
    std::string value(65536, '\0');
    value.resize(lgetxattr(path.c_str(), name.c_str(), value.data(), value.size()));
    entry.xattrs[name] = value;
  }
  return entry;
}

// Everything below `root`, by the path below it.
inline HostTree ReadHostTree(const std::string& root) {
  HostTree tree;
  std::vector<std::string> paths;
  for (const auto& item : std::filesystem::recursive_directory_iterator(root)) {
    paths.push_back(item.path().string());
  }
  std::sort(paths.begin(), paths.end());
  std::map<ino_t, std::string> first_names;
  for (const std::string& path : paths) {
    const std::string name = path.substr(root.size() + 1);
    HostEntry entry = ReadHostEntry(path);
    struct stat found = {};
    lstat(path.c_str(), &found);
    if (S_ISREG(found.st_mode) && found.st_nlink > 1) {
      entry.first_name = first_names.try_emplace(found.st_ino, name).first->second;
    }
    tree[name] = std::move(entry);
  }
  return tree;
}

}  // namespace cow::move
