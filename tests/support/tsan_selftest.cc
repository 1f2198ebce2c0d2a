// Uses of absl::Mutex that are right, and two that are wrong: `tsan_selftest CASE` runs one. The
// thread sanitizer must stay silent for the first kind and report the second.

#include <cstdio>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

namespace {

constexpr int kRounds = 2000;

struct Shared {
  absl::Mutex mutex;
  absl::CondVar changed;
  // Deliberately without ABSL_GUARDED_BY: some cases break the rule.
  int value = 0;
};

void Together(const std::vector<std::function<void()>>& bodies) {
  std::vector<std::thread> threads;
  for (const auto& body : bodies) threads.emplace_back(body);
  for (auto& thread : threads) thread.join();
}

void Repeat(const std::function<void()>& body) {
  for (int i = 0; i < kRounds; ++i) body();
}

void Mutex() {
  Shared shared;
  auto add = [&] {
    absl::MutexLock lock(&shared.mutex);
    ++shared.value;
  };
  Together({[&] { Repeat(add); }, [&] { Repeat(add); }});
}

void ReaderLock() {
  Shared shared;
  int sums[2] = {};
  auto read = [&](int& sum) {
    absl::ReaderMutexLock lock(&shared.mutex);
    sum += shared.value;
  };
  auto add = [&] {
    absl::WriterMutexLock lock(&shared.mutex);
    ++shared.value;
  };
  Together({[&] { Repeat([&] { read(sums[0]); }); }, [&] { Repeat([&] { read(sums[1]); }); },
            [&] { Repeat(add); }});
}

void TryLock() {
  Shared shared;
  auto add = [&] {
    if (!shared.mutex.TryLock()) return;
    ++shared.value;
    shared.mutex.Unlock();
  };
  Together({[&] { Repeat(add); }, [&] { Repeat(add); }});
}

// Two threads take turns, each waiting by a condition that the other's Unlock evaluates.
void TakeTurns(bool await) {
  Shared shared;
  auto play = [&](int mine) {
    int turn = mine;
    auto is_mine = [&shared, &turn] { return shared.value == turn; };
    Repeat([&] {
      if (await) {
        shared.mutex.Lock();
        shared.mutex.Await(absl::Condition(&is_mine));
      } else {
        shared.mutex.LockWhen(absl::Condition(&is_mine));
      }
      ++shared.value;
      turn += 2;
      shared.mutex.Unlock();
    });
  };
  Together({[&] { play(0); }, [&] { play(1); }});
}

void Conditions() {
  TakeTurns(true);
  TakeTurns(false);
}

void ConditionVariable() {
  Shared shared;
  auto play = [&](int mine) {
    Repeat([&] {
      absl::MutexLock lock(&shared.mutex);
      while (shared.value % 2 != mine) {
        shared.changed.WaitWithTimeout(&shared.mutex, absl::Seconds(1));
      }
      ++shared.value;
      shared.changed.SignalAll();
    });
  };
  Together({[&] { play(0); }, [&] { play(1); }});
}

void Notification() {
  for (int i = 0; i < 200; ++i) {
    int value = 0;
    absl::Notification written, polled;
    absl::BlockingCounter counter(1);
    Together({[&] {
                value = 1;
                written.Notify();
                polled.WaitForNotification();
                value = 3;
                counter.DecrementCount();
              },
              [&] {
                while (!written.HasBeenNotified()) std::this_thread::yield();
                value = 2;
                polled.Notify();
                counter.Wait();
                value = 4;
              }});
  }
}

void Scoped() {
  Shared shared;
  auto add = [&] {
    absl::ReleasableMutexLock lock(&shared.mutex);
    ++shared.value;
    lock.Release();
  };
  Together({[&] { Repeat(add); }, [&] { Repeat(add); }});
}

void Race() {
  Shared shared;
  auto add = [&] {
    absl::MutexLock lock(&shared.mutex);
    ++shared.value;
  };
  Together({[&] { Repeat(add); }, [&] { Repeat([&] { ++shared.value; }); }});
}

void ReaderWrites() {
  Shared shared;
  auto add = [&] {
    absl::ReaderMutexLock lock(&shared.mutex);
    ++shared.value;
  };
  Together({[&] { Repeat(add); }, [&] { Repeat(add); }});
}

constexpr struct {
  const char* name;
  void (*run)();
} kCases[] = {
    {"mutex", Mutex},
    {"reader_lock", ReaderLock},
    {"try_lock", TryLock},
    {"condition", Conditions},
    {"scoped", Scoped},
    {"condition_variable", ConditionVariable},
    {"notification", Notification},
    {"race", Race},
    {"reader_writes", ReaderWrites},
};

}  // namespace

int main(int argc, char** argv) {
  for (const auto& test : kCases) {
    if (argc == 2 && std::strcmp(argv[1], test.name) == 0) {
      test.run();
      return 0;
    }
  }
  std::fprintf(stderr, "usage: tsan_selftest CASE\n");
  return 2;
}
