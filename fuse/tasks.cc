#include "fuse/tasks.h"

#include <pthread.h>

#include <memory>
#include <utility>

namespace cow::fuse {
namespace {

// pthread_create and not std::thread, which throws where a thread cannot be made.
void* Call(void* argument) {
  std::unique_ptr<std::function<void()>> body(static_cast<std::function<void()>*>(argument));
  (*body)();
  return nullptr;
}

}  // namespace

bool Tasks::Run(std::function<void()> task) {
  {
    absl::MutexLock lock(&lock_);
    ++running_;
  }
  auto body = std::make_unique<std::function<void()>>([this, task = std::move(task)] {
    task();
    absl::MutexLock lock(&lock_);
    --running_;
  });
  pthread_t thread;
  if (pthread_create(&thread, nullptr, Call, body.get()) != 0) {
    absl::MutexLock lock(&lock_);
    --running_;
    return false;
  }
  body.release();
  pthread_detach(thread);
  return true;
}

void Tasks::Wait() {
  absl::MutexLock lock(&lock_);
  lock_.Await(absl::Condition(
      +[](int* running) { return *running == 0; }, &running_));
}

}  // namespace cow::fuse
