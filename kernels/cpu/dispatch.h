// From a run-time element type or small number to a compile-time one.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/tensor.h"

namespace heddle::cpu {

// body(T{}) with T = float or bfloat16; checks.h has let nothing else through.
template <typename Body>
void with_act_type(DType dtype, Body body) {
  if (dtype == DType::bf16)
    body(bfloat16{});
  else
    body(float{});
}

// body(std::integral_constant<int, n>{}) with n = min(count, Max); count is at least 1.
template <int Max, typename Body>
void with_count(std::int64_t count, Body body) {
  if constexpr (Max > 1)
    if (count < Max) return with_count<Max - 1>(count, body);
  body(std::integral_constant<int, Max>{});
}

}  // namespace heddle::cpu
