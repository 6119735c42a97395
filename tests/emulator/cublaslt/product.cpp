// A blocked matrix product for one core: panels of the operands are converted to f32 and packed in the order
// in which a register tile of kTileRows x kTileColumns sums reads them.
#include "tests/emulator/cublaslt/product.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

namespace heddle::emulator {

namespace {

constexpr int kLanes = 16;
using Vector = float __attribute__((vector_size(kLanes * sizeof(float))));
using UnalignedVector = float __attribute__((vector_size(kLanes * sizeof(float)), aligned(4)));

constexpr int kTileVectors = 2;
constexpr std::int64_t kTileRows = kTileVectors * kLanes, kTileColumns = 8;
// Blocks that stay in the caches: kBlockK x kTileColumns floats in L1, kBlockM x kBlockK in L2.
constexpr std::int64_t kBlockM = 256, kBlockN = 2048, kBlockK = 256;

float element(const Operand& x, std::int64_t i, std::int64_t j) {
  const std::int64_t at = i * x.row_stride + j * x.column_stride;
  if (!x.bf16) return static_cast<const float*>(x.data)[at];
  return std::bit_cast<float>(std::uint32_t{static_cast<const std::uint16_t*>(x.data)[at]} << 16);
}

// Lines [first, first + lines) of x over k in [first_k, first_k + depth), as panels of Width lines:
// [panel][k][Width]. Lines are x's rows, or its columns when Columns. Lines that a panel lacks are not
// written: nobody reads their sums.
template <std::int64_t Width, bool Columns>
void pack(const Operand& x, std::int64_t first, std::int64_t lines, std::int64_t first_k, std::int64_t depth,
          float* packed) {
  const auto at = [&](std::int64_t line, std::int64_t k) {
    return Columns ? element(x, k, line) : element(x, line, k);
  };
  const bool k_is_contiguous = (Columns ? x.row_stride : x.column_stride) == 1;
  for (std::int64_t panel = 0; panel < lines; panel += Width, packed += Width * depth) {
    const std::int64_t width = std::min(Width, lines - panel);
    if (k_is_contiguous) {
      for (std::int64_t w = 0; w < width; ++w)
        for (std::int64_t k = 0; k < depth; ++k) packed[k * Width + w] = at(first + panel + w, first_k + k);
    } else {
      for (std::int64_t k = 0; k < depth; ++k)
        for (std::int64_t w = 0; w < width; ++w) packed[k * Width + w] = at(first + panel + w, first_k + k);
    }
  }
}

// sums[column][row] = a panel[k][row] * b panel[k][column] over k
void multiply_tile(const float* a, const float* b, std::int64_t depth,
                   float (&sums)[kTileColumns][kTileRows]) {
  Vector tile[kTileColumns][kTileVectors] = {};
  for (std::int64_t k = 0; k < depth; ++k, a += kTileRows, b += kTileColumns) {
    Vector row[kTileVectors];
    for (int v = 0; v < kTileVectors; ++v) row[v] = *reinterpret_cast<const UnalignedVector*>(a + v * kLanes);
    for (int column = 0; column < kTileColumns; ++column)
      for (int v = 0; v < kTileVectors; ++v) tile[column][v] += row[v] * b[column];
  }
  std::memcpy(sums, tile, sizeof tile);
}

// out += the product of packed panels; out's columns are `stride` apart.
void multiply_block(const float* a, const float* b, std::int64_t rows, std::int64_t columns,
                    std::int64_t depth, float* out, std::int64_t stride) {
  float sums[kTileColumns][kTileRows];
  for (std::int64_t j = 0; j < columns; j += kTileColumns)
    for (std::int64_t i = 0; i < rows; i += kTileRows) {
      multiply_tile(a + i * depth, b + j * depth, depth, sums);
      const std::int64_t height = std::min(kTileRows, rows - i), width = std::min(kTileColumns, columns - j);
      for (std::int64_t column = 0; column < width; ++column)
        for (std::int64_t row = 0; row < height; ++row)
          out[(j + column) * stride + i + row] += sums[column][row];
    }
}

std::int64_t round_up(std::int64_t count, std::int64_t to) {
  return (count + to - 1) / to * to;
}

}  // namespace

void multiply(const Operand& a, const Operand& b, std::int64_t m, std::int64_t n, std::int64_t k,
              float* out) {
  std::fill(out, out + m * n, 0.0f);
  std::vector<float> packed_a(static_cast<std::size_t>(round_up(std::min(m, kBlockM), kTileRows) * kBlockK));
  std::vector<float> packed_b(
      static_cast<std::size_t>(round_up(std::min(n, kBlockN), kTileColumns) * kBlockK));
  for (std::int64_t k0 = 0; k0 < k; k0 += kBlockK) {
    const std::int64_t depth = std::min(kBlockK, k - k0);
    for (std::int64_t j = 0; j < n; j += kBlockN) {
      const std::int64_t columns = std::min(kBlockN, n - j);
      pack<kTileColumns, true>(b, j, columns, k0, depth, packed_b.data());
      for (std::int64_t i = 0; i < m; i += kBlockM) {
        const std::int64_t rows = std::min(kBlockM, m - i);
        pack<kTileRows, false>(a, i, rows, k0, depth, packed_a.data());
        multiply_block(packed_a.data(), packed_b.data(), rows, columns, depth, out + j * m + i, m);
      }
    }
  }
}

}  // namespace heddle::emulator
