// Runs one checked problem: the product, then the epilogue column by column in f32.
#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "kernels/tensor.h"
#include "tests/emulator/cublaslt/problem.h"
#include "tests/emulator/cublaslt/product.h"
#include "tests/emulator/host/device_memory.h"

namespace heddle::emulator {

namespace {

float load(const Matrix& x, std::int64_t at) {
  if (x.type == CUDA_R_16BF) return reinterpret_cast<const bfloat16*>(x.data)[at];
  return reinterpret_cast<const float*>(x.data)[at];
}
void store(const Matrix& x, std::int64_t at, float value) {
  if (x.type == CUDA_R_16BF)
    reinterpret_cast<bfloat16*>(x.data)[at] = bfloat16(value);
  else
    reinterpret_cast<float*>(x.data)[at] = value;
}

// The batch entry of a matrix. `bits`: its elements are single bits.
Matrix entry(Matrix x, std::int64_t batch, bool bits = false) {
  if (x.data) x.data += bits ? batch * x.batch_stride / 8 : batch * x.batch_stride * x.element_bytes();
  return x;
}

Operand operand(const Matrix& x, bool transpose) {
  return {x.data, x.type == CUDA_R_16BF, transpose ? x.leading_dimension : 1,
          transpose ? 1 : x.leading_dimension};
}

// GELU in cuBLASLt is the tanh approximation.
constexpr float kGeluScale = 0.7978845608f, kGeluCubic = 0.044715f;

float gelu(float x) {
  return 0.5f * x * (1 + std::tanh(kGeluScale * (x + kGeluCubic * x * x * x)));
}
float gelu_gradient(float x) {
  const float t = std::tanh(kGeluScale * (x + kGeluCubic * x * x * x));
  return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * kGeluScale * (1 + 3 * kGeluCubic * x * x);
}

void store_bit(const Matrix& mask, std::int64_t at, bool value) {
  auto& byte = reinterpret_cast<std::uint8_t*>(mask.data)[at / 8];
  const auto bit = static_cast<std::uint8_t>(1u << at % 8);
  byte = static_cast<std::uint8_t>(value ? byte | bit : byte & ~bit);
}

// One element: the value before the activation in, what D receives out.
float activate(const Problem& p, const Matrix& aux, std::int64_t i, std::int64_t j, float value) {
  const std::int64_t at = j * aux.leading_dimension + i;
  if (p.has(kGeluGradient)) return value * gelu_gradient(load(aux, at));
  if (p.has(kGelu)) {
    if (p.has(kAux)) store(aux, at, value);
    return gelu(value);
  }
  if (p.has(kRelu)) {
    if (p.has(kAux)) store_bit(aux, at, value > 0);
    return std::fmax(value, 0.0f);
  }
  return value;
}

void finish(const Problem& p, std::int64_t batch, const std::vector<float>& product) {
  const Matrix c = entry(p.c, batch), d = entry(p.d, batch), bias = entry(p.bias, batch);
  const Matrix aux = entry(p.aux, batch, p.has(kRelu));
  std::vector<float> row_sums(p.has(kBiasGradient) ? static_cast<std::size_t>(p.m) : 0);
  for (std::int64_t j = 0; j < p.n; ++j)
    for (std::int64_t i = 0; i < p.m; ++i) {
      float value = p.alpha * product[static_cast<std::size_t>(j * p.m + i)];
      if (p.beta != 0) value += p.beta * load(c, j * c.leading_dimension + i);
      if (p.has(kBias)) value += load(bias, i);
      value = activate(p, aux, i, j, value);
      if (p.has(kBiasGradient)) row_sums[static_cast<std::size_t>(i)] += value;
      store(d, j * d.leading_dimension + i, value);
    }
  for (std::size_t i = 0; i < row_sums.size(); ++i) store(bias, static_cast<std::int64_t>(i), row_sums[i]);
}

// bias[line] = sum over k of op(A)'s row, or op(B)'s column.
void sum_operand(const Problem& p, std::int64_t batch) {
  const Matrix bias = entry(p.bias, batch);
  const bool of_a = p.has(kBiasGradientOfA);
  const Matrix x = entry(of_a ? p.a : p.b, batch);
  const Operand stored = operand(x, of_a ? p.transpose_a : p.transpose_b);
  const std::int64_t line_stride = of_a ? stored.row_stride : stored.column_stride;
  const std::int64_t k_stride = of_a ? stored.column_stride : stored.row_stride;
  for (std::int64_t line = 0; line < bias.rows; ++line) {
    float sum = 0;
    for (std::int64_t k = 0; k < p.k; ++k) sum += load(x, line * line_stride + k * k_stride);
    store(bias, line, sum);
  }
}

void check_extent(const char* name, const Matrix& x, std::int64_t batch_count, bool bits = false) {
  if (x.rows == 0 || !x.data) return;
  const std::int64_t elements =
      (batch_count - 1) * x.batch_stride + (x.columns - 1) * x.leading_dimension + x.rows;
  const std::int64_t bytes = bits ? (elements + 7) / 8 : elements * x.element_bytes();
  const auto block = DeviceMemory::instance().find(x.data);
  if (block && x.data + bytes <= block->data + block->bytes) return;
  throw Fault(fmt::format("cublasLtMatmul: {} ({} x {}, leading dimension {}) at {} {}", name, x.rows,
                          x.columns, x.leading_dimension, static_cast<void*>(x.data),
                          block ? "leaves its allocation" : "is not in device memory"));
}

}  // namespace

void solve(const Problem& p) {
  check_extent("A", p.a, p.batch_count);
  check_extent("B", p.b, p.batch_count);
  if (p.beta != 0) check_extent("C", p.c, p.batch_count);
  check_extent("D", p.d, p.batch_count);
  check_extent("the bias", p.bias, p.batch_count);
  check_extent("the epilogue's aux matrix", p.aux, p.batch_count, p.has(kRelu));
  std::vector<float> product(static_cast<std::size_t>(p.m * p.n));
  for (std::int64_t batch = 0; batch < p.batch_count; ++batch) {
    multiply(operand(entry(p.a, batch), p.transpose_a), operand(entry(p.b, batch), p.transpose_b), p.m, p.n,
             p.k, product.data());
    if (p.has(kBiasGradientOfA | kBiasGradientOfB)) sum_operand(p, batch);
    finish(p, batch, product);
  }
}

}  // namespace heddle::emulator
