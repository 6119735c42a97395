// What stands in for kernels/cuda where heddle is built without the CUDA toolkit.

#include "kernels/device.h"
#include "kernels/error.h"

namespace heddle {

namespace {

[[noreturn]] void refuse() {
  throw Error(
      "device = cuda: this heddle was built without CUDA; install the CUDA toolkit (nvcc and cuBLAS), build again "
      "with launch/build.sh and look for \"CUDA\" in what cmake says",
      kExitUsage, /*on_all_ranks=*/true);
}

}  // namespace

std::unique_ptr<Device> make_cuda_device(int) { refuse(); }
int count_cuda_devices() { refuse(); }

}  // namespace heddle
