// From a run-time element type to a compile-time one.
#pragma once

#include "kernels/tensor.h"

namespace heddle::cuda {

// body(T{}) with T = float or bfloat16; checks.h has let nothing else through.
template <typename Body>
void with_act_type(DType dtype, Body body) {
  if (dtype == DType::bf16)
    body(bfloat16{});
  else
    body(float{});
}

}  // namespace heddle::cuda
