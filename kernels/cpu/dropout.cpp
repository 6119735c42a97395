// The family "dropout". The mask is made anew wherever it is needed; nothing is stored.
#include "kernels/checks.h"
#include "kernels/cpu/column_sums.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tiled_dropout.h"

namespace heddle {

using namespace cpu;

void CpuOps::dropout(const Tensor& x, const Dropout& dropout, const Tensor& y) {
  checks::dropout(x, dropout, y);
  if (x.count() == 0) return;
  // A sample as rows: one, or as many as hold a part of the columns each.
  const std::int64_t elements = x.count() / x.size(0), width = dropout.columns ? x.size(-1) : elements;
  const std::int64_t rows = elements / width, tiles = (width + kTile - 1) / kTile;
  const TiledDropout tiled(dropout);
  with_act_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    parallel_rows(threads_, x.size(0) * rows * tiles, std::min(kTile, width), [&](std::int64_t tile) {
      const std::int64_t row = tile / tiles, begin = tile % tiles * kTile;
      const T* from = x.as<T>() + row * width + begin;
      T* to = y.as<T>() + row * width + begin;
      tiled.for_each_tile(row / rows, row % rows * dropout.columns + dropout.first_column + begin,
                          std::min(kTile, width - begin),
                          [&](std::int64_t, std::int64_t count, Factors factors) {
                            for_each_vector(0, count, [&](std::int64_t i, auto extent) {
                              store(to + i, factors.apply(load(from + i, extent), i, extent), extent);
                            });
                          });
    });
  });
}

void CpuOps::bias_dropout_residual(const Tensor& x, const Tensor& bias, const Tensor& residual,
                                   const Dropout& dropout, const Tensor& out) {
  checks::bias_dropout_residual(x, bias, residual, dropout, out);
  with_act_type(x.dtype, [&](auto type) {
    const BiasDropoutResidualRows<decltype(type)> rows(x, bias, residual, dropout, out);
    parallel_rows(threads_, x.size(0) * x.size(1), x.size(2), [&](std::int64_t row) { rows.compute(row); });
  });
}

void CpuOps::bias_dropout_residual_backward(const Tensor& dout, const Dropout& dropout, const Tensor& dx,
                                            const Tensor& dbias) {
  checks::bias_dropout_residual_backward(dout, dropout, dx, dbias);
  const std::int64_t length = dout.size(1), width = dout.size(2);
  const TiledDropout tiled(dropout);
  const RowBlocks blocks(dout.size(0) * length);
  float* partial = dbias ? scratch_.reserve<float>(blocks.count * width) : nullptr;
  with_act_type(dout.dtype, [&](auto type) {
    using T = decltype(type);
    parallel_rows(threads_, blocks.count, blocks.rows_each * width, [&](std::int64_t block) {
      float* sums = partial ? partial + block * width : nullptr;
      if (sums) std::fill_n(sums, width, 0.0f);
      for (std::int64_t row = blocks.begin(block); row < blocks.end(block); ++row)
        tiled.for_each_tile(row / length, row % length * width, width,
                            [&](std::int64_t c, std::int64_t count, Factors factors) {
                              const T* from = dout.as<T>() + row * width + c;
                              T* to = dx.as<T>() + row * width + c;
                              for_each_vector(0, count, [&](std::int64_t i, auto extent) {
                                const FloatVector v = factors.apply(load(from + i, extent), i, extent);
                                store(to + i, v, extent);
                                if (sums) store(sums + c + i, load(sums + c + i, extent) + v, extent);
                              });
                            });
    });
  });
  if (dbias) add_partial_rows(threads_, partial, blocks.count, width, width, dbias.as<float>());
}

}  // namespace heddle
