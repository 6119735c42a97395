#include "kernels/reference/array.h"

namespace heddle::reference {

namespace {

// Calls f(i, offset) for the i-th element in row-major order and its offset in the strided tensor.
template <typename F>
void for_each_element(const Tensor& tensor, F f) {
  for (std::int64_t i = 0; i < tensor.count(); ++i) {
    std::int64_t rest = i, offset = 0;
    for (int dim = tensor.rank() - 1; dim >= 0; --dim) {
      offset += rest % tensor.shape[dim] * tensor.stride[dim];
      rest /= tensor.shape[dim];
    }
    f(i, offset);
  }
}

}  // namespace

template <typename Real>
Array<Real> from_tensor(const Tensor& tensor) {
  if (!tensor) return {};
  assert(tensor.dtype == DType::f32 || tensor.dtype == DType::bf16);
  Array<Real> array(tensor.shape);
  for_each_element(tensor, [&](std::int64_t i, std::int64_t offset) {
    array.values[i] = tensor.dtype == DType::f32 ? static_cast<Real>(tensor.as<float>()[offset])
                                                 : static_cast<Real>(float(tensor.as<bfloat16>()[offset]));
  });
  return array;
}

template <typename Real>
void to_tensor(const Array<Real>& array, const Tensor& tensor) {
  assert(array.shape == tensor.shape);
  assert(tensor.dtype == DType::f32 || tensor.dtype == DType::bf16);
  for_each_element(tensor, [&](std::int64_t i, std::int64_t offset) {
    const float value = static_cast<float>(array.values[i]);
    if (tensor.dtype == DType::f32)
      tensor.as<float>()[offset] = value;
    else
      tensor.as<bfloat16>()[offset] = bfloat16(value);
  });
}

template Array<float> from_tensor(const Tensor&);
template Array<double> from_tensor(const Tensor&);
template void to_tensor(const Array<float>&, const Tensor&);
template void to_tensor(const Array<double>&, const Tensor&);

}  // namespace heddle::reference
