#include "kernels/tensor.h"

#include <fmt/format.h>

namespace heddle {

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return "f32";
    case DType::bf16: return "bf16";
    case DType::i32: return "i32";
    case DType::u8: return "u8";
    case DType::f64: return "f64";
  }
  return "?";
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) text += fmt::format("{}{}", i ? ", " : "", dims_[i]);
  return text + "]";
}

namespace {

Shape contiguous_strides(const Shape& shape) {
  Shape stride = shape;
  std::int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    stride[i] = step;
    step *= shape[i];
  }
  return stride;
}

// Planned tensors have no data, and neither have their parts.
void* advance(void* data, std::int64_t elements, DType dtype) {
  return data ? static_cast<char*>(data) + elements * static_cast<std::int64_t>(size_of(dtype)) : nullptr;
}

}  // namespace

Tensor::Tensor(void* data, DType dtype, Shape shape)
    : data(data), dtype(dtype), shape(shape), stride(contiguous_strides(shape)) {}

bool Tensor::contiguous() const {
  std::int64_t step = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (shape[i] != 1 && stride[i] != step) return false;
    step *= shape[i];
  }
  return true;
}

Tensor Tensor::view(Shape new_shape) const {
  assert(contiguous() && new_shape.count() == count());
  return Tensor(data, dtype, new_shape);
}

Tensor Tensor::slice(int dim, std::int64_t begin, std::int64_t end) const {
  assert(dim >= 0 && dim < rank() && begin >= 0 && begin <= end && end <= shape[dim]);
  Tensor part = *this;
  part.data = advance(data, begin * stride[dim], dtype);
  part.shape[dim] = end - begin;
  return part;
}

Tensor Tensor::operator[](std::int64_t i) const {
  assert(rank() >= 1 && i >= 0 && i < shape[0]);
  Tensor part;
  part.dtype = dtype;
  part.data = advance(data, i * stride[0], dtype);
  for (int d = 1; d < rank(); ++d) {
    part.shape.push_back(shape[d]);
    part.stride.push_back(stride[d]);
  }
  return part;
}

}  // namespace heddle
