// In place of parallel/nccl where there is no NCCL: says so.
#include "kernels/error.h"
#include "parallel/gpu_communicator.h"

namespace heddle {

std::unique_ptr<Communicator> make_nccl_communicator(GpuGroup) {
  throw Error(
      "several GPUs need NCCL, which this heddle was built without: install it, build again with "
      "launch/build.sh and "
      "look for \"NCCL\" in what cmake says; or start one rank; or let the ranks exchange through host "
      "memory with "
      "--share-gpu (slow)",
      kExitUsage, /*on_all_ranks=*/true);
}

std::string nccl_version() {
  return "";
}

}  // namespace heddle
