#include "tests/emulator/fragments.h"

#include <bit>
#include <cstring>

namespace heddle::emulator {
namespace {

float low(std::uint32_t pair) {
  return std::bit_cast<float>(pair << 16);
}
float high(std::uint32_t pair) {
  return std::bit_cast<float>(pair & 0xffff0000u);
}

}  // namespace

// The hottest function of the emulator: kernels call it for every 4096 operations.
__attribute__((no_sanitize("undefined"))) void multiply_m16n8k16(Fragments* const* lanes) {
  typedef float Row __attribute__((vector_size(32)));  // 8 columns
  float a[16][16];
  Row b[16], d[16];
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    const Fragments& own = *lanes[lane];
    for (int i = 0; i < 4; ++i) {
      const int row = g + i % 2 * 8, column = 2 * t + i / 2 * 8;
      a[row][column] = low(own.a[i]);
      a[row][column + 1] = high(own.a[i]);
    }
    for (int i = 0; i < 2; ++i) {
      b[2 * t + 8 * i][g] = low(own.b[i]);
      b[2 * t + 8 * i + 1][g] = high(own.b[i]);
      d[g + 8 * i][2 * t] = own.d[2 * i];
      d[g + 8 * i][2 * t + 1] = own.d[2 * i + 1];
    }
  }
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < 16; ++k) d[row] += a[row][k] * b[k];
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    float* own = lanes[lane]->d;
    for (int i = 0; i < 2; ++i) {
      own[2 * i] = d[g + 8 * i][2 * t];
      own[2 * i + 1] = d[g + 8 * i][2 * t + 1];
    }
  }
}

MatrixRow read_matrix_row(const char* operation, const void* row, std::uint32_t* result, const Where& where) {
  check_shared(operation, row, 16, 16, where);
  MatrixRow slot;
  std::memcpy(slot.words, row, 16);
  slot.result = result;
  return slot;
}

void distribute_matrices(MatrixRow* const* lanes) {
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) lanes[lane]->result[i] = lanes[8 * i + lane / 4]->words[lane % 4];
}

void distribute_matrices_transposed(MatrixRow* const* lanes) {
  const auto element = [&](int matrix, int row, int column) {
    return lanes[8 * matrix + row]->words[column / 2] >> (column % 2 * 16) & 0xffffu;
  };
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i)
      lanes[lane]->result[i] = element(i, 2 * t, g) | element(i, 2 * t + 1, g) << 16;
  }
}

}  // namespace heddle::emulator
