#include "cow/vm/fault_handler.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/base/const_init.h"
#include "cow/base/status.h"

namespace cow::vm {
namespace {

// While one waits for the disk another binds what needs none.
constexpr int kThreads = 2;

ABSL_CONST_INIT absl::Mutex process_mutex(absl::kConstInit);

// While this lives, threads that are made take no signals.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<FaultHandler>> FaultHandler::Get() {
  static std::weak_ptr<FaultHandler> process_handler ABSL_GUARDED_BY(process_mutex);
  absl::MutexLock lock(&process_mutex);
  std::shared_ptr<FaultHandler> handler = process_handler.lock();
  if (handler != nullptr && handler->owner_ == getpid()) return handler;
  COW_ASSIGN_OR_RETURN(os::Userfaultfd uffd, os::Userfaultfd::OpenForMissing());
  os::Descriptor stop(eventfd(0, EFD_CLOEXEC));
  if (!stop.valid()) return ErrnoStatus(errno, "eventfd");
  handler.reset(new FaultHandler(std::move(uffd), std::move(stop)));
  COW_RETURN_IF_ERROR(handler->Start());
  process_handler = handler;
  return handler;
}

FaultHandler::FaultHandler(os::Userfaultfd uffd, os::Descriptor stop)
    : uffd_(std::move(uffd)),
      stop_(std::move(stop)),
      owner_(getpid()),
      threads_(std::make_unique<std::vector<std::thread>>()) {}

FaultHandler::~FaultHandler() {
  if (owner_ != getpid()) {
    // A thread that is destroyed before it was joined ends the process.
    static_cast<void>(threads_.release());
    return;
  }
  eventfd_write(stop_.get(), 1);
  for (std::thread& thread : *threads_) thread.join();
}

absl::Status FaultHandler::Start() {
  const SignalsBlocked blocked;
  // The only way in which the standard library tells.
  try {
    for (int i = 0; i < kThreads; ++i) threads_->emplace_back([this] { Run(); });
  } catch (const std::system_error& error) {
    return ErrnoStatus(error.code().value(), "a thread that binds mappings");
  }
  return absl::OkStatus();
}

void FaultHandler::Run() {
  std::array<pollfd, 2> descriptors = {{{.fd = uffd_.descriptor(), .events = POLLIN, .revents = 0},
                                        {.fd = stop_.get(), .events = POLLIN, .revents = 0}}};
  for (;;) {
    if (poll(descriptors.data(), descriptors.size(), -1) < 0) continue;  // no memory just now
    if (descriptors[1].revents != 0) return;
    while (std::byte* const address = uffd_.ReadFault()) Serve(address);
  }
}

FaultHandler::Served* FaultHandler::Find(std::byte* address) {
  const auto found = served_.upper_bound(address);
  if (found == served_.end() || address < found->second.range.data()) return nullptr;
  return &found->second;
}

void FaultHandler::Serve(std::byte* address) {
  FaultTarget* target = nullptr;
  {
    absl::MutexLock lock(&mu_);
    if (Served* const served = Find(address); served != nullptr) {
      target = served->target;
      ++served->calls;
    }
  }
  // Of a mapping that ended meanwhile: nobody waits that may.
  if (target == nullptr) return;
  target->ServeFault(address);
  absl::MutexLock lock(&mu_);
  --Find(address)->calls;
}

void FaultHandler::Add(std::span<std::byte> range, FaultTarget& target) {
  absl::MutexLock lock(&mu_);
  served_[range.data() + range.size()] = {.range = range, .target = &target};
}

void FaultHandler::Remove(std::span<std::byte> range) {
  if (owner_ != getpid()) return;
  absl::MutexLock lock(&mu_);
  const auto found = served_.find(range.data() + range.size());
  mu_.Await(absl::Condition(
      +[](int* calls) { return *calls == 0; }, &found->second.calls));
  served_.erase(found);
}

}  // namespace cow::vm
