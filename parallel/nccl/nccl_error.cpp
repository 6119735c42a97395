#include "parallel/nccl/nccl_error.h"

#include "kernels/error.h"

namespace heddle {

std::string nccl_reason(ncclResult_t status, ncclComm_t comm) {
  const std::string reason = ncclGetErrorString(status);
  const char* detail = ncclGetLastError(comm);
  return detail && *detail ? fmt::format("{} ({})", reason, detail) : reason;
}

void nccl_check(ncclResult_t status, ncclComm_t comm, const std::string& call) {
  if (status != ncclSuccess && status != ncclInProgress)
    throw error("NCCL, {}: {}", call, nccl_reason(status, comm));
}

}  // namespace heddle
