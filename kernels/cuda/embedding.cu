// The family "embedding".
//
// The gradient of a row of the table is the sum over the tokens that looked it up. So that it is always added
// in the same order, without atomics and whatever the tokens are, the tokens are sorted by id, stably, and
// the sorted list is cut into tiles of 32: a warp sums the runs of equal ids in its tile. The first piece of
// a run is added to the table by the warp that has it; pieces that continue a run from the tile before are
// kept aside and added in a second phase, so that a token that occurs a thousand times is summed by thirty
// warps.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <utility>

#include "kernels/checks.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/piece.h"
#include "kernels/cuda/stable_sort.h"

namespace heddle {

namespace cuda {

namespace {

constexpr int kWarps = 8;  // of a block
constexpr int kTile = kWarpSize;
constexpr int kRowsInFlight = 4;
constexpr std::uint32_t kNoRow = 0xffffffffu;  // beyond the rows of any table

// --- forward: a warp per row ---

struct Lookup {
  const std::int32_t* ids;
  std::int64_t tokens, width, table_rows, first_row;
};

template <typename T, int kWidth>
__global__ void __launch_bounds__(kWarps* kWarpSize)
    forward_kernel(Lookup lookup, const T* table, bool accumulate, T* out) {
  const std::int64_t token = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.y;
  if (token >= lookup.tokens) return;
  const std::int64_t row = lookup.ids[token] - lookup.first_row;
  const bool here = row >= 0 && row < lookup.table_rows;
  if (!here && accumulate) return;
  const T* from = table + row * lookup.width;
  T* to = out + token * lookup.width;
#pragma unroll 4
  for (std::int64_t i = threadIdx.x * kWidth; i < lookup.width; i += kWarpSize * kWidth) {
    float x[kWidth] = {};
    if (here) load_piece(from + i, x);
    if (accumulate) {
      float sum[kWidth];
      load_piece(to + i, sum);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) x[j] += sum[j];
    }
    store_piece(to + i, x);
  }
}

// --- backward ---

// keys: the table's row, or one past the last row for a token that is looked up elsewhere; values: the token.
__global__ void __launch_bounds__(kWarps* kWarpSize) key_kernel(Lookup lookup, KeyedValues tokens) {
  const std::int64_t token = static_cast<std::int64_t>(blockIdx.x) * (kWarps * kWarpSize) + threadIdx.x;
  if (token >= lookup.tokens) return;
  const std::int64_t row = lookup.ids[token] - lookup.first_row;
  const bool here = row >= 0 && row < lookup.table_rows;
  tokens.keys[token] = static_cast<std::uint32_t>(here ? row : lookup.table_rows);
  tokens.values[token] = static_cast<std::int32_t>(token);
}

// The sorted tokens and the columns [begin, end) of their gradients.
struct SortedTokens {
  const std::uint32_t* rows;  // of the table, ascending
  const std::int32_t* tokens;
  std::int64_t count;
  std::int64_t table_rows;
  std::int64_t width, begin, end;

  __device__ std::int64_t columns() const { return end - begin; }
  // Does the tile begin with a run that the tile before it has begun?
  __device__ bool continues(std::int64_t tile) const {
    const std::int64_t at = tile * kTile;
    return tile > 0 && at < count && rows[at - 1] == rows[at] && rows[at] < table_rows;
  }
};

// to = sum, or to += sum: a piece's worth of floats.
template <int kWidth>
__device__ __forceinline__ void write_sum(float* to, float (&sum)[kWidth], bool add) {
  constexpr int kFloats = kWidth == 1 ? 1 : kPack<float>;
#pragma unroll
  for (int begin = 0; begin < kWidth; begin += kFloats) {
    float x[kFloats] = {};
    if (add) load_piece(to + begin, x);
#pragma unroll
    for (int j = 0; j < kFloats; ++j) x[j] += sum[begin + j];
    store_piece(to + begin, x);
  }
}

// First phase: block (tiles / kWarps, columns), a warp per tile and kWarpSize pieces of the columns.
// continued [tiles, columns]: sums of the pieces that continue a run.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kWarps* kWarpSize)
    sum_tiles_kernel(SortedTokens sorted, const T* dout, float* continued, float* dtable) {
  const std::int64_t tile = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.y;
  const std::int64_t first = tile * kTile;
  if (first >= sorted.count) return;
  const std::int64_t column = (static_cast<std::int64_t>(blockIdx.y) * kWarpSize + threadIdx.x) * kWidth;
  const int count = static_cast<int>(min(static_cast<std::int64_t>(kTile), sorted.count - first));
  if (column >= sorted.columns()) return;
  bool continuation = sorted.continues(tile);

  float sum[kWidth] = {};
  for (int begin = 0; begin < count; begin += kRowsInFlight) {
    float x[kRowsInFlight][kWidth] = {};
    std::uint32_t rows[kRowsInFlight + 1];  // and that of the token behind them
#pragma unroll
    for (int i = 0; i <= kRowsInFlight; ++i)
      rows[i] = begin + i < count ? sorted.rows[first + begin + i] : kNoRow;
#pragma unroll
    for (int i = 0; i < kRowsInFlight; ++i)
      if (rows[i] < sorted.table_rows) {
        const std::int64_t token = sorted.tokens[first + begin + i];
        load_piece(dout + token * sorted.width + sorted.begin + column, x[i]);
      }
#pragma unroll
    for (int i = 0; i < kRowsInFlight; ++i) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) sum[j] += x[i][j];
      if (rows[i] >= sorted.table_rows || rows[i + 1] == rows[i]) continue;  // the run goes on
      write_sum(continuation ? continued + tile * sorted.columns() + column
                             : dtable + rows[i] * sorted.width + sorted.begin + column,
                sum, !continuation);
      continuation = false;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) sum[j] = 0;
    }
  }
}

struct RunParts {
  float sums[kWarps][kWarpSize];
};

// Second phase: block (tile, 32 columns) adds what continues the run that enters this tile, in all the tiles
// that it fills, if this is the first of them. Warp w sums every kWarps-th tile.
__global__ void __launch_bounds__(kWarps* kWarpSize)
    sum_runs_kernel(SortedTokens sorted, const float* continued, float* dtable) {
  const std::int64_t tile = static_cast<std::int64_t>(blockIdx.x) + 1;
  if (!sorted.continues(tile)) return;
  const std::uint32_t row = sorted.rows[tile * kTile];
  if (sorted.continues(tile - 1) && sorted.rows[(tile - 1) * kTile] == row) return;
  // The first tile that does not begin with this row.
  std::int64_t end = tile + 1;
  for (std::int64_t low = tile + 1, high = (sorted.count + kTile - 1) / kTile; low < high; end = low) {
    const std::int64_t middle = low + (high - low) / 2;
    if (sorted.rows[middle * kTile] == row)
      low = middle + 1;
    else
      high = middle;
  }

  auto& shared = shared_memory<RunParts>();
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.y) * kWarpSize + threadIdx.x;
  const bool has_column = column < sorted.columns();
  float sum = 0;
  if (has_column) {
#pragma unroll 8
    for (std::int64_t t = tile + threadIdx.y; t < end; t += kWarps)
      sum += continued[t * sorted.columns() + column];
  }
  shared.sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || !has_column) return;
  for (int warp = 1; warp < kWarps; ++warp) sum += shared.sums[warp][threadIdx.x];
  dtable[row * sorted.width + sorted.begin + column] += sum;
}

// Tokens are sorted so many at a time, in order, for the work space to suffice.
constexpr std::int64_t kSortedAtOnce = 1 << 18;

// The work space of the backward: the tokens before and after sorting, and with what is left `continued`.
struct BackwardWork {
  KeyedValues tokens, sorted;
  void* sort;
  float* continued;
  std::int64_t continued_count;

  BackwardWork(void* memory, std::size_t bytes, std::int64_t count) {
    auto* at = static_cast<std::byte*>(memory);
    const std::byte* end = at + bytes;
    const auto take = [&](std::size_t size) { return std::exchange(at, at + (size + 255) / 256 * 256); };
    for (KeyedValues* pairs : {&tokens, &sorted}) {
      pairs->keys = reinterpret_cast<std::uint32_t*>(take(count * sizeof(std::uint32_t)));
      pairs->values = reinterpret_cast<std::int32_t*>(take(count * sizeof(std::int32_t)));
    }
    sort = take(stable_sort_bytes(count));
    continued = reinterpret_cast<float*>(at);
    continued_count = (end - at) / static_cast<std::int64_t>(sizeof(float));
  }
};

// May the rows be moved in packs?
bool rows_fit(const Tensor& rows) {
  return rows.dtype == DType::f32 ? packs_fit<float>(rows.data, rows.size(1))
                                  : packs_fit<bfloat16>(rows.data, rows.size(1));
}

}  // namespace

}  // namespace cuda

using namespace cuda;

void CudaOps::embedding_forward(const Tensor& ids, const Tensor& table, std::int64_t first_row,
                                bool accumulate, const Tensor& out) {
  checks::embedding_forward(ids, table, out);
  const Lookup lookup{ids.as<std::int32_t>(), out.size(0), out.size(1), table.size(0), first_row};
  with_type_and_width(out.dtype, rows_fit(table) && rows_fit(out), [&](auto type, auto width) {
    using T = decltype(type);
    launch<&forward_kernel<T, width.value>>({blocks_for(lookup.tokens, kWarps), dim3(kWarpSize, kWarps)},
                                            stream_, lookup, table.as<T>(), accumulate, out.as<T>());
  });
}

void CudaOps::embedding_backward(const Tensor& ids, const Tensor& dout, std::int64_t first_row,
                                 const Tensor& dtable) {
  checks::embedding_backward(ids, dout, dtable);
  const std::int64_t width = dout.size(1);
  if (dout.count() == 0 || dtable.count() == 0) return;
  const bool packs = rows_fit(dout) && rows_fit(dtable);
  void* work = scratch(kScratchBytes, "embedding_backward");
  for (std::int64_t begin = 0; begin < ids.size(0); begin += kSortedAtOnce) {
    const std::int64_t count = std::min(kSortedAtOnce, ids.size(0) - begin);
    BackwardWork parts(work, kScratchBytes, count);
    const Lookup lookup{ids.as<std::int32_t>() + begin, count, width, dtable.size(0), first_row};
    launch<&key_kernel>({blocks_for(count, kWarps * kWarpSize), kWarps * kWarpSize}, stream_, lookup,
                        parts.tokens);
    const int key_bits = std::bit_width(static_cast<std::uint64_t>(dtable.size(0)));
    const KeyedValues by_row = stable_sort(parts.tokens, parts.sorted, count, key_bits, parts.sort, stream_);

    const std::int64_t tiles = (count + kTile - 1) / kTile;
    const std::int64_t columns_at_once = parts.continued_count / tiles / kPack<bfloat16> * kPack<bfloat16>;
    for (std::int64_t column = 0; column < width; column += columns_at_once) {
      const std::int64_t end = std::min(width, column + columns_at_once);
      const SortedTokens sorted{by_row.keys, by_row.values, count, dtable.size(0), width, column, end};
      with_type_and_width(dout.dtype, packs, [&](auto type, auto piece) {
        using T = decltype(type);
        launch<&sum_tiles_kernel<T, piece.value>>(
            {dim3(blocks_for(tiles, kWarps), blocks_for(end - column, kWarpSize * piece.value)),
             dim3(kWarpSize, kWarps)},
            stream_, sorted, dout.as<T>() + begin * width, parts.continued, dtable.as<float>());
      });
      launch<&sum_runs_kernel>({dim3(static_cast<unsigned>(tiles - 1), blocks_for(end - column, kWarpSize)),
                                dim3(kWarpSize, kWarps), sizeof(RunParts)},
                               stream_, sorted, parts.continued, dtable.as<float>());
    }
  }
}

}  // namespace heddle
