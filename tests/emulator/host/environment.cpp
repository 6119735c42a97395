#include "tests/emulator/host/environment.h"

#include <cstdio>
#include <cstdlib>

namespace heddle::emulator {

namespace {

[[noreturn]] void refuse(const char* variable, const char* text) {
  std::fprintf(stderr, "emulator: %s=%s is not a count\n", variable, text);
  std::exit(2);
}

// A number, perhaps with K, M or G.
std::size_t count_from(const char* variable, std::size_t otherwise) {
  const char* text = std::getenv(variable);
  if (!text || !*text) return otherwise;
  char* end = nullptr;
  std::size_t value = std::strtoull(text, &end, 10);
  if (end == text) refuse(variable, text);
  switch (*end) {
    case 'G': value <<= 10; [[fallthrough]];
    case 'M': value <<= 10; [[fallthrough]];
    case 'K':
      value <<= 10;
      ++end;
      break;
    default: break;
  }
  if (*end) refuse(variable, text);
  return value;
}

}  // namespace

int emulated_gpus() {
  static const auto gpus = static_cast<int>(count_from("HEDDLE_EMULATOR_GPUS", 8));
  return gpus;
}

std::size_t emulated_memory() {
  static const std::size_t bytes = count_from("HEDDLE_EMULATOR_MEMORY", std::size_t{4} << 30);
  return bytes;
}

}  // namespace heddle::emulator
