// A plain file of the host and the operations on it: the rival that every figure has.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

namespace bench {

// Made anew, and removed with the object.
class PlainFile {
 public:
  explicit PlainFile(const std::string& path)
      : path_(path), descriptor_(open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600)) {
    Check(descriptor_);
  }
  PlainFile(const PlainFile&) = delete;
  PlainFile& operator=(const PlainFile&) = delete;
  ~PlainFile() {
    close(descriptor_);
    unlink(path_.c_str());
  }
  void Write(uint64_t offset, std::span<const std::byte> bytes) {
    Check(pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset)));
  }
  void Read(uint64_t offset, std::span<std::byte> bytes) {
    Check(pread(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset)));
  }
  void Flush() { Check(fdatasync(descriptor_)); }

 private:
  void Check(ssize_t result) const {
    if (result >= 0) return;
    std::perror(path_.c_str());
    std::exit(1);
  }
  const std::string path_;
  const int descriptor_;
};

}  // namespace bench
