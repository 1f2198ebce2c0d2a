// Tells the thread sanitizer about absl::Mutex. Linked into executables under -fsanitize=thread
// only.
//
// Debian's Abseil is a shared library that was not built for the sanitizer, which therefore neither
// sees that a lock orders two threads nor knows that it is held. The definitions here take the
// place of the library's (an executable's symbols come first), tell the sanitizer what is about to
// happen, and call the library's own, found as the next definition of the same name.
//
// Between pre_ and post_ calls the sanitizer ignores the thread's accesses; so conditions, which
// Abseil evaluates inside of any thread's Unlock, are not checked and raise nothing false. Await
// and CondVar::Wait are taken to be called by a writer.

#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "absl/base/options.h"
#include "absl/cleanup/cleanup.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

namespace {

#define COW_TEXT_INNER(text) #text
#define COW_TEXT(text) COW_TEXT_INNER(text)
constexpr char kInline[] = COW_TEXT(ABSL_OPTION_INLINE_NAMESPACE_NAME);

// The library's function whose mangled name is `before` absl::kInline `after`.
template <typename Function>
Function* Next(const char* before, const char* after) {
  std::string name =
      std::string(before) + "4absl" + std::to_string(std::strlen(kInline)) + kInline + after;
  void* found = dlsym(RTLD_NEXT, name.c_str());
  if (found == nullptr) {
    std::fprintf(stderr, "tsan_mutex: %s not found in a shared Abseil\n", name.c_str());
    std::abort();
  }
  return reinterpret_cast<Function*>(found);
}

// Calls the library's definition of METHOD (mangled, after the namespace) of the class at hand.
#define COW_NEXT(type, method)                               \
  ([]() -> type* {                                           \
    static type* const function = Next<type>("_ZN", method); \
    return function;                                         \
  }())

constexpr unsigned kWrite = 0;
constexpr unsigned kRead = __tsan_mutex_read_lock;
constexpr unsigned kTry = __tsan_mutex_try_lock;

// The library's functions call each other, by way of the ones below; only the outermost is
// annotated.
thread_local int depth = 0;

class Nested {
 public:
  Nested() { ++depth; }
  ~Nested() { --depth; }
};

// A lock that is certain to be got. `call` takes it.
template <typename Call>
auto Locking(absl::Mutex* mutex, unsigned how, Call call) {
  if (depth > 0) return call();
  Nested nested;
  __tsan_mutex_pre_lock(mutex, how);
  auto finish = absl::MakeCleanup([&] { __tsan_mutex_post_lock(mutex, how, 0); });
  return call();
}

template <typename Call>
bool Trying(absl::Mutex* mutex, unsigned how, Call call) {
  if (depth > 0) return call();
  Nested nested;
  __tsan_mutex_pre_lock(mutex, how | kTry);
  bool got = call();
  __tsan_mutex_post_lock(mutex, how | kTry | (got ? 0 : __tsan_mutex_try_lock_failed), 0);
  return got;
}

template <typename Call>
void Unlocking(absl::Mutex* mutex, unsigned how, Call call) {
  if (depth > 0) return call();
  Nested nested;
  __tsan_mutex_pre_unlock(mutex, how);
  call();
  __tsan_mutex_post_unlock(mutex, how);
}

// A wait that gives a writer's lock up and takes it again.
template <typename Call>
auto Waiting(absl::Mutex* mutex, Call call) {
  Unlocking(mutex, kWrite, [] {});
  return Locking(mutex, kWrite, call);
}

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

using Plain = void(Mutex*);
using Try = bool(Mutex*);
using When = void(Mutex*, const Condition&);
using WithTimeout = bool(Mutex*, const Condition&, Duration);
using WithDeadline = bool(Mutex*, const Condition&, Time);

Mutex::~Mutex() {
  __tsan_mutex_destroy(this, 0);
  COW_NEXT(Plain, "5MutexD1Ev")(this);
}

void Mutex::Lock() {
  Locking(this, kWrite, [this] { COW_NEXT(Plain, "5Mutex4LockEv")(this); });
}
void Mutex::Unlock() {
  Unlocking(this, kWrite, [this] { COW_NEXT(Plain, "5Mutex6UnlockEv")(this); });
}
bool Mutex::TryLock() {
  return Trying(this, kWrite, [this] { return COW_NEXT(Try, "5Mutex7TryLockEv")(this); });
}
void Mutex::ReaderLock() {
  Locking(this, kRead, [this] { COW_NEXT(Plain, "5Mutex10ReaderLockEv")(this); });
}
void Mutex::ReaderUnlock() {
  Unlocking(this, kRead, [this] { COW_NEXT(Plain, "5Mutex12ReaderUnlockEv")(this); });
}
bool Mutex::ReaderTryLock() {
  return Trying(this, kRead, [this] { return COW_NEXT(Try, "5Mutex13ReaderTryLockEv")(this); });
}

void Mutex::Await(const Condition& cond) {
  Waiting(this, [&] { COW_NEXT(When, "5Mutex5AwaitERKNS0_9ConditionE")(this, cond); });
}
bool Mutex::AwaitWithTimeout(const Condition& cond, Duration timeout) {
  return Waiting(this, [&] {
    return COW_NEXT(WithTimeout, "5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE")(
        this, cond, timeout);
  });
}
bool Mutex::AwaitWithDeadline(const Condition& cond, Time deadline) {
  return Waiting(this, [&] {
    return COW_NEXT(WithDeadline, "5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE")(
        this, cond, deadline);
  });
}

void Mutex::LockWhen(const Condition& cond) {
  Locking(this, kWrite, [&] { COW_NEXT(When, "5Mutex8LockWhenERKNS0_9ConditionE")(this, cond); });
}
bool Mutex::LockWhenWithTimeout(const Condition& cond, Duration timeout) {
  return Locking(this, kWrite, [&] {
    return COW_NEXT(WithTimeout, "5Mutex19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE")(
        this, cond, timeout);
  });
}
bool Mutex::LockWhenWithDeadline(const Condition& cond, Time deadline) {
  return Locking(this, kWrite, [&] {
    return COW_NEXT(WithDeadline, "5Mutex20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE")(
        this, cond, deadline);
  });
}
void Mutex::ReaderLockWhen(const Condition& cond) {
  Locking(this, kRead, [&] {
    COW_NEXT(When, "5Mutex14ReaderLockWhenERKNS0_9ConditionE")(this, cond);
  });
}

void CondVar::Wait(Mutex* mu) {
  using Function = void(CondVar*, Mutex*);
  Waiting(mu, [&] { COW_NEXT(Function, "7CondVar4WaitEPNS0_5MutexE")(this, mu); });
}
bool CondVar::WaitWithTimeout(Mutex* mu, Duration timeout) {
  using Function = bool(CondVar*, Mutex*, Duration);
  return Waiting(mu, [&] {
    return COW_NEXT(Function, "7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE")(this, mu,
                                                                                      timeout);
  });
}
bool CondVar::WaitWithDeadline(Mutex* mu, Time deadline) {
  using Function = bool(CondVar*, Mutex*, Time);
  return Waiting(mu, [&] {
    return COW_NEXT(Function, "7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE")(this, mu,
                                                                                   deadline);
  });
}

// These are small enough to be done over the annotated mutex, so that HasBeenNotified(), which is
// inline and takes no lock, sees an instrumented store.
void Notification::Notify() {
  MutexLock lock(&mutex_);
  notified_yet_.store(true, std::memory_order_release);
}
Notification::~Notification() { MutexLock lock(&mutex_); }
void Notification::WaitForNotification() const {
  if (HasBeenNotified()) return;
  mutex_.LockWhen(Condition(&HasBeenNotifiedInternal, &notified_yet_));
  mutex_.Unlock();
}
bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  if (HasBeenNotified()) return true;
  bool notified =
      mutex_.LockWhenWithTimeout(Condition(&HasBeenNotifiedInternal, &notified_yet_), timeout);
  mutex_.Unlock();
  return notified;
}
bool Notification::WaitForNotificationWithDeadline(Time deadline) const {
  if (HasBeenNotified()) return true;
  bool notified =
      mutex_.LockWhenWithDeadline(Condition(&HasBeenNotifiedInternal, &notified_yet_), deadline);
  mutex_.Unlock();
  return notified;
}

bool BlockingCounter::DecrementCount() {
  using Function = bool(BlockingCounter*);
  __tsan_release(this);
  return COW_NEXT(Function, "15BlockingCounter14DecrementCountEv")(this);
}
void BlockingCounter::Wait() {
  using Function = void(BlockingCounter*);
  COW_NEXT(Function, "15BlockingCounter4WaitEv")(this);
  __tsan_acquire(this);
}

ABSL_NAMESPACE_END
}  // namespace absl
