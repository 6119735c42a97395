#include "parallel/reduce.h"

#include <algorithm>
#include <array>
#include <type_traits>

#include "kernels/error.h"

namespace heddle {

namespace {

struct Sum {
  template <typename T>
  static T apply(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      using U = std::make_unsigned_t<T>;  // wraps instead of being undefined
      return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
    } else {
      return a + b;
    }
  }
};

struct Max {
  template <typename T>
  static T apply(T a, T b) {
    return a > b || a != a ? a : b;
  }
};

// Elements are taken in blocks whose partial results stay in the first-level cache, and every source is read
// in long runs.
constexpr std::int64_t kBlock = 1024;

template <typename T, typename Accumulator, typename Operation>
void reduce_blocks(const void* const* sources, int ranks, std::int64_t n, void* out) {
  std::array<Accumulator, kBlock> partial;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t length = std::min(kBlock, n - begin);
    const T* first = static_cast<const T*>(sources[0]) + begin;
    for (std::int64_t i = 0; i < length; ++i) partial[i] = static_cast<Accumulator>(first[i]);
    for (int rank = 1; rank < ranks; ++rank) {
      const T* next = static_cast<const T*>(sources[rank]) + begin;
      for (std::int64_t i = 0; i < length; ++i)
        partial[i] = Operation::apply(partial[i], static_cast<Accumulator>(next[i]));
    }
    T* result = static_cast<T*>(out) + begin;
    for (std::int64_t i = 0; i < length; ++i) result[i] = static_cast<T>(partial[i]);
  }
}

template <typename T, typename Accumulator>
void reduce_as(const void* const* sources, int ranks, std::int64_t n, Reduction reduction, void* out) {
  if (reduction == Reduction::sum) {
    reduce_blocks<T, Accumulator, Sum>(sources, ranks, n, out);
  } else {
    reduce_blocks<T, Accumulator, Max>(sources, ranks, n, out);
  }
}

}  // namespace

void reduce_in_rank_order(const void* const* sources, int ranks, std::int64_t n, Element element,
                          Reduction reduction, void* out) {
  switch (element) {
    case Element::f32:
      return reduce_as<float, float>(sources, ranks, n, reduction, out);
    case Element::bf16:
      return reduce_as<bfloat16, float>(sources, ranks, n, reduction, out);
    case Element::i32:
      return reduce_as<std::int32_t, std::int32_t>(sources, ranks, n, reduction, out);
    case Element::f64:
      return reduce_as<double, double>(sources, ranks, n, reduction, out);
    case Element::i64:
      return reduce_as<std::int64_t, std::int64_t>(sources, ranks, n, reduction, out);
    case Element::u8:
      break;
  }
  throw error("u8 values cannot be summed across ranks");
}

}  // namespace heddle
