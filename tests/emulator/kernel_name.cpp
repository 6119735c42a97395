#include <fmt/format.h>

#include <cstddef>
#include <mutex>
#include <string>
#include <unordered_map>

#include "tests/emulator/grid.h"

// From the runtime of the sanitizers, which every emulated program has: UndefinedBehaviorSanitizer is always
// on.
extern "C" __attribute__((weak)) void __sanitizer_symbolize_pc(void* pc, const char* format, char* out,
                                                               std::size_t out_size);

namespace heddle::emulator {
namespace {

std::string find_name(const void* function) {
  char name[512] = "";
  if (__sanitizer_symbolize_pc != nullptr) {
    // It looks up the byte before a return address.
    __sanitizer_symbolize_pc(static_cast<char*>(const_cast<void*>(function)) + 1, "%f", name, sizeof name);
  }
  return name[0] != '\0' ? std::string(name) : fmt::format("at {}", function);
}

}  // namespace

const char* kernel_name(const void* function) {
  static std::mutex mutex;
  static std::unordered_map<const void*, std::string> names;
  const std::lock_guard lock(mutex);
  auto [entry, is_new] = names.try_emplace(function);
  if (is_new) entry->second = find_name(function);
  return entry->second.c_str();
}

}  // namespace heddle::emulator
