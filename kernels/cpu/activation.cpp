// The family "activation": one pass over memory each.
#include "kernels/checks.h"
#include "kernels/cpu/activation_math.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/parallel.h"

namespace heddle {

using namespace cpu;

namespace {

// body(T{}, Function{}) for the element type and the activation.
template <typename Body>
void with_type_and_activation(DType dtype, Activation kind, Body body) {
  with_act_type(dtype,
                [&](auto type) { with_activation(kind, [&](auto function) { body(type, function); }); });
}

}  // namespace

void CpuOps::activation_forward(Activation kind, const Tensor& x, const Tensor& y) {
  checks::activation_forward(kind, x, y);
  with_type_and_activation(x.dtype, kind, [&](auto type, auto function) {
    using T = decltype(type);
    const T* from = x.as<T>();
    T* to = y.as<T>();
    parallel_parts(threads_, x.count(), 1, kFlatGrain, [&](std::int64_t begin, std::int64_t end) {
      for_each_vector(begin, end, [&](std::int64_t i, auto extent) {
        store(to + i, function.at(load(from + i, extent)).value, extent);
      });
    });
  });
}

void CpuOps::activation_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) {
  checks::activation_backward(kind, x, dy, dx);
  with_type_and_activation(x.dtype, kind, [&](auto type, auto function) {
    using T = decltype(type);
    const T *input = x.as<T>(), *from = dy.as<T>();
    T* to = dx.as<T>();
    parallel_parts(threads_, x.count(), 1, kFlatGrain, [&](std::int64_t begin, std::int64_t end) {
      for_each_vector(begin, end, [&](std::int64_t i, auto extent) {
        store(to + i, load(from + i, extent) * function.at(load(input + i, extent)).slope, extent);
      });
    });
  });
}

void CpuOps::gated_forward(Activation kind, const Tensor& x, const Tensor& y) {
  checks::gated_forward(kind, x, y);
  const std::int64_t width = y.size(1);
  with_type_and_activation(x.dtype, kind, [&](auto type, auto function) {
    using T = decltype(type);
    parallel_rows(threads_, y.size(0), width, [&](std::int64_t row) {
      const T *gate = x.as<T>() + row * 2 * width, *up = gate + width;
      T* to = y.as<T>() + row * width;
      for_each_vector(0, width, [&](std::int64_t i, auto extent) {
        store(to + i, function.at(load(gate + i, extent)).value * load(up + i, extent), extent);
      });
    });
  });
}

void CpuOps::gated_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) {
  checks::gated_backward(kind, x, dy, dx);
  const std::int64_t width = dy.size(1);
  with_type_and_activation(x.dtype, kind, [&](auto type, auto function) {
    using T = decltype(type);
    parallel_rows(threads_, dy.size(0), 2 * width, [&](std::int64_t row) {
      const T *gate = x.as<T>() + row * 2 * width, *up = gate + width;
      const T* from = dy.as<T>() + row * width;
      T *d_gate = dx.as<T>() + row * 2 * width, *d_up = d_gate + width;
      for_each_vector(0, width, [&](std::int64_t i, auto extent) {
        const ValueAndSlope a = function.at(load(gate + i, extent));
        const FloatVector d = load(from + i, extent), u = load(up + i, extent);
        store(d_gate + i, d * u * a.slope, extent);
        store(d_up + i, d * a.value, extent);
      });
    });
  });
}

}  // namespace heddle
