#include "kernels/cpu/row_invariant_matmul.h"

#include <algorithm>
#include <functional>

#include "kernels/cpu/activation_math.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector.h"

namespace heddle::cpu {

namespace {

// What is left when the types of a and b are known. a is f32 rows by now.
template <typename T>
struct Product {
  std::int64_t M, N, K;
  const float* a;  // [M, K], rows a_stride apart
  std::int64_t a_stride;
  const T* b;  // [K, N], or [N, K] if transposed, rows b_stride apart
  std::int64_t b_stride;
};

// finish(row, begin, end, sums): bias, activation and rounding of columns [begin, end) of a row of c. Called
// once per piece of a row, so that the kernels are compiled once per type of a and b only.
using Finish = std::function<void(std::int64_t row, std::int64_t begin, std::int64_t end, const float* sums)>;

// --- b as [K, N]: vectors run along N, and each element is the chain fma(a[k], b[k], ...) over k from 0 ---

// Few rows: b is streamed from memory once, in pieces of rows long enough for the prefetcher; the sums stay
// in the first-level cache.
constexpr int kStreamedRows = 4;
constexpr std::int64_t kStreamedColumns = 1024;

template <int kRows, typename T>
void stream_columns(const Product<T>& p, std::int64_t row, std::int64_t begin, std::int64_t end,
                    const Finish& finish) {
  alignas(64) float sums[kRows][kStreamedColumns] = {};
  // Steps of k that share one load and store of the sums; the chain's order stays.
  const auto add = [&](std::int64_t k, auto steps) {
    for_each_vector(begin, end, [&](std::int64_t n, auto extent) {
      FloatVector b[steps.value];
      for (int s = 0; s < steps.value; ++s) b[s] = load(p.b + (k + s) * p.b_stride + n, extent);
      for (int r = 0; r < kRows; ++r) {
        FloatVector sum = load(sums[r] + n - begin);
        for (int s = 0; s < steps.value; ++s) sum += b[s] * p.a[(row + r) * p.a_stride + k + s];
        store(sums[r] + n - begin, sum);
      }
    });
  };
  std::int64_t k = 0;
  for (; k + 4 <= p.K; k += 4) add(k, std::integral_constant<int, 4>{});
  for (; k < p.K; ++k) add(k, std::integral_constant<int, 1>{});
  for (int r = 0; r < kRows; ++r) finish(row + r, begin, end, sums[r]);
}

// Many rows: a panel of columns of b is copied to contiguous f32 and multiplied with eight rows at a time.
constexpr int kPanelVectors = 2, kPanelColumns = kPanelVectors * kLanes, kPanelRows = 8;

template <typename T>
void copy_panel(const Product<T>& p, std::int64_t begin, std::int64_t end, float* panel) {
  for (std::int64_t k = 0; k < p.K; ++k, panel += kPanelColumns)
    for_each_vector(begin, end, [&](std::int64_t n, auto extent) {
      store(panel + n - begin, load(p.b + k * p.b_stride + n, extent));
    });
}

template <int kRows, typename T>
void multiply_panel(const Product<T>& p, std::int64_t row, std::int64_t begin, std::int64_t end,
                    const float* panel, const Finish& finish) {
  FloatVector sums[kRows][kPanelVectors] = {};
  const float* a = p.a + row * p.a_stride;
  for (std::int64_t k = 0; k < p.K; ++k, panel += kPanelColumns)
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kPanelVectors; ++v) sums[r][v] += load(panel + v * kLanes) * a[r * p.a_stride + k];
  for (int r = 0; r < kRows; ++r) {
    alignas(64) float values[kPanelColumns];
    for (int v = 0; v < kPanelVectors; ++v) store(values + v * kLanes, sums[r][v]);
    finish(row + r, begin, end, values);
  }
}

template <typename T>
void multiply_columns(const Product<T>& p, std::int64_t begin, std::int64_t end, float* panel,
                      const Finish& finish) {
  if (p.M <= kStreamedRows) {
    for (std::int64_t n = begin; n < end; n += kStreamedColumns)
      with_count<kStreamedRows>(p.M, [&](auto rows) {
        stream_columns<rows.value>(p, 0, n, std::min(n + kStreamedColumns, end), finish);
      });
    return;
  }
  for (std::int64_t n = begin; n < end; n += kPanelColumns) {
    const std::int64_t n_end = std::min<std::int64_t>(n + kPanelColumns, end);
    copy_panel(p, n, n_end, panel);
    for (std::int64_t row = 0; row < p.M; row += kPanelRows)
      with_count<kPanelRows>(p.M - row,
                             [&](auto rows) { multiply_panel<rows.value>(p, row, n, n_end, panel, finish); });
  }
}

// --- b as [N, K]: vectors run along K, and each element is a dot product of one running vector ---

constexpr int kDotRows = 4, kDotColumns = 4;

// sum_of_lanes() in the same order, without leaving the vector registers.
inline float fold(FloatVector v) {
  IntVector lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  for (int width = kLanes / 2; width > 0; width /= 2) v += __builtin_shuffle(v, lane ^ width);
  return v[0];
}

template <int kRows, int kColumns, typename T>
void dot_block(const Product<T>& p, std::int64_t row, std::int64_t column,
               float (&out)[kDotRows][kDotColumns]) {
  FloatVector sums[kRows][kColumns] = {};
  for_each_vector(0, p.K, [&](std::int64_t k, auto extent) {
    FloatVector a[kRows];
    for (int r = 0; r < kRows; ++r) a[r] = load(p.a + (row + r) * p.a_stride + k, extent);
    for (int c = 0; c < kColumns; ++c) {
      const FloatVector b = load(p.b + (column + c) * p.b_stride + k, extent);
      for (int r = 0; r < kRows; ++r) sums[r][c] += a[r] * b;
    }
  });
  for (int r = 0; r < kRows; ++r)
    for (int c = 0; c < kColumns; ++c) out[r][c] = fold(sums[r][c]);
}

// Columns [begin, end), few enough for their rows of b to stay in the cache while all rows of a pass.
template <typename T>
void dot_columns(const Product<T>& p, std::int64_t begin, std::int64_t end, const Finish& finish) {
  for (std::int64_t row = 0; row < p.M; row += kDotRows)
    with_count<kDotRows>(p.M - row, [&](auto rows) {
      alignas(64) float values[kDotRows][kPanelColumns];
      for (std::int64_t n = begin; n < end; n += kDotColumns) {
        float block[kDotRows][kDotColumns];
        const std::int64_t columns = std::min<std::int64_t>(kDotColumns, end - n);
        with_count<kDotColumns>(columns,
                                [&](auto count) { dot_block<rows.value, count.value>(p, row, n, block); });
        for (int r = 0; r < rows.value; ++r) std::copy_n(block[r], columns, values[r] + n - begin);
      }
      for (int r = 0; r < rows.value; ++r) finish(row + r, begin, end, values[r]);
    });
}

// --- both ---

template <typename T, typename Output, typename Function>
Finish make_finish(const Matmul& m, Function function) {
  const std::int64_t N = m.c.size(1);
  const T* bias = m.bias ? m.bias.as<T>() : nullptr;
  Output* c = m.c.as<Output>();
  return [=, accumulate = m.accumulate](std::int64_t row, std::int64_t begin, std::int64_t end,
                                        const float* sums) {
    for_each_vector(begin, end, [&](std::int64_t n, auto extent) {
      Output* to = c + row * N + n;
      FloatVector value = load(sums + n - begin, extent);
      if (bias) value += load(bias + n, extent);
      if (accumulate) value += load(to, extent);
      store(to, function.at(value).value, extent);
    });
  };
}

// op(a) as f32 rows in `copy`.
template <typename T>
void straighten(int threads, const Matmul& m, std::int64_t M, std::int64_t K, float* copy) {
  const T* a = m.a.as<T>();
  const std::int64_t stride = m.a.stride[0];
  parallel_rows(threads, M, K, [&](std::int64_t row) {
    if (m.transpose_a)
      for (std::int64_t k = 0; k < K; ++k) copy[row * K + k] = static_cast<float>(a[k * stride + row]);
    else
      for_each_vector(0, K, [&](std::int64_t k, auto extent) {
        store(copy + row * K + k, load(a + row * stride + k, extent), extent);
      });
  });
}

template <typename T>
void multiply(int threads, const Matmul& m, Scratch& scratch, const Finish& finish) {
  const std::int64_t M = m.c.size(0), N = m.c.size(1), K = m.b.size(m.transpose_b ? 1 : 0);
  const bool copy_a = m.transpose_a || m.a.dtype != DType::f32;
  const std::int64_t panel_size = K * kPanelColumns;
  float* panels = scratch.reserve<float>(threads * panel_size + (copy_a ? M * K : 0));
  float* a_copy = panels + threads * panel_size;
  if (copy_a) straighten<T>(threads, m, M, K, a_copy);
  const Product<T> p{M,
                     N,
                     K,
                     copy_a ? a_copy : static_cast<const float*>(m.a.data),
                     copy_a ? K : m.a.stride[0],
                     m.b.as<T>(),
                     m.b.stride[0]};
  parallel_parts(threads, N, M * K, kPanelColumns, [&](std::int64_t begin, std::int64_t end) {
    if (m.transpose_b)
      for (std::int64_t n = begin; n < end; n += kPanelColumns)
        dot_columns(p, n, std::min<std::int64_t>(n + kPanelColumns, end), finish);
    else
      multiply_columns(p, begin, end, panels + omp_get_thread_num() * panel_size, finish);
  });
}

}  // namespace

void row_invariant_matmul(int threads, const Matmul& m, Scratch& scratch) {
  with_act_type(m.a.dtype, [&](auto input) {
    using T = decltype(input);
    with_act_type(m.c.dtype, [&](auto output) {
      with_activation(m.activation, [&](auto function) {
        multiply<T>(threads, m, scratch, make_finish<T, decltype(output)>(m, function));
      });
    });
  });
}

}  // namespace heddle::cpu
