// What a backward adds to a product (kernels/ops.h), for backends that compute it apart from the product.
#pragma once

#include "kernels/ops.h"

namespace heddle {

inline bool has_second_pass(const Matmul& m) {
  return m.activation_backward || m.a_sums || m.b_sums;
}

inline Matmul product_alone(Matmul m) {
  if (m.activation_backward) {
    m.activation_backward = false;
    m.activation = Activation::none;
    m.pre_activation = {};
  }
  m.a_sums = m.b_sums = {};
  return m;
}

// The rest of m, behind product_alone(m).
inline void second_pass(Ops& ops, const Matmul& m) {
  if (m.activation_backward) ops.activation_backward(m.activation, m.pre_activation, m.c, m.c);
  if (m.a_sums) ops.bias_gradient(m.a, m.a_sums);
  if (m.b_sums) ops.bias_gradient(m.b, m.b_sums);
}

}  // namespace heddle
