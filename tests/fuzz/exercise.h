// What a program may do with a volume, done to one that may be damaged. Errors are what is to be
// expected; the work is bounded whatever the volume says.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "cow/fs/filesystem.h"

namespace cow::fuzz {

class Exercise {
 public:
  explicit Exercise(fs::FileSystem& fs) : fs_(fs) {}

  // Walks all trees, names and snapshots, and reads what it finds.
  void Look();
  // Changes what is there, a little of each kind, and commits in between.
  void Change();
  // Gives up all snapshots, and waits until everything is free.
  void Destroy();
  void Check();

  // What the checks found wrong, and failures to check.
  const std::vector<std::string>& damages() const { return damages_; }

 private:
  void Find();
  void LookAtTables();
  void LookAtSnapshots();
  void Visit(fs::NodeId id);
  void VisitDirectory(fs::NodeId id);
  void VisitFile(fs::NodeId id);
  void Remember(fs::NodeId id);
  void ChangeAttributes(fs::NodeId id);
  void ChangeFile(fs::NodeId id);
  void ChangeNames(fs::NodeId directory);
  void ChangeVersions(fs::NodeId head);

  fs::FileSystem& fs_;
  std::set<fs::NodeId> known_;
  std::vector<fs::NodeId> nodes_;  // of known_, in the order in which they were found
  std::vector<std::string> damages_;
};

}  // namespace cow::fuzz
