// What the emulator's tests share.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx.h"
#include "tests/emulator/grid.h"

namespace heddle::emulator {

// Calls `run(seed)` for several schedules and returns what it gives for each.
template <typename Run>
auto for_seeds(int count, Run run) {
  std::vector<decltype(run())> results;
  for (int seed = 0; seed < count; ++seed) {
    set_seed(static_cast<std::uint64_t>(seed));
    results.push_back(run());
  }
  return results;
}

// The text of the Fault that `run` ends with; a failure if there is none.
template <typename Run>
std::string fault_of(Run run) {
  try {
    run();
  } catch (const Fault& fault) {
    return fault.what();
  }
  ADD_FAILURE() << "no Fault";
  return {};
}

}  // namespace heddle::emulator

#define EXPECT_CONTAINS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)
