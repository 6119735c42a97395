// In place of kernels/cuda where there is no CUDA toolkit: says so.
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

std::unique_ptr<Device> make_cuda_device(int, bool) {
  refuse();
}
std::vector<GpuDescription> cuda_devices() {
  refuse();
}
std::string cuda_versions() {
  return "";
}

}  // namespace heddle
