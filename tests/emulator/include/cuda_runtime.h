// The part of CUDA C++ and its runtime that heddle's kernels may use, for a C++ compiler and a CPU.
// Everything that is declared here and in the headers below exists in CUDA under the same name with the same
// meaning; what is not here, kernels do not use. __shared__ variables are missing on purpose: see
// kernels/cuda/ptx.h.
#pragma once

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __grid_constant__

#include "tests/emulator/device_functions.h"
#include "tests/emulator/device_math.h"
#include "tests/emulator/include/cuda_runtime_api_host.h"
#include "tests/emulator/include/vector_types.h"
