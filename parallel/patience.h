// How a thread that executes a collective waits for the other ranks: eagerly when the computation is blocked
// on the result, otherwise without taking the core from the computation.
#pragma once

#include <sched.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "kernels/cpu/device.h"
#include "kernels/cpu/pause.h"
#include "kernels/error.h"

namespace heddle {

class Patience {
 public:
  // `done`: the event that completes with the collective, or null if the calling thread itself needs the
  // result.
  Patience(const CpuEvent* done, const std::atomic<bool>& cancelled) : done_(done), cancelled_(cancelled) {}

  bool urgent() const { return done_ == nullptr || done_->awaited(); }
  // The communicator is being destroyed while its call waits for ranks that will not come.
  void check() const {
    if (cancelled_.load(std::memory_order_relaxed)) throw error("the collective was given up");
  }

 private:
  const CpuEvent* done_;
  const std::atomic<bool>& cancelled_;
};

// One wait that has to poll: spin, then offer the core to others, then sleep.
class Backoff {
 public:
  explicit Backoff(const Patience& patience) : patience_(patience) {}

  void pause() {
    patience_.check();
    ++rounds_;
    if (patience_.urgent() && rounds_ <= kSpins) {
      pause_briefly();
    } else if (patience_.urgent() && rounds_ <= kSpins + kYields) {
      sched_yield();
    } else {
      std::this_thread::sleep_for(patience_.urgent() ? kUrgentSleep : kSleep);
    }
  }

 private:
  static constexpr int kSpins = 200;    // each with a poll: tens of microseconds
  static constexpr int kYields = 2000;  // about a millisecond
  static constexpr std::chrono::microseconds kUrgentSleep{5};
  static constexpr std::chrono::microseconds kSleep{50};

  const Patience& patience_;
  int rounds_ = 0;
};

}  // namespace heddle
