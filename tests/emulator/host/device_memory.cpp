#include "tests/emulator/host/device_memory.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "tests/emulator/host/environment.h"

namespace heddle::emulator {

namespace {

constexpr std::size_t kReserved = std::size_t{64} << 30;
constexpr std::size_t kGuard = 256;
// As bf16 and f32 a NaN, as an integer far out of any range, and not what fresh memory holds.
constexpr std::uint64_t kGuardPattern = 0xffc5ffc5ffc5ffc5ull;

std::size_t round_up(std::size_t bytes) {
  return (bytes + DeviceMemory::kAlignment - 1) / DeviceMemory::kAlignment * DeviceMemory::kAlignment;
}

std::byte guard_byte(std::size_t i) {
  return static_cast<std::byte>(kGuardPattern >> (i % 8 * 8));
}

// Guard bytes [from, to) of an allocation that starts at `data`; both may be negative offsets.
void fill_guard(std::byte* data, std::ptrdiff_t from, std::ptrdiff_t to) {
  for (std::ptrdiff_t i = from; i < to; ++i) data[i] = guard_byte(static_cast<std::size_t>(i) % 8);
}
std::optional<std::ptrdiff_t> damaged_guard(const std::byte* data, std::ptrdiff_t from, std::ptrdiff_t to) {
  for (; from < to && from % 8 != 0; ++from)
    if (data[from] != guard_byte(static_cast<std::size_t>(from) % 8)) return from;
  for (; from < to; from += 8) {
    std::uint64_t word;
    std::memcpy(&word, data + from, 8);
    if (word == kGuardPattern) continue;
    while (data[from] == guard_byte(static_cast<std::size_t>(from) % 8)) ++from;
    return from;
  }
  return std::nullopt;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
void explain_faults() {}  // the sanitizer has a handler of its own
#else
struct sigaction g_previous_handler;

// Says what a host access to device memory is; then the previous handler, or the default, ends the process.
void explain_fault(int, siginfo_t* info, void*) {
  const auto block = DeviceMemory::instance().find(info->si_addr);
  if (DeviceMemory::instance().owns(info->si_addr)) {
    char line[200];
    const auto end =
        block ? fmt::format_to_n(line, sizeof(line) - 1,
                                 "emulator: host code touched device memory at {} (byte {} of an "
                                 "allocation of {} bytes)\n",
                                 info->si_addr, static_cast<std::byte*>(info->si_addr) - block->data,
                                 block->bytes)
              : fmt::format_to_n(line, sizeof(line) - 1,
                                 "emulator: host code touched device memory at {} (not allocated)\n",
                                 info->si_addr);
    if (write(STDERR_FILENO, line, static_cast<std::size_t>(end.out - line)) < 0) _exit(1);
  }
  sigaction(SIGSEGV, &g_previous_handler, nullptr);  // the access faults again and finds it
}

void explain_faults() {
  struct sigaction action {};
  action.sa_sigaction = explain_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, &g_previous_handler);
}
#endif

}  // namespace

DeviceMemory& DeviceMemory::instance() {
  static DeviceMemory* memory =
      new DeviceMemory;  // never destroyed: other static objects may still free memory
  return *memory;
}

DeviceMemory::DeviceMemory() : used_(static_cast<std::size_t>(emulated_gpus())), total_(emulated_memory()) {
  void* base = mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    std::perror("emulator: cannot reserve addresses for device memory");
    std::abort();
  }
  base_ = static_cast<std::byte*>(base);
  madvise(base, kReserved, MADV_HUGEPAGE);  // protect() is called all the time and takes time by the page
  explain_faults();
}

std::optional<std::size_t> DeviceMemory::take(std::size_t bytes) {
  for (auto range = free_.begin(); range != free_.end(); ++range) {
    const auto [offset, size] = *range;
    if (size < bytes) continue;
    free_.erase(range);
    if (size > bytes) free_.emplace(offset + bytes, size - bytes);
    return offset;
  }
  if (kReserved - top_ < bytes) return std::nullopt;
  const std::size_t offset = top_;
  top_ += (bytes + 0xffff) / 0x10000 * 0x10000;  // whole pages become accessible
  top_ = std::min(top_, kReserved);
  if (top_ - offset > bytes) free_.emplace(offset + bytes, top_ - offset - bytes);
  if (open_ > 0) protect();
  return offset;
}

void DeviceMemory::give(std::size_t offset, std::size_t bytes) {
  auto next = free_.lower_bound(offset);
  if (next != free_.end() && offset + bytes == next->first) {
    bytes += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second == offset) {
      previous->second += bytes;
      return;
    }
  }
  free_.emplace(offset, bytes);
}

void* DeviceMemory::allocate(int device, std::size_t bytes) {
  std::size_t& used = used_[static_cast<std::size_t>(device)];
  if (bytes > total_ || round_up(bytes) > total_ - used) return nullptr;
  const auto offset = take(round_up(bytes) + 2 * kGuard);
  if (!offset) return nullptr;
  used += round_up(bytes);
  std::byte* data = base_ + *offset + kGuard;
  blocks_.emplace(data, Block{data, bytes, device});
  const DeviceAccess access;
  std::memset(data, 0xff, bytes);
  fill_guard(data, -static_cast<std::ptrdiff_t>(kGuard), 0);
  fill_guard(data, static_cast<std::ptrdiff_t>(bytes), static_cast<std::ptrdiff_t>(round_up(bytes) + kGuard));
  return data;
}

bool DeviceMemory::release(void* pointer) {
  const auto found = blocks_.find(static_cast<std::byte*>(pointer));
  if (found == blocks_.end()) return false;
  const Block block = found->second;
  blocks_.erase(found);
  used_[static_cast<std::size_t>(block.device)] -= round_up(block.bytes);
  constexpr std::size_t kLarge = 1 << 20, kPage = 4096;
  if (block.bytes >= kLarge) {  // back to the system
    const auto first = (reinterpret_cast<std::uintptr_t>(block.data) + kPage - 1) / kPage * kPage;
    const auto last = (reinterpret_cast<std::uintptr_t>(block.data) + block.bytes) / kPage * kPage;
    madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  } else {
    const DeviceAccess access;
    std::memset(block.data, 0xff, block.bytes);
  }
  give(static_cast<std::size_t>(block.data - base_) - kGuard, round_up(block.bytes) + 2 * kGuard);
  return true;
}

void DeviceMemory::release_all() {
  while (!blocks_.empty()) release(blocks_.begin()->first);
}

bool DeviceMemory::owns(const void* pointer) const {
  const auto* p = static_cast<const std::byte*>(pointer);
  return p >= base_ && p < base_ + kReserved;
}

std::optional<DeviceMemory::Block> DeviceMemory::find(const void* pointer) const {
  auto* p = const_cast<std::byte*>(static_cast<const std::byte*>(pointer));
  const auto above = blocks_.upper_bound(p);
  if (above == blocks_.begin()) return std::nullopt;
  const Block& block = std::prev(above)->second;
  if (p > block.data + block.bytes) return std::nullopt;
  return block;
}

std::size_t DeviceMemory::used(int device) const {
  return used_[static_cast<std::size_t>(device)];
}

std::optional<std::string> DeviceMemory::damage() {
  for (const auto& [data, block] : blocks_) {
    const auto bytes = static_cast<std::ptrdiff_t>(block.bytes);
    auto at = damaged_guard(data, -static_cast<std::ptrdiff_t>(kGuard), 0);
    if (!at) at = damaged_guard(data, bytes, static_cast<std::ptrdiff_t>(round_up(block.bytes) + kGuard));
    if (!at) continue;
    // Report a write once.
    fill_guard(data, -static_cast<std::ptrdiff_t>(kGuard), 0);
    fill_guard(data, bytes, static_cast<std::ptrdiff_t>(round_up(block.bytes) + kGuard));
    return fmt::format("wrote {} an allocation of {} bytes at {}: byte {}", *at < 0 ? "before" : "behind",
                       block.bytes, static_cast<void*>(data), *at);
  }
  return std::nullopt;
}

void DeviceMemory::protect() {
  if (top_ == 0) return;
  if (mprotect(base_, top_, open_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE) != 0) {
    std::perror("emulator: mprotect of device memory");
    std::abort();
  }
}

void DeviceMemory::open() {
  if (open_++ == 0) protect();
}
void DeviceMemory::close() {
  if (--open_ == 0) protect();
}

}  // namespace heddle::emulator
