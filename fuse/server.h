// What the handlers of all requests share.
#pragma once

#include <string>

#include "cow/fs/filesystem.h"
#include "fuse/control_server.h"
#include "fuse/kernel.h"
#include "fuse/nodes.h"
#include "fuse/open_files.h"
#include "fuse/privileges.h"
#include "fuse/rollbacks.h"
#include "fuse/tasks.h"

namespace cow::fuse {

struct Server {
  Server(fs::FileSystem& filesystem, const std::string& volume, const std::string& mountpoint)
      : fs(filesystem),
        kernel(mountpoint),
        privileges(filesystem, nodes, kernel),
        control(filesystem, nodes, files, kernel, privileges, rollbacks, tasks, volume) {}

  fs::FileSystem& fs;
  Nodes nodes;
  OpenFiles files;
  Kernel kernel;
  Privileges privileges;
  Rollbacks rollbacks;
  Tasks tasks;
  ControlServer control;
};

}  // namespace cow::fuse
