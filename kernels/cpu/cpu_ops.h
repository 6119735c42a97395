// The operations of the CPU backend.
#pragma once

#include <memory>

#include "kernels/ops.h"

namespace heddle {

// All operations on host memory with `threads` OpenMP threads.
std::unique_ptr<Ops> make_cpu_ops(int threads);

}  // namespace heddle
