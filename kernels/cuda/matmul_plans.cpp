#include "kernels/cuda/matmul_plans.h"

#include <limits>

#include "kernels/cuda/cuda_error.h"
#include "kernels/cuda/stopwatch.h"
#include "kernels/matmul_passes.h"

namespace heddle::cuda {

namespace {

using namespace cublaslt;
using cublaslt::check;
using cuda::check;

constexpr int kCandidates = 8;  // that autotuning times
constexpr int kTimings = 3;

cudaDataType_t data_type(DType dtype) {
  return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

// The row stride that cuBLASLt accepts: a matrix of one row may carry any.
std::int64_t row_stride(const Tensor& t) {
  return t.size(0) > 1 ? t.stride[0] : t.size(1);
}

// What cuBLASLt does behind the product. Its first operand is our b, its second our a.
cublasLtEpilogue_t epilogue_of(const Matmul& m) {
  if (m.activation_backward) return CUBLASLT_EPILOGUE_DGELU;
  if (m.a_sums) return CUBLASLT_EPILOGUE_BGRADB;
  if (m.b_sums) return CUBLASLT_EPILOGUE_BGRADA;
  if (m.activation == Activation::gelu_tanh)
    return m.bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
  return m.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

Layout layout_of(const Tensor& t) {
  return make_layout(data_type(t.dtype), static_cast<std::uint64_t>(t.size(1)),
                     static_cast<std::uint64_t>(t.size(0)), row_stride(t));
}

void set_pointers(Plan& plan, const Matmul& m) {
  for (const Tensor* vector : {&m.bias, &m.a_sums, &m.b_sums})
    if (*vector) set(plan.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector->data);
  if (m.pre_activation)
    set(plan.description, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, m.pre_activation.data);
}

Plan describe(const Matmul& m) {
  Plan plan;
  const auto operation = [](bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; };
  set(plan.description, CUBLASLT_MATMUL_DESC_TRANSA, operation(m.transpose_b));
  set(plan.description, CUBLASLT_MATMUL_DESC_TRANSB, operation(m.transpose_a));
  set(plan.description, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(m));
  if (m.pre_activation) set(plan.description, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, m.pre_activation.size(1));
  set_pointers(plan, m);
  plan.a = layout_of(m.a);
  plan.b = layout_of(m.b);
  plan.c = layout_of(m.c);
  return plan;
}

// Whether cuBLASLt says that it has no such product. Versions differ in which epilogues of a backward they
// take, and in whether the others are unsupported or invalid to them; those can be done without.
bool declines(cublasStatus_t status, const Matmul& m) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED ||
         (status == CUBLAS_STATUS_INVALID_VALUE && has_second_pass(m));
}

}  // namespace

std::uint32_t alignment_of(const Tensor& t) {
  const auto bits = reinterpret_cast<std::uintptr_t>(t.data) |
                    static_cast<std::uintptr_t>(row_stride(t)) * size_of(t.dtype) | 16;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

PlanKey key_of(const Matmul& m) {
  const std::int64_t flags =
      m.transpose_a | m.transpose_b << 1 | m.accumulate << 2 | static_cast<std::int64_t>(m.a.dtype) << 4 |
      static_cast<std::int64_t>(m.c.dtype) << 8 | std::int64_t{alignment_of(m.a)} << 16 |
      std::int64_t{alignment_of(m.b)} << 24 | std::int64_t{alignment_of(m.c)} << 32 |
      static_cast<std::int64_t>(epilogue_of(m)) << 40;
  return {m.c.size(0), m.c.size(1), m.b.size(m.transpose_b ? 1 : 0), row_stride(m.a), row_stride(m.b), flags};
}

bool Matmuls::multiply(const Matmul& m, void* workspace, cudaStream_t stream) {
  auto found = plans_.find(key_of(m));
  if (found == plans_.end()) found = plans_.emplace(key_of(m), make_plan(m, workspace, stream)).first;
  Plan& plan = found->second;
  if (!plan.supported) return false;
  set_pointers(plan, m);
  const cublasStatus_t status = run(plan, m, plan.algorithm, m.c.data, workspace, stream);
  plan.supported = !declines(status, m);  // the heuristic had promised too much
  if (plan.supported) check(status, "cublasLtMatmul");
  return plan.supported;
}

Plan Matmuls::make_plan(const Matmul& m, void* workspace, cudaStream_t stream) {
  Plan plan = describe(m);
  const bool tune = autotune_ && !is_capturing(stream);
  const std::vector<Candidate> candidates = find_candidates(plan, m, tune ? kCandidates : 1);
  if (candidates.empty()) return plan;
  plan.supported = true;
  plan.algorithm =
      candidates[candidates.size() > 1 ? fastest(plan, m, candidates, workspace, stream) : 0].algo;
  return plan;
}

std::vector<Matmuls::Candidate> Matmuls::find_candidates(const Plan& plan, const Matmul& m, int count) {
  const Preference preference = make_preference();
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMatmulWorkspaceBytes);
  // Parts of a sum over K (split-K) are added in f32, in order: never in c, which may be bf16.
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(m.b));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(m.a));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(m.c));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(m.c));
  std::vector<Candidate> candidates(static_cast<std::size_t>(count));
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle_.get(), plan.description.get(), plan.b.get(), plan.a.get(), plan.c.get(), plan.c.get(),
      preference.get(), count, candidates.data(), &found);
  if (declines(status, m)) return {};
  check(status, "cublasLtMatmulAlgoGetHeuristic");
  candidates.resize(static_cast<std::size_t>(found));
  std::erase_if(candidates, [](const Candidate& c) { return c.state != CUBLAS_STATUS_SUCCESS; });
  return candidates;
}

std::size_t Matmuls::fastest(const Plan& plan, const Matmul& m, const std::vector<Candidate>& candidates,
                             void* workspace, cudaStream_t stream) {
  void* result = m.c.data;
  if (m.accumulate && cudaMalloc(&result, m.c.bytes()) != cudaSuccess) {
    cudaGetLastError();  // that there is too little memory is no news for the next call
    return 0;
  }
  const Memory owner(m.accumulate ? result : nullptr, m.c.bytes(), [](void* p) { cudaFree(p); });
  Stopwatch stopwatch;
  std::size_t best = 0;
  float best_time = std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const auto work = [&] { return run(plan, m, candidates[i].algo, result, workspace, stream); };
    if (work() != CUBLAS_STATUS_SUCCESS) continue;  // this run loads the kernel
    for (int timing = 0; timing < kTimings; ++timing) {
      const float time = stopwatch.measure(stream, work);
      if (time < best_time) best_time = time, best = i;
    }
  }
  return best;
}

cublasStatus_t Matmuls::run(const Plan& plan, const Matmul& m, const cublasLtMatmulAlgo_t& algorithm,
                            void* result, void* workspace, cudaStream_t stream) {
  const float alpha = 1, beta = m.accumulate ? 1 : 0;
  return cublasLtMatmul(handle_.get(), plan.description.get(), &alpha, m.b.data, plan.b.get(), m.a.data,
                        plan.a.get(), &beta, m.c.data, plan.c.get(), result, plan.c.get(), &algorithm,
                        workspace, kMatmulWorkspaceBytes, stream);
}

}  // namespace heddle::cuda
