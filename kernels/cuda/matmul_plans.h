// cuBLASLt's products: descriptors and algorithms by shape.
//
// Which algorithm computes a product decides the order of its sums and with it the last bits. It is chosen at
// the first use of a shape and kept. By default it is the one that cuBLASLt's heuristic puts first, which
// depends on nothing but the shape, the GPU model and cuBLASLt's version: runs repeat bit by bit, and ranks
// that compute the same product get the same bits. See CudaOps::set_autotune() for the alternative.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "kernels/cuda/cublaslt.h"
#include "kernels/ops.h"

namespace heddle::cuda {

constexpr std::size_t kMatmulWorkspaceBytes = std::size_t{32}
                                              << 20;  // what cuBLASLt's fastest want on Hopper

// Bytes to which an operand's rows are aligned, up to the 16 that are read at once. No more than that is told
// to cuBLASLt: where memory happens to lie must not change the choice of an algorithm.
std::uint32_t alignment_of(const Tensor& t);

// What an algorithm is chosen for: M, N, K, the row strides of a and b, and a word of flags.
using PlanKey = std::array<std::int64_t, 6>;

// Of the product with all that is in its pass.
PlanKey key_of(const Matmul& m);

struct PlanKeyHash {
  std::size_t operator()(const PlanKey& key) const {
    std::uint64_t h = 0xcbf29ce484222325ull;  // FNV-1a over the words
    for (std::int64_t word : key) h = (h ^ static_cast<std::uint64_t>(word)) * 0x100000001b3ull;
    return h ^ (h >> 32);
  }
};

// cuBLASLt's matrices have contiguous columns, so row-major c[M, N] is its c^T[N, M] = op(b)^T op(a)^T: its
// first operand is b, its second a, and what it calls a row of the result is an output feature.
struct Plan {
  cublaslt::Description description = cublaslt::make_description();
  cublaslt::Layout a, b, c;
  bool supported = false;  // false: cuBLASLt has no algorithm for such operands
  cublasLtMatmulAlgo_t algorithm{};
};

// Plans by shape, made when they are first asked for.
class Matmuls {
 public:
  void set_autotune(bool autotune) { autotune_ = autotune; }
  bool autotunes() const { return autotune_; }

  // False, and nothing is queued, where cuBLASLt has no such product. What `m` has beside the product,
  // cuBLASLt does in the same pass; sums (a_sums, b_sums) are written, not added to.
  bool multiply(const Matmul& m, void* workspace, cudaStream_t stream);

  // By the product in one pass: whether that is known to be faster than two.
  std::unordered_map<PlanKey, bool, PlanKeyHash>& one_pass_is_faster() { return one_pass_is_faster_; }

 private:
  using Candidate = cublasLtMatmulHeuristicResult_t;

  Plan make_plan(const Matmul& m, void* workspace, cudaStream_t stream);
  std::vector<Candidate> find_candidates(const Plan& plan, const Matmul& m, int count);
  // The index of the candidate that takes the least time for these operands. What c holds is overwritten,
  // except when it is added to: then the results go to memory taken for the moment, and the first is chosen
  // if there is none.
  std::size_t fastest(const Plan& plan, const Matmul& m, const std::vector<Candidate>& candidates,
                      void* workspace, cudaStream_t stream);
  cublasStatus_t run(const Plan& plan, const Matmul& m, const cublasLtMatmulAlgo_t& algorithm, void* result,
                     void* workspace, cudaStream_t stream);

  cublaslt::Handle handle_ = cublaslt::make_handle();
  std::unordered_map<PlanKey, Plan, PlanKeyHash> plans_;
  std::unordered_map<PlanKey, bool, PlanKeyHash> one_pass_is_faster_;
  bool autotune_ = false;
};

}  // namespace heddle::cuda
