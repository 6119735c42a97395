// The CUDA backend's operations under the emulator, with the host's memory as the GPU's.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/device.h"

namespace heddle::test {

// Three multiprocessors, so that grids are small and kernels that loop over their work do loop. `seed` gives the
// order in which blocks, warps and lanes run, for this device and all others of the process.
std::unique_ptr<Device> make_emulated_device(std::uint64_t seed);

}  // namespace heddle::test
