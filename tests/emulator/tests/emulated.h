// What the emulator's tests share.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <type_traits>
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

// Runs a kernel at once, on host memory, as no launch does. Throws Fault.
template <auto Kernel, typename... Parameters>
void run_kernel(void (*)(Parameters...), const cuda::LaunchShape& shape,
                const std::type_identity_t<Parameters>&... arguments) {
  run_grid(kernel_name(reinterpret_cast<const void*>(Kernel)), shape.grid, shape.block, shape.shared_bytes,
           [&] { Kernel(arguments...); });
}
template <auto Kernel, typename... Arguments>
void run_now(const cuda::LaunchShape& shape, const Arguments&... arguments) {
  run_kernel<Kernel>(Kernel, shape, arguments...);
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

// Where the tests of kernels live, as kernels do.
namespace heddle::cuda {
using emulator::run_now;
}

#define EXPECT_CONTAINS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)
