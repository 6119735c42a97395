// The family "matmul": cuBLASLt's products (matmul_plans.h), and for rows that must not depend on each other
// or shapes that cuBLASLt refuses a kernel of our own (row_invariant_matmul.h). What a backward adds to a
// product is computed apart or, where that is asked for or faster, in cuBLASLt's pass.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/checks.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/matmul_plans.h"
#include "kernels/cuda/row_invariant_matmul.h"
#include "kernels/cuda/stopwatch.h"
#include "kernels/matmul_passes.h"

namespace heddle {

namespace cuda {

static_assert(kMatmulWorkspaceBytes <= CudaOps::kScratchBytes);

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

// The bytes of the sums that cuBLASLt writes beside the product.
std::size_t sums_bytes(const Matmul& m) {
  const Tensor& sums = m.a_sums ? m.a_sums : m.b_sums;
  return sums ? sums.bytes() : 0;
}

// Whether cuBLASLt does in the product's pass what a backward adds to it: for bf16, as it does GELU.
bool fuses_second_pass(const Matmul& m) {
  constexpr std::uintptr_t kAlignment = 16;
  if (m.row_invariant || m.a.dtype != DType::bf16 || m.c.count() == 0 || m.b.count() == 0) return false;
  if (m.activation_backward)
    return m.activation == Activation::gelu_tanh && !m.a_sums && !m.b_sums &&
           alignment_of(m.c) == kAlignment && alignment_of(m.pre_activation) == kAlignment;
  return m.c.dtype == DType::f32 && !m.bias && m.activation == Activation::none && !m.pre_activation &&
         sums_bytes(m) <= CudaOps::kScratchBytes - kMatmulWorkspaceBytes;
}

}  // namespace

}  // namespace cuda

namespace {

constexpr std::size_t kAlignment = 256;  // of memory taken for a trial
constexpr int kTimings = 3;

// Milliseconds.
template <typename Work>
float best_time(cudaStream_t stream, const Work& work) {
  cuda::Stopwatch stopwatch;
  float best = std::numeric_limits<float>::infinity();
  for (int timing = 0; timing < kTimings; ++timing) best = std::min(best, stopwatch.measure(stream, work));
  return best;
}

}  // namespace

CudaOps::CudaOps(cudaStream_t stream, const cuda::GpuFacts& gpu, Memory scratch)
    : stream_(stream), gpu_(gpu), scratch_(std::move(scratch)), matmuls_(std::make_unique<cuda::Matmuls>()) {}

CudaOps::~CudaOps() = default;

void CudaOps::set_autotune(bool autotune) {
  matmuls_->set_autotune(autotune);
}

void CudaOps::matmul(const Matmul& m) {
  checks::matmul(m);
  if (!has_second_pass(m)) return multiply(m);
  const bool in_one_pass = cuda::fuses_second_pass(m) &&
                           (m.passes == Passes::automatic ? one_pass_is_faster(m) : m.passes == Passes::one);
  if (in_one_pass && multiply_in_one_pass(m)) return;
  multiply(product_alone(m));
  second_pass(*this, m);
}

void CudaOps::multiply(const Matmul& m) {
  if (m.c.count() == 0) return;
  const bool own_kernel = m.row_invariant || m.b.count() == 0;  // cuBLASLt does not take K = 0
  void* workspace = scratch(cuda::kMatmulWorkspaceBytes, "matmul");
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

bool CudaOps::multiply_in_one_pass(const Matmul& m) {
  const Tensor& sums = m.a_sums ? m.a_sums : m.b_sums;
  auto* const workspace =
      static_cast<std::byte*>(scratch(cuda::kMatmulWorkspaceBytes + cuda::sums_bytes(m), "matmul"));
  Matmul product = m;
  Tensor& term = m.a_sums ? product.a_sums : product.b_sums;  // cuBLASLt writes what is to be added
  if (sums) term.data = workspace + cuda::kMatmulWorkspaceBytes;
  if (!matmuls_->multiply(product, workspace, stream_)) return false;
  if (sums) add(sums, term, sums);
  return true;
}

// Timed once per shape, on the operands given. What is added to is left alone: results go to memory taken for
// the moment. Where there is none, and while a graph is captured, the question stays open.
bool CudaOps::one_pass_is_faster(const Matmul& m) {
  if (!matmuls_->autotunes()) return false;
  auto& known = matmuls_->one_pass_is_faster();
  if (const auto found = known.find(cuda::key_of(m)); found != known.end()) return found->second;
  if (cuda::is_capturing(stream_)) return false;
  const std::size_t sums_at = ((m.accumulate ? m.c.bytes() : 0) + kAlignment) / kAlignment * kAlignment;
  const std::size_t bytes = sums_at + cuda::sums_bytes(m);
  void* memory = nullptr;
  if (cudaMalloc(&memory, bytes) != cudaSuccess) {
    cudaGetLastError();  // that there is too little memory is no news for the next call
    return false;
  }
  const Memory owner(memory, bytes, [](void* p) { cudaFree(p); });
  Matmul trial = m;
  if (m.accumulate) trial.c.data = memory;
  for (Tensor* sums : {&trial.a_sums, &trial.b_sums})
    if (*sums) sums->data = static_cast<std::byte*>(memory) + sums_at;

  bool faster = false;
  if (multiply_in_one_pass(trial)) {
    const auto apart = [&] {
      multiply(product_alone(trial));
      second_pass(*this, trial);
    };
    apart();  // chooses its algorithm
    const float time_apart = best_time(stream_, apart);
    faster = best_time(stream_, [&] { multiply_in_one_pass(trial); }) < time_apart;
  }
  return known[cuda::key_of(m)] = faster;
}

// The operations' common work space, of which cuBLASLt takes a part, is there whatever the shape.
std::size_t CudaOps::matmul_workspace(const Matmul&) {
  return kScratchBytes;
}

void CudaOps::parameters_changed() {}  // no packed copies are kept

}  // namespace heddle
