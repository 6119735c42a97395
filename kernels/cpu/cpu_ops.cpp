#include "kernels/cpu/cpu_ops.h"

#include <omp.h>

namespace heddle {

std::unique_ptr<Ops> make_cpu_ops(int threads) {
  return std::make_unique<CpuOps>(threads > 0 ? threads : omp_get_num_procs());
}

}  // namespace heddle
