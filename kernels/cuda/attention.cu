#include "kernels/checks.h"
#include "kernels/cuda/attention_forward.h"
#include "kernels/cuda/attention_launch.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"

namespace heddle {

namespace cuda {
namespace {

template <typename T>
void launch_forward(const Attention& a, cudaStream_t stream) {
  ForwardArguments<T> arguments{
      .q = heads_of<const T>(a.q),
      .k = heads_of<const T>(a.k),
      .v = heads_of<const T>(a.v),
      .o = heads_of<T>(a.o),
      .log_sum_exp = a.log_sum_exp.as<float>(),
      .sizes = sizes_of(a),
      .visibility = visibility_of(a),
      .dropout = dropout_of(a),
      .scale_log2 = a.scale * kLog2E,
      .packs = packs_fit<T>(a.q) && packs_fit<T>(a.k) && packs_fit<T>(a.v) && packs_fit<T>(a.o)};
  with_tile_width<T>(a.q.size(3), [&](auto width) {
    using Tiles = ForwardTiles<T, decltype(width)::value>;
    const unsigned blocks = attention_blocks(a.q.size(1), Tiles::kQueries, a.q.size(2), a.q.size(0));
    launch<&attention_forward_kernel<T, decltype(width)::value>>(
        {blocks, Tiles::kThreads, sizeof(typename Tiles::Shared)}, stream, arguments);
  });
}

}  // namespace
}  // namespace cuda

void CudaOps::attention_forward(const Attention& a) {
  checks::attention_forward(a);
  cuda::check_limits("attention_forward", a);
  if (a.q.count() == 0) return;
  a.q.dtype == DType::bf16 ? cuda::launch_forward<bfloat16>(a, stream_)
                           : cuda::launch_forward<float>(a, stream_);
}

}  // namespace heddle
