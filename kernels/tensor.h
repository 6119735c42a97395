// Tensor: a non-owning, typed, strided view of device memory. Storage is owned by Memory (device.h) or an Arena.
//
// Conventions used in every header of heddle:
//   [N, C]     a shape; N rows of C contiguous elements. The last dimension is always contiguous (stride 1).
//   i32, f32   element types; bf16 is the upper half of an f32, rounded to nearest even.
//   Sizes, strides and offsets are 64-bit and count elements, never bytes, unless a name says bytes.
#pragma once

#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace heddle {

enum class DType : std::uint8_t { f32, bf16, i32, u8, f64 };  // f64: sums for the host, never activations

constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return 4;
    case DType::bf16: return 2;
    case DType::i32: return 4;
    case DType::u8: return 1;
    case DType::f64: return 8;
  }
  return 0;
}

const char* name_of(DType dtype);  // "f32", "bf16", ...

// Storage format only: arithmetic is done in float.
struct bfloat16 {
  std::uint16_t bits;

  bfloat16() = default;
  // constexpr: device code may call constexpr functions
  constexpr explicit bfloat16(float value) : bits(0) {
    const auto u = std::bit_cast<std::uint32_t>(value);
    // Round to nearest even; a NaN keeps its sign and becomes quiet instead of overflowing into infinity.
    bits = (u & 0x7fffffffu) > 0x7f800000u ? static_cast<std::uint16_t>((u >> 16) | 0x40u)
                                           : static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
  constexpr operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

template <typename T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() { return DType::f32; }
template <>
constexpr DType dtype_of<bfloat16>() { return DType::bf16; }
template <>
constexpr DType dtype_of<std::int32_t>() { return DType::i32; }
template <>
constexpr DType dtype_of<std::uint8_t>() { return DType::u8; }
template <>
constexpr DType dtype_of<double>() { return DType::f64; }

// Up to five dimensions.
class Shape {
 public:
  static constexpr int kMaxRank = 5;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) {
    assert(dims.size() <= kMaxRank);
    for (std::int64_t d : dims) dims_[rank_++] = d;
  }
  void push_back(std::int64_t d) {
    assert(rank_ < kMaxRank);
    dims_[rank_++] = d;
  }
  int rank() const { return rank_; }
  std::int64_t operator[](int i) const { return dims_[i]; }
  std::int64_t& operator[](int i) { return dims_[i]; }
  std::int64_t count() const {
    std::int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= dims_[i];
    return n;
  }
  bool operator==(const Shape& other) const {
    if (rank_ != other.rank_) return false;
    for (int i = 0; i < rank_; ++i)
      if (dims_[i] != other.dims_[i]) return false;
    return true;
  }
  std::string to_string() const;  // "[8, 512, 768]"

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

struct Tensor {
  void* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;
  Shape stride;  // elements; stride[rank - 1] == 1

  Tensor() = default;
  // A contiguous tensor over `data`.
  Tensor(void* data, DType dtype, Shape shape);

  int rank() const { return shape.rank(); }
  std::int64_t size(int dim) const { return shape[dim < 0 ? shape.rank() + dim : dim]; }
  std::int64_t count() const { return shape.count(); }
  std::size_t bytes() const { return static_cast<std::size_t>(count()) * size_of(dtype); }
  bool contiguous() const;
  // False for a default-constructed (absent) tensor. A planned tensor has a shape but no data.
  explicit operator bool() const { return rank() > 0; }

  // The same elements under another shape of equal count; only for contiguous tensors.
  Tensor view(Shape new_shape) const;
  // Elements [begin, end) of dimension `dim`.
  Tensor slice(int dim, std::int64_t begin, std::int64_t end) const;
  // Index `i` of dimension 0, which disappears.
  Tensor operator[](std::int64_t i) const;

  template <typename T>
  T* as() const {
    assert(dtype == dtype_of<T>());
    return static_cast<T*>(data);
  }
};

}  // namespace heddle
