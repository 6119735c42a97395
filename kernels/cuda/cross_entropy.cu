// The family "cross_entropy": statistics of a slice of the vocabulary, their merge, and the gradient in
// place.
//
// A row of logits is shared out among the threads of a team, a warp for a small vocabulary and a whole block
// for a large one, and read once by each of the two kernels: the maximum and the sum of exponentials are
// found together, the sum being rescaled whenever the maximum rises (Milakov & Gimelshein 2018, algorithm 3).
// Which thread has which columns, and with it the last bits of the sums, depends on where the row begins
// within 16 bytes: rows that are padded to a multiple of that all agree.
#include <limits>

#include "kernels/checks.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/reduce.h"

namespace heddle {

namespace cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kBlockTeam = kThreads;
constexpr int kWarpTeam = kWarpSize;             // kThreads / kWarpTeam rows per block
constexpr std::int64_t kLargeVocabulary = 2048;  // columns from which a block takes a row
constexpr int kPacksInFlight = 4;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLog2E = 1.44269504088896340736f;

__device__ __forceinline__ float exp_of(float x) {
  return exp2_approx(x * kLog2E);
}

// The slice of the logits, and which column of a row is the target.
template <typename T>
struct Slice {
  T* logits;
  std::int64_t rows, row_stride;
  std::int64_t columns, valid_columns;
  const std::int32_t* targets;
  std::int64_t first_column;

  explicit Slice(const CrossEntropy& c)
      : logits(c.logits.as<T>()),
        rows(c.logits.size(0)),
        row_stride(c.logits.stride[0]),
        columns(c.logits.size(1)),
        valid_columns(c.valid_columns),
        targets(c.targets.as<std::int32_t>()),
        first_column(c.first_column) {}

  __device__ bool ignores(std::int64_t row) const { return targets[row] < 0; }
  // -1 if the target lies in another slice.
  __device__ std::int64_t target_column(std::int64_t row) const {
    const std::int64_t column = targets[row] - first_column;
    return column >= 0 && column < valid_columns ? column : -1;
  }
};

// The row of this thread's team, counted from the grid's first.
__device__ __forceinline__ std::int64_t team_index() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
}

// Shares columns [begin, end) of a row out among the team: pack(column, x[kPack], address) for 16 aligned
// bytes, element(column) for the few columns before the first and behind the last of them.
template <int kTeam, typename T, typename Pack, typename Element>
__device__ __forceinline__ void for_each_piece(T* row, std::int64_t begin, std::int64_t end, Pack pack,
                                               Element element) {
  const auto misaligned = static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(row + begin) % 16);
  const std::int64_t first = min(end, begin + (16 - misaligned) % 16 / static_cast<int>(sizeof(T)));
  const std::int64_t packs = (end - first) / kPack<T>;

  for (std::int64_t i = threadIdx.x; i < packs; i += kPacksInFlight * kTeam) {
    uint4 raw[kPacksInFlight];
#pragma unroll
    for (int j = 0; j < kPacksInFlight; ++j)
      if (i + j * kTeam < packs) raw[j] = reinterpret_cast<const uint4*>(row + first)[i + j * kTeam];
#pragma unroll
    for (int j = 0; j < kPacksInFlight; ++j) {
      if (i + j * kTeam >= packs) break;
      const std::int64_t column = first + (i + j * kTeam) * kPack<T>;
      float x[kPack<T>];
      unpack<T>(raw[j], x);
      pack(column, x, row + column);
    }
  }
  if (begin + threadIdx.x < first) element(begin + threadIdx.x);
  const std::int64_t behind = first + packs * kPack<T> + threadIdx.x;
  if (behind < end) element(behind);
}

// What a thread has seen of its row.
struct OnlineStatistics {
  float maximum = -kInfinity, exp_sum = 0, logit_sum = 0;

  // exp(x - maximum), where -infinity is no NaN if nothing larger has been seen.
  static __device__ float shift(float maximum) { return maximum == -kInfinity ? 0.0f : maximum; }

  template <int kCount>
  __device__ __forceinline__ void add(const float (&x)[kCount]) {
    float larger = maximum;
#pragma unroll
    for (int i = 0; i < kCount; ++i) larger = fmaxf(larger, x[i]);
    exp_sum *= exp_of(maximum - shift(larger));
    maximum = larger;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      exp_sum += exp_of(x[i] - shift(maximum));
      logit_sum += x[i];
    }
  }

  template <int kTeam>
  __device__ __forceinline__ void merge_team(float* parts) {
    const float largest = block_max<kTeam>(maximum, parts);
    exp_sum = block_sum<kTeam>(exp_sum * exp_of(maximum - shift(largest)), parts);
    logit_sum = block_sum<kTeam>(logit_sum, parts);
    maximum = largest;
  }
};

struct TeamParts {
  float parts[kThreads / kWarpSize];
};

// statistics [N, 4]
template <typename T, int kTeam>
__global__ void __launch_bounds__(kThreads) statistics_kernel(Slice<T> slice, float* statistics) {
  if (team_index() >= slice.rows) return;
  // From the last row on: it is what the product that made the logits has left in the second-level cache.
  const std::int64_t row = slice.rows - 1 - team_index();
  float* to = statistics + row * kCrossEntropyStatistics;
  if (slice.ignores(row)) {
    if (threadIdx.x < kCrossEntropyStatistics) to[threadIdx.x] = 0;
    return;
  }
  T* logits = slice.logits + row * slice.row_stride;
  OnlineStatistics seen;
  for_each_piece<kTeam>(
      logits, 0, slice.valid_columns, [&](std::int64_t, const float(&x)[kPack<T>], T*) { seen.add(x); },
      [&](std::int64_t column) {
        const float x[1] = {to_float(logits[column])};
        seen.add(x);
      });
  seen.merge_team<kTeam>(shared_memory<TeamParts>().parts);
  if (threadIdx.x > 0) return;
  const std::int64_t target = slice.target_column(row);
  to[0] = seen.maximum;
  to[1] = seen.exp_sum;
  to[2] = target >= 0 ? to_float(logits[target]) : 0.0f;
  to[3] = seen.logit_sum;
}

struct LossArguments {
  std::int64_t rows, slices, vocabulary;
  double label_smoothing;
};

// One thread per row, in double precision. all [S, N, 4]
__global__ void __launch_bounds__(kThreads) merge_kernel(LossArguments a, const std::int32_t* targets,
                                                         const float* all, float* loss, float* log_sum_exp) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= a.rows) return;
  double loss_of_row = 0, log_sum = 0;
  if (targets[row] >= 0) {
    const auto statistics = [&](std::int64_t slice, int which) {
      return static_cast<double>(all[(slice * a.rows + row) * kCrossEntropyStatistics + which]);
    };
    double maximum = -kInfinity, exp_sum = 0, target_logit = 0, logit_sum = 0;
    for (std::int64_t s = 0; s < a.slices; ++s) maximum = fmax(maximum, statistics(s, 0));
    for (std::int64_t s = 0; s < a.slices; ++s) {
      exp_sum += statistics(s, 1) * exp(statistics(s, 0) - maximum);
      target_logit += statistics(s, 2);
      logit_sum += statistics(s, 3);
    }
    log_sum = maximum + log(exp_sum);
    loss_of_row = log_sum - (1 - a.label_smoothing) * target_logit;
    // Not 0 * logit_sum, which is NaN where a logit is -infinity.
    if (a.label_smoothing > 0)
      loss_of_row -= a.label_smoothing * logit_sum / static_cast<double>(a.vocabulary);
    // The host does not see the targets: one that no slice can hold shows in the loss, and stops the run.
    if (targets[row] >= a.vocabulary) loss_of_row = std::numeric_limits<double>::quiet_NaN();
  }
  loss[row] = static_cast<float>(loss_of_row);
  log_sum_exp[row] = static_cast<float>(log_sum);
}

template <typename T, int kTeam>
__device__ __forceinline__ void clear_columns(T* logits, std::int64_t begin, std::int64_t end) {
  const float zeros[kPack<T>] = {};
  for_each_piece<kTeam>(
      logits, begin, end, [&](std::int64_t, const float(&)[kPack<T>], T* to) { store_pack(to, zeros); },
      [&](std::int64_t column) { logits[column] = from_float<T>(0); });
}

// Every element is read and written by the same thread, the target's among them.
template <typename T, int kTeam>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(Slice<T> slice, float label_smoothing, float uniform, const float* log_sum_exp,
                    const float* scale) {
  const std::int64_t row = team_index();
  if (row >= slice.rows) return;
  T* logits = slice.logits + row * slice.row_stride;
  if (slice.ignores(row)) return clear_columns<T, kTeam>(logits, 0, slice.columns);

  const float factor = *scale, log_sum = log_sum_exp[row];
  const float at_target = 1 - label_smoothing + uniform;  // the target distribution, `uniform` elsewhere
  const std::int64_t target = slice.target_column(row);
  const auto gradient = [&](float x, bool is_target) {
    return (exp_of(x - log_sum) - (is_target ? at_target : uniform)) * factor;
  };
  for_each_piece<kTeam>(
      logits, 0, slice.valid_columns,
      [&](std::int64_t column, float(&x)[kPack<T>], T* to) {
        const std::int64_t distance = target - column;
        const int where = distance >= 0 && distance < kPack<T> ? static_cast<int>(distance) : -1;
#pragma unroll
        for (int i = 0; i < kPack<T>; ++i) x[i] = gradient(x[i], i == where);
        store_pack(to, x);
      },
      [&](std::int64_t column) {
        logits[column] = from_float<T>(gradient(to_float(logits[column]), column == target));
      });
  clear_columns<T, kTeam>(logits, slice.valid_columns, slice.columns);
}

// body(T{}, Int<team>{}) for the type of the logits and the team that suits their width.
template <int kValue>
struct Int {
  static constexpr int value = kValue;
};
template <typename Body>
void with_type_and_team(const Tensor& logits, Body body) {
  with_act_type(logits.dtype, [&](auto type) {
    if (logits.size(1) >= kLargeVocabulary)
      body(type, Int<kBlockTeam>{});
    else
      body(type, Int<kWarpTeam>{});
  });
}

LaunchShape shape_for(std::int64_t rows, int team) {
  const int teams = kThreads / team;
  return {dim3(blocks_for(rows, teams)), dim3(team, teams), sizeof(TeamParts)};
}

}  // namespace

}  // namespace cuda

using namespace cuda;

void CudaOps::cross_entropy_statistics(const CrossEntropy& c, const Tensor& statistics) {
  checks::cross_entropy_statistics(c, statistics);
  with_type_and_team(c.logits, [&](auto type, auto team) {
    using T = decltype(type);
    launch<&statistics_kernel<T, team.value>>(shape_for(c.logits.size(0), team.value), stream_, Slice<T>(c),
                                              statistics.as<float>());
  });
}

void CudaOps::cross_entropy_merge(const CrossEntropy& c, const Tensor& all, const Tensor& loss,
                                  const Tensor& log_sum_exp) {
  checks::cross_entropy_merge(c, all, loss, log_sum_exp);
  const LossArguments arguments{loss.size(0), all.size(0), c.vocabulary, c.label_smoothing};
  launch<&merge_kernel>({blocks_for(loss.size(0), kThreads), kThreads}, stream_, arguments,
                        c.targets.as<std::int32_t>(), all.as<float>(), loss.as<float>(),
                        log_sum_exp.as<float>());
}

void CudaOps::cross_entropy_backward(const CrossEntropy& c, const Tensor& log_sum_exp, const float* scale) {
  checks::cross_entropy_backward(c, log_sum_exp);
  const float uniform = c.label_smoothing / static_cast<float>(c.vocabulary);
  with_type_and_team(c.logits, [&](auto type, auto team) {
    using T = decltype(type);
    launch<&backward_kernel<T, team.value>>(shape_for(c.logits.size(0), team.value), stream_, Slice<T>(c),
                                            c.label_smoothing, uniform, log_sum_exp.as<float>(), scale);
  });
}

}  // namespace heddle
