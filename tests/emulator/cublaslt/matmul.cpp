// Algorithms, and the call itself.
#include <fmt/format.h>

#include <cstring>

#include "tests/emulator/cublaslt/descriptors.h"
#include "tests/emulator/cublaslt/problem.h"
#include "tests/emulator/host/device_memory.h"
#include "tests/emulator/host/work.h"

namespace {

using namespace heddle::emulator;

constexpr int kAlgorithms = 3;
constexpr int kSplitAlgorithm = 2;  // sums over k in pieces, which it keeps in workspace
constexpr int kPieces = 2;

// What cublasLtMatmulAlgo_t::data holds.
struct Algorithm {
  std::uint64_t number;       // 1 to kAlgorithms
  std::uint64_t fingerprint;  // of the problem it was chosen for
};

std::size_t workspace_of(std::uint64_t algorithm, const Problem& p) {
  return algorithm == kSplitAlgorithm
             ? static_cast<std::size_t>(p.m * p.n * p.batch_count) * sizeof(float) * kPieces
             : 0;
}

bool usable_workspace(const void* workspace, std::size_t bytes) {
  const auto block = DeviceMemory::instance().find(workspace);
  return block && static_cast<const std::byte*>(workspace) + bytes <= block->data + block->bytes &&
         reinterpret_cast<std::uintptr_t>(workspace) % 16 == 0;
}

// Queued: the workspace's old contents are lost before the product is computed.
struct Run {
  Problem problem;
  void* workspace;
  std::size_t workspace_bytes;

  void operator()() const {
    if (workspace_bytes > 0) {
      if (!usable_workspace(workspace, workspace_bytes))
        throw Fault(fmt::format("cublasLtMatmul: the workspace at {} is not {} bytes of device memory",
                                workspace, workspace_bytes));
      std::memset(workspace, 0xff, workspace_bytes);
    }
    solve(problem);
  }
};

}  // namespace

extern "C" {

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* returned) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!preference || !results || !returned || requested <= 0) return CUBLAS_STATUS_INVALID_VALUE;
  *returned = 0;
  Problem problem;
  if (const auto status = make_problem(desc, a, b, c, d, &problem); status != CUBLAS_STATUS_SUCCESS)
    return status;
  for (std::uint64_t number = 1; number <= kAlgorithms && *returned < requested; ++number) {
    const std::size_t workspace = workspace_of(number, problem);
    if (workspace > preference->max_workspace_bytes) continue;
    if (number == kSplitAlgorithm &&
        !(preference->reduction_scheme_mask & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE))
      continue;
    cublasLtMatmulHeuristicResult_t& result = results[(*returned)++];
    result = {};
    const Algorithm algorithm{number, fingerprint(problem)};
    std::memcpy(result.algo.data, &algorithm, sizeof algorithm);
    result.workspaceSize = workspace;
    result.state = CUBLAS_STATUS_SUCCESS;
    result.wavesCount = static_cast<float>(number);
  }
  return *returned > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algo,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void* value, std::size_t bytes, std::size_t* written) {
  if (!algo || !value || bytes != sizeof(std::int32_t)) return CUBLAS_STATUS_INVALID_VALUE;
  Algorithm algorithm;
  std::memcpy(&algorithm, algo->data, sizeof algorithm);
  const bool split = algorithm.number == kSplitAlgorithm;
  std::int32_t number = 0;
  switch (attribute) {
    case CUBLASLT_ALGO_CONFIG_ID: number = static_cast<std::int32_t>(algorithm.number); break;
    case CUBLASLT_ALGO_CONFIG_TILE_ID: number = 0; break;
    case CUBLASLT_ALGO_CONFIG_SPLITK_NUM: number = split ? kPieces : 1; break;
    case CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME:
      number = split ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE : CUBLASLT_REDUCTION_SCHEME_NONE;
      break;
    default: return CUBLAS_STATUS_INVALID_VALUE;
  }
  std::memcpy(value, &number, sizeof number);
  if (written) *written = sizeof number;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void* alpha,
                              const void* A, cublasLtMatrixLayout_t a, const void* B,
                              cublasLtMatrixLayout_t b, const void* beta, const void* C,
                              cublasLtMatrixLayout_t c, void* D, cublasLtMatrixLayout_t d,
                              const cublasLtMatmulAlgo_t* algo, void* workspace, std::size_t workspace_bytes,
                              cudaStream_t stream) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!alpha || !beta) return CUBLAS_STATUS_INVALID_VALUE;
  Problem problem;
  if (const auto status = make_problem(desc, a, b, c, d, &problem); status != CUBLAS_STATUS_SUCCESS)
    return status;
  problem.alpha = *static_cast<const float*>(alpha);
  problem.beta = *static_cast<const float*>(beta);
  problem.a.data = static_cast<std::byte*>(const_cast<void*>(A));
  problem.b.data = static_cast<std::byte*>(const_cast<void*>(B));
  problem.c.data = static_cast<std::byte*>(const_cast<void*>(C));
  problem.d.data = static_cast<std::byte*>(D);
  if (const auto status = check_pointers(problem); status != CUBLAS_STATUS_SUCCESS) return status;
  Algorithm algorithm{1, fingerprint(problem)};
  if (algo) std::memcpy(&algorithm, algo->data, sizeof algorithm);
  if (algorithm.number < 1 || algorithm.number > kAlgorithms || algorithm.fingerprint != fingerprint(problem))
    return CUBLAS_STATUS_INVALID_VALUE;
  const std::size_t needed = workspace_of(algorithm.number, problem);
  if (needed > workspace_bytes || (needed > 0 && !workspace)) return CUBLAS_STATUS_INVALID_VALUE;
  const std::string name = fmt::format("cublasLtMatmul {} x {} x {}", problem.m, problem.n, problem.k);
  const cudaError_t status = enqueue(stream, name, std::function<void()>(Run{problem, workspace, needed}));
  return status == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // extern "C"
