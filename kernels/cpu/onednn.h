// The few calls of oneDNN's C++ interface that differ between its versions 2 (with operation descriptors) and
// 3 (without).
#pragma once

#include <dnnl.hpp>

#include "kernels/ops.h"

namespace heddle::onednn {

inline dnnl::memory::data_type data_type(DType dtype) {
  return dtype == DType::bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

// dst = src weights + bias, then attr's post-ops. A zero bias descriptor means none. Throws dnnl::error
// (dnnl_unimplemented) where this processor has no such product.
inline dnnl::matmul::primitive_desc describe_matmul(const dnnl::engine& engine, const dnnl::memory::desc& src,
                                                    const dnnl::memory::desc& weights,
                                                    const dnnl::memory::desc& bias,
                                                    const dnnl::memory::desc& dst,
                                                    const dnnl::primitive_attr& attr) {
  const bool has_bias = bias != dnnl::memory::desc();
#if DNNL_VERSION_MAJOR >= 3
  return has_bias ? dnnl::matmul::primitive_desc(engine, src, weights, bias, dst, attr)
                  : dnnl::matmul::primitive_desc(engine, src, weights, dst, attr);
#else
  return {has_bias ? dnnl::matmul::desc(src, weights, bias, dst) : dnnl::matmul::desc(src, weights, dst),
          attr, engine};
#endif
}

inline void append_activation(dnnl::post_ops& operations, Activation activation) {
  const auto append = [&](dnnl::algorithm algorithm, float alpha) {
#if DNNL_VERSION_MAJOR >= 3
    operations.append_eltwise(algorithm, alpha, 0.0f);
#else
    operations.append_eltwise(1.0f, algorithm, alpha, 0.0f);
#endif
  };
  switch (activation) {
    case Activation::none:
      return;
    case Activation::relu:
      return append(dnnl::algorithm::eltwise_relu, 0);
    case Activation::gelu_tanh:
      return append(dnnl::algorithm::eltwise_gelu_tanh, 0);
    case Activation::gelu_erf:
      return append(dnnl::algorithm::eltwise_gelu_erf, 0);
    case Activation::silu:
      return append(dnnl::algorithm::eltwise_swish, 1);
  }
}

}  // namespace heddle::onednn
