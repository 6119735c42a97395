// The family "optimizer", over flat buffers.
#include <cmath>

#include "kernels/checks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector.h"

namespace heddle {

using namespace cpu;

namespace {

// Elements whose sum one thread forms; the number of such blocks depends on the length alone.
constexpr std::int64_t kSumBlock = 32768;

// Half a vector's lanes, as doubles.
constexpr int kHalfLanes = kLanes / 2;
using HalfVector = float __attribute__((vector_size(kHalfLanes * 4)));
using DoubleVector = double __attribute__((vector_size(kHalfLanes * 8)));

struct Itself {
  static DoubleVector of(DoubleVector v) { return v; }
};
struct Square {
  static DoubleVector of(DoubleVector v) { return v * v; }
};

template <typename Term>
double sum_of_block(const float* x, std::int64_t count) {
  DoubleVector sums[4] = {};
  std::int64_t i = 0;
  for (; i + 4 * kHalfLanes <= count; i += 4 * kHalfLanes)
    for (int k = 0; k < 4; ++k) {
      HalfVector v;
      std::memcpy(&v, x + i + k * kHalfLanes, sizeof v);
      sums[k] += Term::of(__builtin_convertvector(v, DoubleVector));
    }
  const DoubleVector sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double total = 0;
  for (int lane = 0; lane < kHalfLanes; ++lane) total += sum[lane];
  for (; i < count; ++i) total += Term::of(DoubleVector{x[i]})[0];
  return total;
}

template <typename Term>
double sum_of_terms(int threads, Scratch& scratch, const float* x, std::int64_t count) {
  const std::int64_t blocks = (count + kSumBlock - 1) / kSumBlock;
  double* partial = scratch.reserve<double>(blocks);
  parallel_rows(threads, blocks, kSumBlock, [&](std::int64_t block) {
    const std::int64_t begin = block * kSumBlock;
    partial[block] = sum_of_block<Term>(x + begin, std::min(kSumBlock, count - begin));
  });
  double total = 0;
  for (std::int64_t block = 0; block < blocks; ++block) total += partial[block];
  return total;
}

// visit(begin, end, inside) for all elements [0, count) in order, inside and outside of the spans.
template <typename Visit>
void for_each_range(const Spans& spans, std::int64_t count, const Visit& visit) {
  if (!spans.bounds) return visit(std::int64_t{0}, count, true);
  std::int64_t end = 0;
  for (std::int32_t i = 0; i < spans.count; ++i) {
    visit(end, spans.bounds[2 * i], false);
    end = spans.bounds[2 * i + 1];
    visit(spans.bounds[2 * i], end, true);
  }
  visit(end, count, false);
}

}  // namespace

void CpuOps::adamw(const AdamW& a) {
  checks::adamw(a);
  const AdamWStep step = *a.step;
  if (step.skip) return;
  const float inverse_correction1 = 1.0f / step.bias_correction1;
  const float inverse_correction2 = 1.0f / step.bias_correction2;
  float *parameter = a.parameter.as<float>(), *moment1 = a.moment1.as<float>(),
        *moment2 = a.moment2.as<float>();
  const float* gradient = a.gradient.as<float>();
  bfloat16* copy = a.compute_copy ? a.compute_copy.as<bfloat16>() : nullptr;
  const auto update_range = [&](std::int64_t range_begin, std::int64_t range_end, bool decays) {
    const float weight_decay = decays ? a.weight_decay : 0.0f;
    parallel_parts(
        threads_, range_end - range_begin, 1, kFlatGrain, [&](std::int64_t begin, std::int64_t end) {
          for_each_vector(range_begin + begin, range_begin + end, [&](std::int64_t i, auto extent) {
            const FloatVector g = load(gradient + i, extent) * step.gradient_scale;
            const FloatVector m = a.beta1 * load(moment1 + i, extent) + (1.0f - a.beta1) * g;
            const FloatVector v = a.beta2 * load(moment2 + i, extent) + (1.0f - a.beta2) * (g * g);
            FloatVector p = load(parameter + i, extent);
            const FloatVector update = m * inverse_correction1 / (sqrt(v * inverse_correction2) + a.epsilon);
            p -= step.learning_rate * (update + weight_decay * p);
            store(moment1 + i, m, extent);
            store(moment2 + i, v, extent);
            store(parameter + i, p, extent);
            if (copy) store(copy + i, p, extent);
          });
        });
  };
  for_each_range(a.decayed, a.parameter.count(), update_range);
}

void CpuOps::squared_norm(const Tensor& x, const Spans& spans, double* sum) {
  checks::squared_norm(x);
  for_each_range(spans, x.count(), [&](std::int64_t begin, std::int64_t end, bool inside) {
    if (inside) *sum += sum_of_terms<Square>(threads_, scratch_, x.as<float>() + begin, end - begin);
  });
}

void CpuOps::clip_scale(const double* sum, const double* loss, float max_norm, AdamWStep* step,
                        std::uint32_t* stopped) {
  const double norm = std::sqrt(*sum);
  const bool clips = max_norm > 0 && std::isfinite(norm) && norm > max_norm;
  step->gradient_scale = clips ? static_cast<float>(max_norm / norm) : 1.0f;
  if (!std::isfinite(*sum) || !std::isfinite(*loss)) *stopped = 1;
  step->skip = *stopped;
}

void CpuOps::sum(const Tensor& x, double* total) {
  checks::sum(x);
  *total += sum_of_terms<Itself>(threads_, scratch_, x.as<float>(), x.count());
}

}  // namespace heddle
