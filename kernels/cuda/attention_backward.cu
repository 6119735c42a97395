#include <memory>
#include <type_traits>

#include "kernels/checks.h"
#include "kernels/cuda/attention_backward.h"
#include "kernels/cuda/attention_key_gradients.h"
#include "kernels/cuda/attention_launch.h"
#include "kernels/cuda/attention_query_gradients.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"

namespace heddle {

namespace cuda {
namespace {

constexpr std::int64_t kScratchAlignment = 16;  // bytes

QueryStatistics* aligned_statistics(const Tensor& scratch) {
  void* start = scratch.data;
  std::size_t space = scratch.bytes();
  return static_cast<QueryStatistics*>(std::align(kScratchAlignment, 0, start, space));
}

template <typename T>
void launch_backward(const Attention& a, const AttentionGradients& g, cudaStream_t stream) {
  bool packs = true;
  for (const Tensor* t : {&a.q, &a.k, &a.v, &a.o, &g.d_o, &g.dq, &g.dk, &g.dv})
    packs = packs && packs_fit<T>(*t);
  const BackwardArguments<T> arguments{.q = heads_of<const T>(a.q),
                                       .k = heads_of<const T>(a.k),
                                       .v = heads_of<const T>(a.v),
                                       .o = heads_of<const T>(a.o),
                                       .d_o = heads_of<const T>(g.d_o),
                                       .dq = heads_of<T>(g.dq),
                                       .dk = heads_of<T>(g.dk),
                                       .dv = heads_of<T>(g.dv),
                                       .log_sum_exp = a.log_sum_exp.as<float>(),
                                       .statistics = aligned_statistics(g.scratch),
                                       .sizes = sizes_of(a),
                                       .visibility = visibility_of(a),
                                       .dropout = dropout_of(a),
                                       .scale = a.scale,
                                       .scale_log2 = a.scale * kLog2E,
                                       .packs = packs};
  const std::int64_t batch = a.q.size(0), heads = a.q.size(2), queries = a.q.size(1), keys = a.k.size(1);
  launch<&attention_statistics_kernel<T>>(
      {attention_blocks(padded_queries(queries), kStatisticsPerBlock, heads, batch), kStatisticsThreads},
      stream, arguments);
  with_tile_width<T>(a.q.size(3), [&](auto width) {
    constexpr int D = decltype(width)::value;
    const auto launch_key_gradients = [&](auto with_dropout) {
      constexpr bool kDropout = decltype(with_dropout)::value;
      using Tiles = KeyGradientTiles<T, D, kDropout>;
      launch<&attention_key_gradients_kernel<T, D, kDropout>>(
          {attention_blocks(keys, Tiles::kKeys, a.k.size(2), batch), Tiles::kThreads,
           sizeof(typename Tiles::Shared)},
          stream, arguments);
    };
    arguments.dropout.enabled ? launch_key_gradients(std::true_type())
                              : launch_key_gradients(std::false_type());
    using Tiles = QueryGradientTiles<T, D>;
    launch<&attention_query_gradients_kernel<T, D>>({attention_blocks(queries, Tiles::kQueries, heads, batch),
                                                     Tiles::kThreads, sizeof(typename Tiles::Shared)},
                                                    stream, arguments);
  });
}

}  // namespace
}  // namespace cuda

void CudaOps::attention_backward(const Attention& a, const AttentionGradients& g) {
  checks::attention_backward(
      a, g, attention_backward_scratch(a.q.size(0), a.q.size(1), a.k.size(1), a.q.size(2), a.q.size(3)));
  cuda::check_limits("attention_backward", a);
  if (a.q.count() == 0 && a.k.count() == 0) return;
  a.q.dtype == DType::bf16 ? cuda::launch_backward<bfloat16>(a, g, stream_)
                           : cuda::launch_backward<float>(a, g, stream_);
}

std::int64_t CudaOps::attention_backward_scratch(std::int64_t batch, std::int64_t query_length, std::int64_t,
                                                 std::int64_t num_heads, std::int64_t) {
  const std::int64_t rows = batch * num_heads * cuda::padded_queries(query_length);
  return (rows * static_cast<std::int64_t>(sizeof(cuda::QueryStatistics)) + cuda::kScratchAlignment) /
         static_cast<std::int64_t>(sizeof(float));
}

}  // namespace heddle
