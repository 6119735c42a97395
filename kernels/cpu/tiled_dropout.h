// Loops over elements with their dropout factors, a tile at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "kernels/cpu/dropout_mask.h"
#include "kernels/cpu/vector.h"
#include "kernels/ops.h"

namespace heddle::cpu {

// Elements whose factors are made at a time: they stay in the first-level cache.
constexpr std::int64_t kTile = 1024;

// The factors of a tile's elements, or none where everything is kept.
struct Factors {
  const float* values;

  template <typename Extent>
  FloatVector apply(FloatVector v, std::int64_t i, Extent extent) const {
    return values ? v * load(values + i, extent) : v;
  }
};

class TiledDropout {
 public:
  explicit TiledDropout(const Dropout& dropout) : first_sample_(dropout.first_sample) {
    if (dropout.probability > 0) mask_.emplace(dropout);
  }

  // body(offset, count, factors) for consecutive tiles of elements [begin, begin + count) of a sample of the
  // tensor.
  template <typename Body>
  void for_each_tile(std::int64_t sample, std::int64_t begin, std::int64_t count, Body body) const {
    alignas(64) float factors[kTile];
    for (std::int64_t offset = 0; offset < count; offset += kTile) {
      const std::int64_t size = std::min(kTile, count - offset);
      if (mask_)
        mask_->factors(first_sample_ + static_cast<std::uint32_t>(sample), begin + offset, size, factors);
      body(offset, size, Factors{mask_ ? factors : nullptr});
    }
  }

 private:
  std::optional<DropoutMask> mask_;
  std::uint32_t first_sample_;
};

// Rows of out = residual + dropout(x + bias).
template <typename T>
class BiasDropoutResidualRows {
 public:
  BiasDropoutResidualRows(const Tensor& x, const Tensor& bias, const Tensor& residual, const Dropout& dropout,
                          const Tensor& out)
      : x_(x.as<T>()),
        bias_(bias ? bias.as<T>() : nullptr),
        residual_(residual.as<T>()),
        out_(out.as<T>()),
        length_(x.size(1)),
        width_(x.size(2)),
        tiled_(dropout) {}

  void compute(std::int64_t row) const {
    tiled_.for_each_tile(row / length_, row % length_ * width_, width_,
                         [&](std::int64_t c, std::int64_t count, Factors factors) {
                           const std::int64_t at = row * width_ + c;
                           for_each_vector(0, count, [&](std::int64_t i, auto extent) {
                             FloatVector v = load(x_ + at + i, extent);
                             if (bias_) v += load(bias_ + c + i, extent);
                             const FloatVector skip = load(residual_ + at + i, extent);
                             store(out_ + at + i, skip + factors.apply(v, i, extent), extent);
                           });
                         });
  }

 private:
  const T *x_, *bias_, *residual_;
  T* out_;
  std::int64_t length_, width_;
  TiledDropout tiled_;
};

}  // namespace heddle::cpu
