#include "cow/vm/fault_handler.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <system_error>
#include <utility>

#include "absl/base/const_init.h"
#include "cow/base/status.h"
#include "cow/base/types.h"
#include "cow/os/address_range.h"
#include "cow/vm/layout.h"

namespace cow::vm {
namespace {

// While one waits for the disk another binds what needs none.
constexpr int kThreads = 2;

ABSL_CONST_INIT absl::Mutex process_mutex(absl::kConstInit);

// Never destroyed: there may be mappings while the process ends.
std::weak_ptr<FaultHandler>& ProcessHandler() ABSL_EXCLUSIVE_LOCKS_REQUIRED(process_mutex) {
  static auto* const handler = new std::weak_ptr<FaultHandler>;
  return *handler;
}

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
  absl::MutexLock lock(&process_mutex);
  std::shared_ptr<FaultHandler> handler = ProcessHandler().lock();
  if (handler != nullptr && handler->owner_ == getpid()) return handler;
  COW_ASSIGN_OR_RETURN(os::Userfaultfd uffd, os::Userfaultfd::OpenForMissing());
  os::Descriptor stop(eventfd(0, EFD_CLOEXEC));
  if (!stop.valid()) return ErrnoStatus(errno, "eventfd");
  handler.reset(new FaultHandler(std::move(uffd), std::move(stop)));
  COW_RETURN_IF_ERROR(handler->Start());
  ProcessHandler() = handler;
  return handler;
}

std::atomic<uintptr_t> FaultHandler::lowest_ = std::numeric_limits<uintptr_t>::max();
std::atomic<uintptr_t> FaultHandler::highest_ = 0;

void FaultHandler::Touch(std::span<const std::byte> memory) {
  constexpr uintptr_t kChunkBytes = kChunkPages * kPageSize;
  auto at = reinterpret_cast<uintptr_t>(memory.data());
  const uintptr_t end = std::min(at + memory.size(), highest_.load(std::memory_order_relaxed));
  at = std::max(at, lowest_.load(std::memory_order_relaxed));
  if (at >= end) return;
  std::shared_ptr<FaultHandler> handler;
  {
    absl::MutexLock lock(&process_mutex);
    handler = ProcessHandler().lock();
  }
  if (handler == nullptr || handler->owner_ != getpid()) return;
  for (; at < end; at = (at / kChunkBytes + 1) * kChunkBytes) {
    auto* const address = reinterpret_cast<std::byte*>(at);
    {
      absl::MutexLock lock(&handler->mu_);
      if (handler->Find(address) == nullptr) continue;
    }
    os::TouchPage(address);
  }
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
  // The allocator gives a thread memory of its own at its first call, and needs a map for it. There
  // may be none left when a fault comes; what it has then grows without one.
  std::vector<std::byte> first(1 << 10);
  volatile std::byte* const used = first.data();
  used[0] = std::byte{1};
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
  const auto begin = reinterpret_cast<uintptr_t>(range.data());
  if (begin < lowest_) lowest_ = begin;
  if (begin + range.size() > highest_) highest_ = begin + range.size();
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
