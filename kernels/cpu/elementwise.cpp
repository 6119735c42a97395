// The family "elementwise".
#include <cstring>

#include "kernels/checks.h"
#include "kernels/copy_plan.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector.h"

namespace heddle {

using namespace cpu;

namespace {

template <typename From, typename To>
void copy_elements(const From* from, To* to, std::int64_t count) {
  if constexpr (std::is_same_v<From, To>) {
    std::memcpy(to, from, count * sizeof(From));
  } else {
    for_each_vector(0, count,
                    [&](std::int64_t i, auto extent) { store(to + i, load(from + i, extent), extent); });
  }
}

template <typename From, typename To>
void copy_strided(int threads, const Tensor& from, const Tensor& to) {
  const CopyPlan plan(from, to);
  const From* source = static_cast<const From*>(from.data);
  To* destination = static_cast<To*>(to.data);
  const std::int64_t rows = plan.outer.count();
  if (rows == 1) {
    parallel_parts(threads, plan.width, 1, kFlatGrain, [&](std::int64_t begin, std::int64_t end) {
      copy_elements(source + begin, destination + begin, end - begin);
    });
    return;
  }
  parallel_rows(threads, rows, plan.width, [&](std::int64_t row) {
    copy_elements(source + plan.offset(row, plan.from_stride), destination + plan.offset(row, plan.to_stride),
                  plan.width);
  });
}

}  // namespace

void CpuOps::fill(const Tensor& x, float value) {
  checks::fill(x);
  with_act_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    T* to = x.as<T>();
    parallel_parts(threads_, x.count(), 1, kFlatGrain, [&](std::int64_t begin, std::int64_t end) {
      for_each_vector(begin, end,
                      [&](std::int64_t i, auto extent) { store(to + i, broadcast(value), extent); });
    });
  });
}

void CpuOps::copy(const Tensor& from, const Tensor& to) {
  checks::copy(from, to);
  if (from.count() == 0) return;
  if (from.dtype == to.dtype) {  // moved as bits, NaN payloads included
    switch (size_of(from.dtype)) {
      case 1:
        return copy_strided<std::uint8_t, std::uint8_t>(threads_, from, to);
      case 2:
        return copy_strided<std::uint16_t, std::uint16_t>(threads_, from, to);
      case 4:
        return copy_strided<std::uint32_t, std::uint32_t>(threads_, from, to);
      default:
        return copy_strided<std::uint64_t, std::uint64_t>(threads_, from, to);
    }
  }
  if (from.dtype == DType::f32)
    copy_strided<float, bfloat16>(threads_, from, to);
  else
    copy_strided<bfloat16, float>(threads_, from, to);
}

void CpuOps::add(const Tensor& a, const Tensor& b, const Tensor& out) {
  checks::add(a, b, out);
  with_act_type(a.dtype, [&](auto type) {
    using T = decltype(type);
    const T *left = a.as<T>(), *right = b.as<T>();
    T* to = out.as<T>();
    parallel_parts(threads_, a.count(), 1, kFlatGrain, [&](std::int64_t begin, std::int64_t end) {
      for_each_vector(begin, end, [&](std::int64_t i, auto extent) {
        store(to + i, load(left + i, extent) + load(right + i, extent), extent);
      });
    });
  });
}

void CpuOps::scale(const Tensor& x, float factor, const Tensor& out) {
  checks::scale(x, out);
  with_act_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const T* from = x.as<T>();
    T* to = out.as<T>();
    parallel_parts(threads_, x.count(), 1, kFlatGrain, [&](std::int64_t begin, std::int64_t end) {
      for_each_vector(begin, end, [&](std::int64_t i, auto extent) {
        store(to + i, load(from + i, extent) * factor, extent);
      });
    });
  });
}

}  // namespace heddle
