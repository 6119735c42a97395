// Fibers: stacks that one OS thread runs in turns. A fiber stays on the OS thread that created it.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#if !defined(__x86_64__) && !defined(HEDDLE_EMULATOR_UCONTEXT)
#define HEDDLE_EMULATOR_UCONTEXT
#endif
#ifdef HEDDLE_EMULATOR_UCONTEXT
#include <ucontext.h>
#endif

namespace heddle::emulator {

class Fiber {
 public:
  // What a fiber runs when it is first switched to. Must not return nor let an exception out.
  using Entry = void (*)();

  Fiber() = default;                      // the OS thread's own stack
  Fiber(Entry entry, std::size_t index);  // `index` staggers stacks over the cache's sets
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Forgets what ran here: the next switch starts at the entry. Objects on the stack are not destroyed.
  void reset();

  // Leaves `from`, which must be running, for `to`; returns when something switches to `from` again.
  static void switch_to(Fiber& from, Fiber& to);

 private:
  static void start();

  Entry entry_ = nullptr;
  void* mapping_ = nullptr;          // guard page and stack
  const void* bottom_ = nullptr;     // of the usable stack, for AddressSanitizer
  std::size_t size_ = 0;             // from bottom_
  void* sanitizer_stack_ = nullptr;  // AddressSanitizer's fake stack while another fiber runs
#ifdef HEDDLE_EMULATOR_UCONTEXT
  ucontext_t context_{};
#else
  void* stack_pointer_ = nullptr;  // while another fiber runs
#endif
};

// Fibers waiting for work; grows as needed and keeps what it has.
class FiberPool {
 public:
  explicit FiberPool(Fiber::Entry entry) : entry_(entry) {}
  Fiber& take();
  void give_back(Fiber& fiber) { idle_.push_back(&fiber); }

 private:
  Fiber::Entry entry_;
  std::vector<std::unique_ptr<Fiber>> all_;
  std::vector<Fiber*> idle_;  // the last one given back is the warmest
};

}  // namespace heddle::emulator
