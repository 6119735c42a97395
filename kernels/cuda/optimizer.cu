// The family "optimizer", over flat buffers.
#include <limits>

#include "kernels/checks.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/piece.h"
#include "kernels/cuda/reduce.h"

namespace heddle {

namespace cuda {

namespace {

constexpr int kThreads = 256;

// Tells whether elements lie in the spans. Elements are asked for in ascending order, so the search is over
// spans once and goes on from there.
class SpanCursor {
 public:
  __device__ SpanCursor(const Spans& spans, std::int64_t first_element) : spans_(spans) {
    // The first span that ends behind the element.
    for (std::int32_t low = 0, high = spans.bounds ? spans.count : 0; low < high; at_ = low) {
      const std::int32_t middle = low + (high - low) / 2;
      if (spans.bounds[2 * middle + 1] <= first_element)
        low = middle + 1;
      else
        high = middle;
    }
  }

  __device__ bool contains(std::int64_t element) {
    if (!spans_.bounds) return true;
    while (at_ < spans_.count && spans_.bounds[2 * at_ + 1] <= element) ++at_;
    return at_ < spans_.count && spans_.bounds[2 * at_] <= element;
  }

 private:
  const Spans& spans_;
  std::int32_t at_ = 0;
};

// --- AdamW: each thread has a few pieces of four parameters, all of whose loads are under way at once ---

constexpr int kPiecesEach = 2;

struct AdamWArguments {
  float *parameter, *moment1, *moment2;
  const float* gradient;
  bfloat16* compute_copy;  // or null
  std::int64_t count;
  const AdamWStep* step;
  float beta1, beta2, epsilon, weight_decay;
  Spans decayed;
};

template <int kWidth>
struct Parameters {
  float parameter[kWidth], moment1[kWidth], moment2[kWidth], gradient[kWidth];

  __device__ __forceinline__ void load(const AdamWArguments& a, std::int64_t i) {
    load_piece(a.parameter + i, parameter);
    load_piece(a.moment1 + i, moment1);
    load_piece(a.moment2 + i, moment2);
    load_piece(a.gradient + i, gradient);
  }

  __device__ __forceinline__ void update(const AdamWArguments& a, const AdamWStep& step, float weight_decay) {
    const float inverse_correction1 = 1.0f / step.bias_correction1;
    const float inverse_correction2 = 1.0f / step.bias_correction2;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float g = gradient[i] * step.gradient_scale;
      moment1[i] = a.beta1 * moment1[i] + (1.0f - a.beta1) * g;
      moment2[i] = a.beta2 * moment2[i] + (1.0f - a.beta2) * (g * g);
      const float change =
          moment1[i] * inverse_correction1 / (sqrtf(moment2[i] * inverse_correction2) + a.epsilon);
      parameter[i] -= step.learning_rate * (change + weight_decay * parameter[i]);
    }
  }

  __device__ __forceinline__ void store(const AdamWArguments& a, std::int64_t i) const {
    store_piece(a.parameter + i, parameter);
    store_piece(a.moment1 + i, moment1);
    store_piece(a.moment2 + i, moment2);
    if (!a.compute_copy) return;
    if constexpr (kWidth == 1)
      a.compute_copy[i] = round_to_bf16(parameter[0]);
    else
      *reinterpret_cast<uint2*>(a.compute_copy + i) =
          make_uint2(pack_bf16(parameter[0], parameter[1]), pack_bf16(parameter[2], parameter[3]));
  }
};

template <int kWidth>
__global__ void __launch_bounds__(kThreads) adamw_kernel(AdamWArguments a) {
  const AdamWStep step = *a.step;
  if (step.skip) return;
  const std::int64_t block_begin = static_cast<std::int64_t>(blockIdx.x) * (kPiecesEach * kThreads * kWidth);
  const auto first_of = [&](int piece) { return block_begin + (piece * kThreads + threadIdx.x) * kWidth; };
  Parameters<kWidth> pieces[kPiecesEach];
#pragma unroll
  for (int piece = 0; piece < kPiecesEach; ++piece)
    if (first_of(piece) + kWidth <= a.count) pieces[piece].load(a, first_of(piece));

  SpanCursor decayed(a.decayed, block_begin);
#pragma unroll
  for (int piece = 0; piece < kPiecesEach; ++piece) {
    const std::int64_t first = first_of(piece);
    if (first >= a.count) return;
    const float weight_decay = decayed.contains(first) ? a.weight_decay : 0.0f;
    if (first + kWidth <= a.count) {
      pieces[piece].update(a, step, weight_decay);
      pieces[piece].store(a, first);
    } else {
      for (std::int64_t i = first; i < a.count; ++i) {
        Parameters<1> last;
        last.load(a, i);
        last.update(a, step, weight_decay);
        last.store(a, i);
      }
    }
  }
}

// --- sums: each block forms one of a number of partial sums that depends on the length alone; one block adds
// them ---

constexpr int kSumPiecesInFlight = 4;
constexpr std::int64_t kMostBlocks = 1024;
constexpr std::int64_t kLeastElements = 4096;  // for a block of its own

enum class Term { itself, square };

struct SumArguments {
  const float* x;
  std::int64_t count;
  std::int64_t each;  // elements per block, a multiple of kSpanAlignment
  Spans spans;
};

struct SumParts {
  double parts[kThreads / kWarpSize];
};

template <Term kTerm, int kCount>
__device__ __forceinline__ void add_terms(double& sum, const float (&x)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const double value = x[i];
    sum += kTerm == Term::square ? value * value : value;
  }
}

template <Term kTerm, int kWidth>
__global__ void __launch_bounds__(kThreads) partial_sum_kernel(SumArguments a, double* partial) {
  const std::int64_t begin = blockIdx.x * a.each, end = min(a.count, begin + a.each);
  constexpr std::int64_t kStep = kThreads * kWidth;
  SpanCursor inside(a.spans, begin);
  double sum = 0;
  for (std::int64_t first = begin + threadIdx.x * kWidth; first < end; first += kSumPiecesInFlight * kStep) {
    float x[kSumPiecesInFlight][kWidth] = {};
#pragma unroll
    for (int j = 0; j < kSumPiecesInFlight; ++j) {
      const std::int64_t i = first + j * kStep;
      if (i + kWidth <= end && inside.contains(i)) load_piece(a.x + i, x[j]);
    }
#pragma unroll
    for (int j = 0; j < kSumPiecesInFlight; ++j) add_terms<kTerm>(sum, x[j]);
  }
  if constexpr (kWidth > 1) {
    // Elements behind the last whole piece: there are some in the last block only.
    const std::int64_t i = end / kWidth * kWidth + threadIdx.x;
    if (i < end && SpanCursor(a.spans, i).contains(i)) {
      const float x[1] = {a.x[i]};
      add_terms<kTerm>(sum, x);
    }
  }
  sum = block_sum<kThreads>(sum, shared_memory<SumParts>().parts);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads)
    add_partial_sums_kernel(const double* partial, int count, double* total) {
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) sum += partial[i];
  sum = block_sum<kThreads>(sum, shared_memory<SumParts>().parts);
  if (threadIdx.x == 0) *total += sum;
}

template <Term kTerm>
void add_sum(const Tensor& x, const Spans& spans, double* partial, double* total, cudaStream_t stream) {
  if (x.count() == 0) return;
  const std::int64_t each_of_most = (x.count() + kMostBlocks - 1) / kMostBlocks;
  const std::int64_t each =
      std::max(kLeastElements, (each_of_most + kSpanAlignment - 1) / kSpanAlignment * kSpanAlignment);
  const unsigned blocks = blocks_for(x.count(), each);
  const SumArguments arguments{x.as<float>(), x.count(), each, spans};
  with_width<float>(packs_fit<float>(x.data, 0), [&](auto width) {
    launch<&partial_sum_kernel<kTerm, width.value>>({blocks, kThreads, sizeof(SumParts)}, stream, arguments,
                                                    partial);
  });
  launch<&add_partial_sums_kernel>({1, kThreads, sizeof(SumParts)}, stream, partial, static_cast<int>(blocks),
                                   total);
}

// --- clipping ---

__device__ __forceinline__ bool is_finite(double x) {
  return fabs(x) < std::numeric_limits<double>::infinity();
}

__global__ void clip_scale_kernel(const double* sum, const double* loss, float max_norm, AdamWStep* step,
                                  std::uint32_t* stopped) {
  if (threadIdx.x > 0) return;
  const double norm = sqrt(*sum);
  const bool clips = max_norm > 0 && is_finite(norm) && norm > max_norm;
  step->gradient_scale = clips ? static_cast<float>(max_norm / norm) : 1.0f;
  if (!is_finite(*sum) || !is_finite(*loss)) *stopped = 1;
  step->skip = *stopped;
}

}  // namespace

}  // namespace cuda

using namespace cuda;

void CudaOps::adamw(const AdamW& a) {
  checks::adamw(a);
  const AdamWArguments arguments{a.parameter.as<float>(),
                                 a.moment1.as<float>(),
                                 a.moment2.as<float>(),
                                 a.gradient.as<float>(),
                                 a.compute_copy ? a.compute_copy.as<bfloat16>() : nullptr,
                                 a.parameter.count(),
                                 a.step,
                                 a.beta1,
                                 a.beta2,
                                 a.epsilon,
                                 a.weight_decay,
                                 a.decayed};
  bool packs = !a.compute_copy || reinterpret_cast<std::uintptr_t>(a.compute_copy.data) % sizeof(uint2) == 0;
  for (const Tensor* t : {&a.parameter, &a.moment1, &a.moment2, &a.gradient})
    packs &= packs_fit<float>(t->data, 0);
  with_width<float>(packs, [&](auto width) {
    const unsigned blocks = blocks_for(arguments.count, kPiecesEach * kThreads * width.value);
    launch<&adamw_kernel<width.value>>({blocks, kThreads}, stream_, arguments);
  });
}

void CudaOps::squared_norm(const Tensor& x, const Spans& spans, double* sum) {
  checks::squared_norm(x);
  auto* partial = static_cast<double*>(scratch(kMostBlocks * sizeof(double), "squared_norm"));
  add_sum<Term::square>(x, spans, partial, sum, stream_);
}

void CudaOps::clip_scale(const double* sum, const double* loss, float max_norm, AdamWStep* step,
                         std::uint32_t* stopped) {
  launch<&clip_scale_kernel>({1, kWarpSize}, stream_, sum, loss, max_norm, step, stopped);
}

void CudaOps::sum(const Tensor& x, double* total) {
  checks::sum(x);
  auto* partial = static_cast<double*>(scratch(kMostBlocks * sizeof(double), "sum"));
  add_sum<Term::itself>(x, {}, partial, total, stream_);
}

}  // namespace heddle
