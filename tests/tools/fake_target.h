// A volume that is only entries, so that what cowctl prints is the same each time.
#pragma once

#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cow/base/status.h"
#include "gtest/gtest.h"
#include "tools/cowctl/run.h"
#include "tools/cowctl/target.h"

namespace cow::ctl {

struct FakeVolume {
  std::vector<control::Entry> snapshots;
  std::vector<control::Request> requests;  // that it was sent
  absl::Status failure;                    // of every request
  bool counted = true;                     // what stat answers comes with its space
  bool is_snapshot = false;                // what stat is asked about
  std::vector<bool> opened_for_writing;    // each time it was opened
  CheckOutcome check;
  std::vector<control::Defragmented> passes;  // what each that is left will have done
  bool unshared = false;                      // the last was asked to move what is shared
  control::Info info;
  control::Statistics statistics;
  std::function<void()> looked;  // after each answer about the volume as a whole
  uint64_t check_rate = 0;       // that was asked for
};

// Answers as a cowfs would, two entries at a time.
class FakeTarget : public Target {
 public:
  FakeTarget(FakeVolume& volume, std::string prefix)
      : volume_(volume), prefix_(std::move(prefix)) {}

  absl::StatusOr<control::Reply> Execute(const control::Request& request) override {
    volume_.requests.push_back(request);
    if (!volume_.failure.ok()) return volume_.failure;
    control::Reply reply;
    if (request.command == control::Command::kList) {
      const size_t end = std::min<size_t>(request.cursor + 2, volume_.snapshots.size());
      for (size_t i = request.cursor; i < end; ++i) reply.Add(volume_.snapshots[i]);
      if (end < volume_.snapshots.size()) reply.next = end;
      return reply;
    }
    if (request.command == control::Command::kStatistics) {
      reply.info = volume_.info;
      reply.statistics = volume_.statistics;
      if (volume_.looked) volume_.looked();
      return reply;
    }
    control::Entry entry{.path = request.path, .name = request.name, .size = 8192};
    if (request.command == control::Command::kClone) entry.path = request.target;
    if (request.command == control::Command::kRename) entry.name = request.target;
    if (request.command == control::Command::kRollBack) entry.name = "rollback-20261124-130500";
    if (request.command == control::Command::kStat) {
      entry.created_ns = 1'795'525'512'000'000'000;
      entry.has_space = volume_.counted;
      if (const size_t at = entry.path.find('@'); volume_.is_snapshot && at != std::string::npos) {
        entry.name = entry.path.substr(at + 1);
        entry.path.resize(at);
      }
      entry.referenced = 8192;
      entry.exclusive = 4096;
      entry.snapshots = 2;
    }
    reply.Add(std::move(entry));
    return reply;
  }

  absl::StatusOr<CheckOutcome> Check(
      uint64_t rate, const std::function<void(uint64_t, uint64_t)>& progress) override {
    volume_.check_rate = rate;
    if (!volume_.failure.ok()) return volume_.failure;
    progress(volume_.check.frames / 2, volume_.check.frames);
    return volume_.check;
  }

  absl::StatusOr<control::Defragmented> Defragment(
      const std::string&, bool unshare,
      const std::function<void(uint64_t, uint64_t)>& progress) override {
    volume_.unshared = unshare;
    if (!volume_.failure.ok()) return volume_.failure;
    const control::Defragmented pass = volume_.passes.front();
    volume_.passes.erase(volume_.passes.begin());
    progress(pass.file_bytes / 2, pass.file_bytes);
    return pass;
  }

  absl::StatusOr<std::string> Inside(std::string_view argument) const override {
    if (!argument.starts_with(prefix_)) {
      return MakeError(absl::StatusCode::kInvalidArgument, EXDEV, "not in the same volume");
    }
    return std::string(argument.substr(prefix_.size()));
  }

 protected:
  std::string FullNameOf(std::string_view path) const override {
    return prefix_ + std::string(path);
  }

 private:
  FakeVolume& volume_;
  const std::string prefix_;
};

// Runs a command on it.
struct Ran {
  int status = 0;
  std::string out;
  std::string err;
};

// Runs cowctl with its own doors: on real volumes and mounts.
inline Ran RunCowctl(const std::vector<std::string>& arguments) {
  std::ostringstream out;
  std::ostringstream err;
  const int status = Run(arguments, {.out = out, .err = err});
  return {.status = status, .out = out.str(), .err = err.str()};
}

// The same, expected to succeed and to have no complaint; the result is its output.
inline std::string Do(const std::vector<std::string>& arguments) {
  const Ran ran = RunCowctl(arguments);
  EXPECT_EQ(ran.status, kDone) << ::testing::PrintToString(arguments) << "\n" << ran.err;
  EXPECT_EQ(ran.err, "") << ::testing::PrintToString(arguments);
  return ran.out;
}

inline Ran RunOn(FakeVolume& volume, const std::vector<std::string>& arguments,
                 bool terminal = false) {
  std::ostringstream out;
  std::ostringstream err;
  Environment environment{.out = out, .err = err, .err_is_terminal = terminal};
  environment.doors.volume = [&volume](const std::string& path,
                                       bool write) -> absl::StatusOr<std::unique_ptr<Target>> {
    volume.opened_for_writing.push_back(write);
    return std::make_unique<FakeTarget>(volume, path + ":/");
  };
  const int status = Run(arguments, environment);
  return {.status = status, .out = out.str(), .err = err.str()};
}

}  // namespace cow::ctl
