#include "cow/features.h"

#include "cow/os/features.h"

namespace cow {

std::vector<Feature> MachineFeatures() {
  const os::Features usable = os::UsableFeatures();
  std::vector<Feature> features;
  for (const os::FeatureInfo& info : os::AllFeatures()) {
    features.push_back({.name = std::string(info.name),
                        .available = usable.*info.present,
                        .use = std::string(info.use),
                        .instead = std::string(info.instead)});
  }
  return features;
}

}  // namespace cow
