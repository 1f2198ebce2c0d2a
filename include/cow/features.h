// What this machine's kernel offers of what cow makes use of, and what is used in its place.
//
//   for (const cow::Feature& feature : cow::MachineFeatures()) {
//     std::cout << feature.name << ": " << (feature.available ? feature.use : feature.instead);
//   }
//
// Nothing has to be asked before: a volume and its mappings use what there is, and all of them work
// without any of it. The environment variable COW_WITHOUT, a list of names separated by commas,
// switches features off.
#pragma once

#include <string>
#include <vector>

namespace cow {

struct Feature {
  std::string name;
  bool available = false;  // the kernel has it, this process may use it, and it was seen to work
  std::string use;         // what it is used for
  std::string instead;     // what is done where it is not available
};

// The first call of a process probes, by trying, which takes a few milliseconds. Any thread.
std::vector<Feature> MachineFeatures();

}  // namespace cow
