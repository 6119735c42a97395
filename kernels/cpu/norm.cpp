// The family "norm". Layer norm and RMS norm are one function each way: RMS norm is layer norm whose mean is
// 0.
#include <cmath>

#include "kernels/checks.h"
#include "kernels/cpu/column_sums.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tiled_dropout.h"
#include "kernels/cpu/vector.h"

namespace heddle {

using namespace cpu;

namespace {

struct RowStatistics {
  float mean, rstd;
};

// Two passes over a row that is in the cache: the variance as mean(x^2) - mean^2 would cancel.
template <bool kCentered, typename T>
RowStatistics row_statistics(const T* x, std::int64_t width, float epsilon) {
  float mean = 0;
  if constexpr (kCentered) {
    VectorSum sum;
    for_each_vector(0, width, [&](std::int64_t i, auto extent) { sum.add(load(x + i, extent)); });
    mean = sum.total() / static_cast<float>(width);
  }
  VectorSum squares;
  for_each_vector(0, width, [&](std::int64_t i, auto extent) {
    const FloatVector d = with_rest(load(x + i, extent) - mean, 0, extent);
    squares.add(d * d);
  });
  return {mean, 1.0f / std::sqrt(squares.total() / static_cast<float>(width) + epsilon)};
}

template <typename T>
struct ForwardOperands {
  const T *x, *weight, *bias;  // bias: null for none
  T* y;
  float *mean, *rstd;  // null to skip
  std::int64_t width;
  float epsilon;
};

template <bool kCentered, typename T>
void norm_forward_row(const ForwardOperands<T>& o, std::int64_t row) {
  const T* from = o.x + row * o.width;
  T* to = o.y + row * o.width;
  const RowStatistics s = row_statistics<kCentered>(from, o.width, o.epsilon);
  for_each_vector(0, o.width, [&](std::int64_t i, auto extent) {
    FloatVector v = (load(from + i, extent) - s.mean) * s.rstd * load(o.weight + i, extent);
    if (o.bias) v += load(o.bias + i, extent);
    store(to + i, v, extent);
  });
  if (o.mean) o.mean[row] = s.mean;
  if (o.rstd) o.rstd[row] = s.rstd;
}

template <typename T>
ForwardOperands<T> operands_of(const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon,
                               const Tensor& y, const Tensor& mean, const Tensor& rstd) {
  return {x.as<T>(),
          weight.as<T>(),
          bias ? bias.as<T>() : nullptr,
          y.as<T>(),
          mean ? mean.as<float>() : nullptr,
          rstd ? rstd.as<float>() : nullptr,
          x.size(-1),
          epsilon};
}

template <bool kCentered, typename T>
void norm_forward(int threads, const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon,
                  const Tensor& y, const Tensor& mean, const Tensor& rstd) {
  const ForwardOperands<T> operands = operands_of<T>(x, weight, bias, epsilon, y, mean, rstd);
  parallel_rows(threads, x.size(0), x.size(1),
                [&](std::int64_t row) { norm_forward_row<kCentered>(operands, row); });
}

// Each row is normed while it is in the cache.
template <bool kCentered, typename T>
void residual_norm_forward(int threads, const ResidualNorm& r) {
  const BiasDropoutResidualRows<T> residual(r.x, r.bias, r.residual, r.dropout, r.out);
  const ForwardOperands<T> norm =
      operands_of<T>(r.out, r.norm_weight, r.norm_bias, r.epsilon, r.y, r.mean, r.rstd);
  parallel_rows(threads, r.x.size(0) * r.x.size(1), r.x.size(2), [&](std::int64_t row) {
    residual.compute(row);
    norm_forward_row<kCentered>(norm, row);
  });
}

template <typename T>
struct BackwardRow {
  const T *dy, *x, *weight;
  T* dx;
  float mean, rstd;
  std::int64_t width;
  bool accumulate;
};

// With n = (x - mean) rstd and g = dy weight:  dx = rstd (g - mean(g) - n mean(g n)), where RMS norm has no
// mean(g); dweight += dy n; dbias += dy.
template <bool kCentered, typename T>
void norm_backward_row(const BackwardRow<T>& row, float* dweight, float* dbias) {
  VectorSum sum_g, sum_gn;
  for_each_vector(0, row.width, [&](std::int64_t i, auto extent) {
    const FloatVector dy = load(row.dy + i, extent), n = (load(row.x + i, extent) - row.mean) * row.rstd;
    const FloatVector g = dy * load(row.weight + i, extent);
    if constexpr (kCentered) sum_g.add(g);
    sum_gn.add(g * n);
    store(dweight + i, load(dweight + i, extent) + dy * n, extent);
    if (dbias) store(dbias + i, load(dbias + i, extent) + dy, extent);
  });
  const float mean_g = sum_g.total() / static_cast<float>(row.width);
  const float mean_gn = sum_gn.total() / static_cast<float>(row.width);
  for_each_vector(0, row.width, [&](std::int64_t i, auto extent) {
    const FloatVector n = (load(row.x + i, extent) - row.mean) * row.rstd;
    const FloatVector g = load(row.dy + i, extent) * load(row.weight + i, extent);
    FloatVector dx = row.rstd * (g - mean_g - n * mean_gn);
    if (row.accumulate) dx += load(row.dx + i, extent);
    store(row.dx + i, dx, extent);
  });
}

template <bool kCentered, typename T>
void norm_backward(int threads, Scratch& scratch, const Tensor& dy, const Tensor& x, const Tensor& weight,
                   const Tensor& mean, const Tensor& rstd, bool accumulate, const Tensor& dx,
                   const Tensor& dweight, const Tensor& dbias) {
  const std::int64_t width = x.size(1), stride = 2 * width;  // partial sums of a block: dweight, then dbias
  const RowBlocks blocks(x.size(0));
  float* partial = scratch.reserve<float>(blocks.count * stride);
  parallel_rows(threads, blocks.count, blocks.rows_each * width, [&](std::int64_t block) {
    float* sums = partial + block * stride;
    std::fill_n(sums, stride, 0.0f);
    for (std::int64_t row = blocks.begin(block); row < blocks.end(block); ++row)
      norm_backward_row<kCentered, T>(
          {dy.as<T>() + row * width, x.as<T>() + row * width, weight.as<T>(), dx.as<T>() + row * width,
           kCentered ? mean.as<float>()[row] : 0.0f, rstd.as<float>()[row], width, accumulate},
          sums, dbias ? sums + width : nullptr);
  });
  add_partial_rows(threads, partial, blocks.count, stride, width, dweight.as<float>());
  if (dbias) add_partial_rows(threads, partial + width, blocks.count, stride, width, dbias.as<float>());
}

}  // namespace

void CpuOps::layer_norm_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon,
                                const Tensor& y, const Tensor& mean, const Tensor& rstd) {
  checks::layer_norm_forward(x, weight, bias, y, mean, rstd);
  with_act_type(x.dtype, [&](auto type) {
    norm_forward<true, decltype(type)>(threads_, x, weight, bias, epsilon, y, mean, rstd);
  });
}

void CpuOps::layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                                 const Tensor& rstd, bool accumulate, const Tensor& dx, const Tensor& dweight,
                                 const Tensor& dbias) {
  checks::layer_norm_backward(dy, x, weight, mean, rstd, dx, dweight, dbias);
  with_act_type(x.dtype, [&](auto type) {
    norm_backward<true, decltype(type)>(threads_, scratch_, dy, x, weight, mean, rstd, accumulate, dx,
                                        dweight, dbias);
  });
}

void CpuOps::rms_norm_forward(const Tensor& x, const Tensor& weight, float epsilon, const Tensor& y,
                              const Tensor& rstd) {
  checks::rms_norm_forward(x, weight, y, rstd);
  with_act_type(x.dtype, [&](auto type) {
    norm_forward<false, decltype(type)>(threads_, x, weight, {}, epsilon, y, {}, rstd);
  });
}

void CpuOps::rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd,
                               bool accumulate, const Tensor& dx, const Tensor& dweight) {
  checks::rms_norm_backward(dy, x, weight, rstd, dx, dweight);
  with_act_type(x.dtype, [&](auto type) {
    norm_backward<false, decltype(type)>(threads_, scratch_, dy, x, weight, {}, rstd, accumulate, dx, dweight,
                                         {});
  });
}

void CpuOps::residual_norm_forward(const ResidualNorm& r) {
  checks::residual_norm_forward(r);
  with_act_type(r.x.dtype, [&](auto type) {
    if (r.rms)
      heddle::residual_norm_forward<false, decltype(type)>(threads_, r);
    else
      heddle::residual_norm_forward<true, decltype(type)>(threads_, r);
  });
}

}  // namespace heddle
