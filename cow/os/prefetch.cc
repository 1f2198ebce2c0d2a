#include "cow/os/prefetch.h"

#include <fcntl.h>

namespace cow::os {

void Prefetch(int descriptor, uint64_t offset, uint64_t length) {
  if (descriptor < 0) return;
  posix_fadvise(descriptor, static_cast<off_t>(offset), static_cast<off_t>(length),
                POSIX_FADV_WILLNEED);
}

}  // namespace cow::os
