// Items by number, the next one made on a thread of its own while one is in use.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace heddle {

template <typename Item>
class ReadAhead {
 public:
  // Makes an item, in place of what was in it. Called by one thread at a time, but not always by the same.
  using Fill = std::function<void(std::int64_t number, Item& item)>;

  // `item` is what both places hold first, so that memory can be reserved.
  explicit ReadAhead(Fill fill, const Item& item = {})
      : fill_(std::move(fill)), current_(item), next_(item), thread_([this] { run(); }) {}
  ~ReadAhead() {  // waits for an item in the making
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // Item `number`, valid until the next call; the making of the one after it begins. Items in order are found
  // ready, any other is made on the spot. An error of the thread is thrown by the call that wants that item.
  const Item& get(std::int64_t number) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return wanted_ < 0; });
    if (std::exchange(next_number_, -1) == number) {
      if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
      std::swap(current_, next_);
    } else {
      fill_(number, current_);
    }
    wanted_ = number + 1;
    lock.unlock();
    changed_.notify_all();
    return current_;
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stop_ || wanted_ >= 0; });
      if (stop_) return;
      const std::int64_t number = wanted_;
      lock.unlock();
      // get() waits until wanted_ is -1 again before it touches next_ or failure_, or fills.
      failure_ = nullptr;
      try {
        fill_(number, next_);
      } catch (...) {
        failure_ = std::current_exception();
      }
      lock.lock();
      next_number_ = number;
      wanted_ = -1;
      changed_.notify_all();
    }
  }

  const Fill fill_;
  Item current_;  // what get() returned
  std::mutex mutex_;
  std::condition_variable changed_;
  Item next_;                      // filled by the thread while wanted_ >= 0
  std::int64_t next_number_ = -1;  // of next_, or of its failure; -1: none
  std::int64_t wanted_ = -1;       // the item being made; -1: the thread is idle
  std::exception_ptr failure_;     // of next_
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace heddle
