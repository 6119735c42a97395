// bias_gradient of the family "matmul": each element of dy is read once.
#include "kernels/checks.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/map.h"

namespace heddle {

using namespace cuda;

namespace {

template <typename T>
struct Rows {
  const T* data;
  std::int64_t width;

  template <int N>
  __device__ __forceinline__ void load(std::int64_t row, std::int64_t column, float (&x)[N]) const {
    load_elements(data + row * width + column, x);
  }
};

}  // namespace

void CudaOps::bias_gradient(const Tensor& dy, const Tensor& dbias) {
  checks::bias_gradient(dy, dbias);
  const std::int64_t rows = dy.size(0), width = dy.size(1);
  const auto work_space = [&](std::size_t bytes) { return scratch(bytes, "bias_gradient"); };
  with_act_type(dy.dtype, [&](auto type) {
    using T = decltype(type);
    const Rows<T> source{dy.as<T>(), width};
    if (packs_fit<T>(dy.data, width))
      sum_columns<kPack<T>>(source, rows, width, dbias.as<float>(), gpu_, stream_, work_space);
    else
      sum_columns<1>(source, rows, width, dbias.as<float>(), gpu_, stream_, work_space);
  });
}

}  // namespace heddle
