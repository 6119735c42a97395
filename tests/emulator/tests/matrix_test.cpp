// mma and ldmatrix against double loops, for every position of the fragments.
#include <random>

#include "tests/emulator/tests/emulated.h"

namespace heddle::cuda {
namespace {

using Matrix = std::vector<bfloat16>;

Matrix random_matrix(int rows, int columns, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Matrix matrix(static_cast<std::size_t>(rows) * columns);
  for (bfloat16& x : matrix) x = bfloat16(normal(generator));
  return matrix;
}

// c [16, 8] + a [16, 16] b [16, 8]
std::vector<double> product(const Matrix& a, const Matrix& b, const std::vector<float>& c) {
  std::vector<double> d(c.begin(), c.end());
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 8; ++j)
      for (int k = 0; k < 16; ++k) d[i * 8 + j] += double(a[i * 16 + k]) * double(b[k * 8 + j]);
  return d;
}

void expect_product(const std::vector<float>& d, const Matrix& a, const Matrix& b,
                    const std::vector<float>& c) {
  const std::vector<double> expected = product(a, b, c);
  for (int i = 0; i < 16 * 8; ++i)
    EXPECT_NEAR(d[i], expected[i], 2e-5) << "row " << i / 8 << ", column " << i % 8;
}

std::vector<float> random_sums(unsigned seed) {
  const Matrix values = random_matrix(16, 8, seed);
  return {values.begin(), values.end()};
}

__device__ std::uint32_t pair(bfloat16 low, bfloat16 high) {
  return low.bits | static_cast<std::uint32_t>(high.bits) << 16;
}

__device__ void load_sums(float (&d)[4], const float* c) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  for (int i = 0; i < 4; ++i) d[i] = c[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
}
__device__ void store_sums(float* out, const float (&d)[4]) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  for (int i = 0; i < 4; ++i) out[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

// Fragments element by element, as PTX's tables have them.
__global__ void multiply(const bfloat16* a, const bfloat16* b, const float* c, float* out) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const std::uint32_t a_fragment[4] = {pair(a[g * 16 + 2 * t], a[g * 16 + 2 * t + 1]),
                                       pair(a[(g + 8) * 16 + 2 * t], a[(g + 8) * 16 + 2 * t + 1]),
                                       pair(a[g * 16 + 2 * t + 8], a[g * 16 + 2 * t + 9]),
                                       pair(a[(g + 8) * 16 + 2 * t + 8], a[(g + 8) * 16 + 2 * t + 9])};
  const std::uint32_t b_fragment[2] = {pair(b[2 * t * 8 + g], b[(2 * t + 1) * 8 + g]),
                                       pair(b[(2 * t + 8) * 8 + g], b[(2 * t + 9) * 8 + g])};
  float d[4];
  load_sums(d, c);
  mma_m16n8k16(d, a_fragment, b_fragment);
  store_sums(out, d);
}

TEST(EmulatedMatrix, MultiplyAccumulates) {
  const Matrix a = random_matrix(16, 16, 1), b = random_matrix(16, 8, 2);
  const std::vector<float> c = random_sums(3);
  for (const auto& d : emulator::for_seeds(4, [&] {
         std::vector<float> d(16 * 8);
         run_now<&multiply>({1, 32}, a.data(), b.data(), c.data(), d.data());
         return d;
       }))
    expect_product(d, a, b, c);
}

TEST(EmulatedMatrix, EveryElementHasItsPlace) {
  // One element of a and one of b are 1: exactly one sum is.
  const std::vector<float> zeros(16 * 8);
  for (int i = 0; i < 16; ++i)
    for (int k = 0; k < 16; ++k)
      for (int j = 0; j < 8; ++j) {
        Matrix a(16 * 16, bfloat16(0.0f)), b(16 * 8, bfloat16(0.0f));
        a[i * 16 + k] = b[k * 8 + j] = bfloat16(1.0f);
        std::vector<float> d(16 * 8), expected(16 * 8);
        expected[i * 8 + j] = 1.0f;
        run_now<&multiply>({1, 32}, a.data(), b.data(), zeros.data(), d.data());
        ASSERT_EQ(d, expected) << i << " " << k << " " << j;
      }
}

struct Tiles {
  alignas(16) bfloat16 a[16][24];  // rows of 48 bytes: aligned to 16, as ldmatrix wants
  alignas(16) bfloat16 b[16][24];
};

// The fragments through shared memory and ldmatrix. BTransposed: b lies there as [8, 16], by columns.
template <bool BTransposed>
__global__ void multiply_shared(const bfloat16* a, const bfloat16* b, const float* c, float* out) {
  Tiles& tiles = shared_memory<Tiles>();
  const int lane = threadIdx.x;
  for (int i = lane; i < 16 * 16; i += 32) tiles.a[i / 16][i % 16] = a[i];
  for (int i = lane; i < 16 * 8; i += 32) {
    if (BTransposed)
      tiles.b[i % 8][i / 8] = b[i];
    else
      tiles.b[i / 8][i % 8] = b[i];
  }
  __syncwarp();
  std::uint32_t a_fragment[4], b_fragments[4];
  // a's four matrices: rows 0-7 and 8-15 of columns 0-7, then of columns 8-15.
  load_matrix_x4(a_fragment, &tiles.a[lane % 16][lane / 16 * 8]);
  // b's two matrices, twice: k 0-7 and 8-15.
  if (BTransposed)
    load_matrix_x4(b_fragments, &tiles.b[lane % 8][lane / 8 % 2 * 8]);
  else
    load_matrix_x4_transposed(b_fragments, &tiles.b[lane % 16][0]);
  for (int i = 0; i < 2; ++i) out[16 * 8] = b_fragments[i] == b_fragments[i + 2] ? 0.0f : 1.0f;
  float d[4];
  load_sums(d, c);
  const std::uint32_t b_fragment[2] = {b_fragments[0], b_fragments[1]};
  mma_m16n8k16(d, a_fragment, b_fragment);
  store_sums(out, d);
}

template <bool BTransposed>
void test_shared_multiply() {
  const Matrix a = random_matrix(16, 16, 4), b = random_matrix(16, 8, 5);
  const std::vector<float> c = random_sums(6);
  for (auto d : emulator::for_seeds(4, [&] {
         std::vector<float> d(16 * 8 + 1);
         run_now<&multiply_shared<BTransposed>>({1, 32, sizeof(Tiles)}, a.data(), b.data(), c.data(),
                                               d.data());
         return d;
       })) {
    EXPECT_EQ(d.back(), 0.0f) << "the third and fourth matrix are the first and second";
    d.pop_back();
    expect_product(d, a, b, c);
  }
}

TEST(EmulatedMatrix, LoadMatrixGivesAAndColumnsOfB) {
  test_shared_multiply<true>();
}
TEST(EmulatedMatrix, LoadMatrixTransposedGivesRowsOfB) {
  test_shared_multiply<false>();
}

__global__ void load_at_offset(int byte_offset) {
  std::uint32_t r[4];
  load_matrix_x4(r, reinterpret_cast<const unsigned char*>(&shared_memory<Tiles>()) + byte_offset);
}
__global__ void load_from_global(const bfloat16* global) {
  std::uint32_t r[4];
  load_matrix_x4(r, global);
}

TEST(EmulatedMatrix, LoadMatrixChecksAddresses) {
  const auto load = [](int offset) { run_now<&load_at_offset>({1, 32, sizeof(Tiles)}, offset); };
  load(sizeof(Tiles) - 16);
  EXPECT_CONTAINS(emulator::fault_of([&] { load(8); }),
                  "offset 8 in shared memory is not aligned to 16 bytes");
  EXPECT_CONTAINS(emulator::fault_of([&] { load(sizeof(Tiles)); }), "do not lie in the block's 1536 bytes");
  EXPECT_CONTAINS(emulator::fault_of([&] { load(-16); }), "16 bytes at offset -16 do not lie");
  const Matrix global = random_matrix(16, 16, 7);
  EXPECT_CONTAINS(emulator::fault_of([&] {
                    run_now<&load_from_global>({1, 32}, global.data());
                  }),
                  "load_matrix_x4 (matrix_test.cpp:");
}

__global__ void narrow(const float* x, std::uint32_t* packed, bfloat16* rounded, int n) {
  for (int i = threadIdx.x; i < n; i += 32) {
    packed[i] = pack_bf16(x[i], -x[i]);
    rounded[i] = round_to_bf16(x[i]);
  }
}

TEST(EmulatedMatrix, Bf16RoundsToNearestEven) {
  const std::vector<float> x = {1.0f, 0x1.01p0f, 0x1.03p0f, 0x1.010002p0f, -3.5f, 0x1.ffp127f, INFINITY, NAN};
  const std::vector<unsigned> expected = {0x3f80, 0x3f80, 0x3f82, 0x3f81, 0xc060, 0x7f80, 0x7f80, 0x7fff};
  std::vector<std::uint32_t> packed(x.size());
  Matrix rounded(x.size());
  run_now<&narrow>({1, 32}, x.data(), packed.data(), rounded.data(), static_cast<int>(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(rounded[i].bits, expected[i]) << x[i];
    EXPECT_EQ(packed[i], expected[i] | (std::isnan(x[i]) ? 0x7fffu : expected[i] ^ 0x8000u) << 16) << x[i];
  }
}

}  // namespace
}  // namespace heddle::cuda
