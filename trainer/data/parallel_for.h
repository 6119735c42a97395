// A parallel loop for work on text: iterations of uneven length, any of which may throw.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace heddle {

// 0 means all cores that this process may use.
inline int resolve_threads(int requested) {
  return requested > 0 ? requested : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// body(index, thread) for each index in [0, count), `thread` in [0, threads). Which thread gets which index
// is not defined. If iterations throw, the exception of the smallest index that was run is rethrown here.
template <typename Body>
void parallel_for(std::int64_t count, int threads, const Body& body) {
  threads = static_cast<int>(std::min<std::int64_t>(std::max(1, threads), count));
  if (threads <= 1) {
    for (std::int64_t index = 0; index < count; ++index) body(index, 0);
    return;
  }
  std::atomic<std::int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  std::int64_t failed_index = count;
  const auto work = [&](int thread) {
    for (std::int64_t index; (index = next.fetch_add(1)) < count;) {
      try {
        body(index, thread);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (index < failed_index) {
          failed_index = index;
          failure = std::current_exception();
        }
        next = count;  // no new work; indices below this one have all been taken already
      }
    }
  };
  std::vector<std::jthread> helpers;
  for (int thread = 1; thread < threads; ++thread) helpers.emplace_back(work, thread);
  work(0);
  helpers.clear();  // joins
  if (failure) std::rethrow_exception(failure);
}

}  // namespace heddle
