// The family "matmul": cuBLASLt's products, and for rows that must not depend on each other or shapes that
// cuBLASLt refuses a kernel of our own (row_invariant_matmul.h).
//
// Which algorithm computes a product decides the order of its sums and with it the last bits. It is chosen at
// the first use of a shape and kept. By default it is the one that cuBLASLt's heuristic puts first, which
// depends on nothing but the shape, the GPU model and cuBLASLt's version: runs repeat bit by bit, and ranks
// that compute the same product get the same bits. See CudaOps::set_autotune() for the alternative.
#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <unordered_map>
#include <vector>

#include "kernels/checks.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/cuda_error.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/row_invariant_matmul.h"

namespace heddle {

namespace cuda {

namespace {

using namespace cublaslt;
using cublaslt::check;
using cuda::check;

constexpr std::size_t kWorkspaceBytes = std::size_t{32}
                                        << 20;  // what cuBLASLt's fastest algorithms want on Hopper
constexpr int kCandidates = 8;                  // that autotuning times
constexpr int kTimings = 3;

static_assert(kWorkspaceBytes <= CudaOps::kScratchBytes);

cudaDataType_t data_type(DType dtype) {
  return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

// The row stride that cuBLASLt accepts: a matrix of one row may carry any.
std::int64_t row_stride(const Tensor& t) {
  return t.size(0) > 1 ? t.stride[0] : t.size(1);
}

// Bytes to which an operand's rows are aligned, up to the 16 that are read at once. No more than that is told
// to cuBLASLt: where memory happens to lie must not change the choice of an algorithm.
std::uint32_t alignment_of(const Tensor& t) {
  const auto bits = reinterpret_cast<std::uintptr_t>(t.data) |
                    static_cast<std::uintptr_t>(row_stride(t)) * size_of(t.dtype) | 16;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

// What cuBLASLt does behind the product.
cublasLtEpilogue_t epilogue_of(const Matmul& m) {
  if (m.activation == Activation::gelu_tanh)
    return m.bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
  return m.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

// What an algorithm is chosen for: M, N, K, the row strides of a and b, and a word of flags.
using PlanKey = std::array<std::int64_t, 6>;

PlanKey key_of(const Matmul& m) {
  const std::int64_t flags =
      m.transpose_a | m.transpose_b << 1 | m.accumulate << 2 | static_cast<std::int64_t>(m.a.dtype) << 4 |
      static_cast<std::int64_t>(m.c.dtype) << 8 | std::int64_t{alignment_of(m.a)} << 16 |
      std::int64_t{alignment_of(m.b)} << 24 | std::int64_t{alignment_of(m.c)} << 32 |
      static_cast<std::int64_t>(epilogue_of(m)) << 40;
  return {m.c.size(0), m.c.size(1), m.b.size(m.transpose_b ? 1 : 0), row_stride(m.a), row_stride(m.b), flags};
}

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
  Description description = make_description();
  Layout a, b, c;
  bool supported = false;  // false: cuBLASLt has no algorithm for such operands
  cublasLtMatmulAlgo_t algorithm{};
};

Layout layout_of(const Tensor& t) {
  return make_layout(data_type(t.dtype), static_cast<std::uint64_t>(t.size(1)),
                     static_cast<std::uint64_t>(t.size(0)), row_stride(t));
}

void set_pointers(Plan& plan, const Matmul& m) {
  if (m.bias) set(plan.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, m.bias.data);
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

// Milliseconds between two points of a stream.
class Stopwatch {
 public:
  Stopwatch() {
    check(cudaEventCreate(&start_), "cudaEventCreate");
    check(cudaEventCreate(&end_), "cudaEventCreate");
  }
  ~Stopwatch() {
    cudaEventDestroy(start_);
    cudaEventDestroy(end_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  template <typename Work>
  float measure(cudaStream_t stream, Work work) {
    check(cudaEventRecord(start_, stream), "cudaEventRecord");
    work();
    check(cudaEventRecord(end_, stream), "cudaEventRecord");
    check(cudaEventSynchronize(end_), "cudaEventSynchronize");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, start_, end_), "cudaEventElapsedTime");
    return milliseconds;
  }

 private:
  cudaEvent_t start_ = nullptr, end_ = nullptr;
};

bool is_capturing(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream, &status), "cudaStreamIsCapturing");
  return status != cudaStreamCaptureStatusNone;
}

}  // namespace

// Plans by shape, made when they are first asked for.
class Matmuls {
 public:
  void set_autotune(bool autotune) { autotune_ = autotune; }

  // False, and nothing is queued, where cuBLASLt has no such product. `m` has an activation only if cuBLASLt
  // does it.
  bool multiply(const Matmul& m, void* workspace, cudaStream_t stream) {
    auto found = plans_.find(key_of(m));
    if (found == plans_.end()) found = plans_.emplace(key_of(m), make_plan(m, workspace, stream)).first;
    Plan& plan = found->second;
    if (!plan.supported) return false;
    set_pointers(plan, m);
    const cublasStatus_t status = run(plan, m, plan.algorithm, m.c.data, workspace, stream);
    plan.supported = status != CUBLAS_STATUS_NOT_SUPPORTED;  // the heuristic had promised too much
    if (plan.supported) check(status, "cublasLtMatmul");
    return plan.supported;
  }

 private:
  using Candidate = cublasLtMatmulHeuristicResult_t;

  Plan make_plan(const Matmul& m, void* workspace, cudaStream_t stream) {
    Plan plan = describe(m);
    const bool tune = autotune_ && !is_capturing(stream);
    const std::vector<Candidate> candidates = find_candidates(plan, m, tune ? kCandidates : 1);
    if (candidates.empty()) return plan;
    plan.supported = true;
    plan.algorithm =
        candidates[candidates.size() > 1 ? fastest(plan, m, candidates, workspace, stream) : 0].algo;
    return plan;
  }

  std::vector<Candidate> find_candidates(const Plan& plan, const Matmul& m, int count) {
    const Preference preference = make_preference();
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
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
    if (status == CUBLAS_STATUS_NOT_SUPPORTED) return {};
    check(status, "cublasLtMatmulAlgoGetHeuristic");
    candidates.resize(static_cast<std::size_t>(found));
    std::erase_if(candidates, [](const Candidate& c) { return c.state != CUBLAS_STATUS_SUCCESS; });
    return candidates;
  }

  // The index of the candidate that takes the least time for these operands. What c holds is overwritten,
  // except when it is added to: then the results go to memory taken for the moment, and the first is chosen
  // if there is none.
  std::size_t fastest(const Plan& plan, const Matmul& m, const std::vector<Candidate>& candidates,
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

  cublasStatus_t run(const Plan& plan, const Matmul& m, const cublasLtMatmulAlgo_t& algorithm, void* result,
                     void* workspace, cudaStream_t stream) {
    const float alpha = 1, beta = m.accumulate ? 1 : 0;
    return cublasLtMatmul(handle_.get(), plan.description.get(), &alpha, m.b.data, plan.b.get(), m.a.data,
                          plan.a.get(), &beta, m.c.data, plan.c.get(), result, plan.c.get(), &algorithm,
                          workspace, kWorkspaceBytes, stream);
  }

  Handle handle_ = make_handle();
  std::unordered_map<PlanKey, Plan, PlanKeyHash> plans_;
  bool autotune_ = false;
};

namespace {

// Whether cuBLASLt adds the bias itself: it wants one of c's type.
bool fuses_bias(const Matmul& m) {
  return !m.bias || m.bias.dtype == m.c.dtype;
}

// Whether cuBLASLt applies the activation itself: GELU on Hopper and newer, where that is faster than a
// kernel of its own, for bf16, whose rounding hides its approximation of tanh. It sees the sums before they
// are rounded to what pre_activation keeps.
bool fuses_activation(const Matmul& m, const GpuFacts& gpu) {
  constexpr std::uintptr_t kAlignment = 16;
  return m.activation == Activation::gelu_tanh && m.pre_activation && m.c.dtype == DType::bf16 &&
         gpu.compute_capability >= 90 && alignment_of(m.c) == kAlignment &&
         alignment_of(m.pre_activation) == kAlignment;
}

}  // namespace

}  // namespace cuda

CudaOps::CudaOps(cudaStream_t stream, const cuda::GpuFacts& gpu, Memory scratch)
    : stream_(stream), gpu_(gpu), scratch_(std::move(scratch)), matmuls_(std::make_unique<cuda::Matmuls>()) {}

CudaOps::~CudaOps() = default;

void CudaOps::set_autotune(bool autotune) {
  matmuls_->set_autotune(autotune);
}

void CudaOps::matmul(const Matmul& m) {
  checks::matmul(m);
  if (m.c.count() == 0) return;
  const bool own_kernel = m.row_invariant || m.b.count() == 0;  // cuBLASLt does not take K = 0
  void* workspace = scratch(cuda::kWorkspaceBytes, "matmul");
  if (!own_kernel && cuda::fuses_activation(m, gpu_) && matmuls_->multiply(m, workspace, stream_)) return;

  // The activation in a kernel of its own sees what the backward will see: the values as they were stored.
  Matmul linear = m;
  if (m.pre_activation) linear.c = m.pre_activation;
  linear.pre_activation = {};
  linear.activation = Activation::none;
  const bool adds_bias = !cuda::fuses_bias(linear);
  Matmul product = linear;
  if (adds_bias) product.bias = {};
  if (own_kernel || !matmuls_->multiply(product, workspace, stream_))
    cuda::row_invariant_matmul(linear, stream_);
  else if (adds_bias)
    cuda::add_bias(linear.bias, linear.c, stream_);

  const bool in_place = linear.c.dtype == m.c.dtype;
  if (linear.c.data != m.c.data && (m.activation == Activation::none || !in_place)) copy(linear.c, m.c);
  if (m.activation != Activation::none) activation_forward(m.activation, in_place ? linear.c : m.c, m.c);
}

// The operations' common work space, of which cuBLASLt takes a part, is there whatever the shape.
std::size_t CudaOps::matmul_workspace(const Matmul&) {
  return kScratchBytes;
}

void CudaOps::parameters_changed() {}  // no packed copies are kept

}  // namespace heddle
