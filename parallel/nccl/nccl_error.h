// NCCL's return codes as Errors that name the call.
#pragma once

#include <nccl.h>

#include <string>

namespace heddle {

// "unhandled system error (Call to connect returned Connection refused)"
std::string nccl_reason(ncclResult_t status, ncclComm_t comm);

// Throws Error "NCCL, <call>: <reason>". `comm` may be null.
void nccl_check(ncclResult_t status, ncclComm_t comm, const std::string& call);

}  // namespace heddle
