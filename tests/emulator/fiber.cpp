#include "tests/emulator/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the registers that a call keeps, and the stack pointer at *from; continues at the stack pointer `to`.
#ifndef HEDDLE_EMULATOR_UCONTEXT
asm(R"(
.text
.type heddle_emulator_switch, @function
heddle_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size heddle_emulator_switch, .-heddle_emulator_switch
)");
extern "C" void heddle_emulator_switch(void** from, void* to);
#endif

namespace heddle::emulator {
namespace {

constexpr std::size_t kStackBytes = 256 << 10;  // address space; a page is memory once it is touched

constinit thread_local Fiber* running = nullptr;
[[maybe_unused]] constinit thread_local Fiber* previous = nullptr;

}  // namespace

Fiber::Fiber(Entry entry, std::size_t index) : entry_(entry) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  mapping_ = mmap(nullptr, page + kStackBytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (mapping_ == MAP_FAILED || mprotect(mapping_, page, PROT_NONE) != 0)
    throw std::system_error(errno, std::generic_category(), "a stack for an emulated thread");
  bottom_ = static_cast<char*>(mapping_) + page;
  // Stack tops at one offset in their pages would share a few sets of the first-level cache.
  size_ = kStackBytes - index % 64 * 64;
  reset();
}

Fiber::~Fiber() {
  if (mapping_ == nullptr) return;
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
#ifdef __SANITIZE_ADDRESS__
  ASAN_UNPOISON_MEMORY_REGION(bottom_, kStackBytes);
#endif
  munmap(mapping_, page + kStackBytes);
}

void Fiber::reset() {
#ifdef __SANITIZE_ADDRESS__
  ASAN_UNPOISON_MEMORY_REGION(bottom_, kStackBytes);
  sanitizer_stack_ = nullptr;
#endif
#ifdef HEDDLE_EMULATOR_UCONTEXT
  getcontext(&context_);
  context_.uc_stack.ss_sp = const_cast<void*>(bottom_);
  context_.uc_stack.ss_size = size_;
  context_.uc_link = nullptr;
  makecontext(&context_, &Fiber::start, 0);
#else
  // As if start() had been called from address 0, where back traces end, and were about to run: start()
  // itself is what the switch returns to, after six registers.
  auto* top = reinterpret_cast<std::uintptr_t*>(static_cast<char*>(const_cast<void*>(bottom_)) + size_);
  *--top = 0;
  *--top = reinterpret_cast<std::uintptr_t>(&Fiber::start);
  for (int saved = 0; saved < 6; ++saved) *--top = 0;
  stack_pointer_ = top;
#endif
}

void Fiber::start() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &previous->bottom_, &previous->size_);
#endif
  running->entry_();
}

void Fiber::switch_to(Fiber& from, Fiber& to) {
  running = &to;
  previous = &from;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&from.sanitizer_stack_, to.bottom_, to.size_);
#endif
#ifdef HEDDLE_EMULATOR_UCONTEXT
  swapcontext(&from.context_, &to.context_);
#else
  heddle_emulator_switch(&from.stack_pointer_, to.stack_pointer_);
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(from.sanitizer_stack_, &previous->bottom_, &previous->size_);
#endif
}

Fiber& FiberPool::take() {
  if (idle_.empty()) {
    all_.push_back(std::make_unique<Fiber>(entry_, all_.size()));
    return *all_.back();
  }
  Fiber& fiber = *idle_.back();
  idle_.pop_back();
  return fiber;
}

}  // namespace heddle::emulator
