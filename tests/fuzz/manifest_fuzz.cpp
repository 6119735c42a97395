#include "tests/fuzz/checkpoint_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  heddle::fuzz::manifest(data, size);
  return 0;
}
