// The family "embedding".
#include <cstring>

#include "kernels/checks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector.h"

namespace heddle {

using namespace cpu;

void CpuOps::embedding_forward(const Tensor& ids, const Tensor& table, std::int64_t first_row,
                               bool accumulate, const Tensor& out) {
  checks::embedding_forward(ids, table, out);
  const std::int64_t width = out.size(1), table_rows = table.size(0);
  with_act_type(out.dtype, [&](auto type) {
    using T = decltype(type);
    parallel_rows(threads_, ids.size(0), width, [&](std::int64_t n) {
      const std::int64_t row = ids.as<std::int32_t>()[n] - first_row;
      const bool here = row >= 0 && row < table_rows;
      T* to = out.as<T>() + n * width;
      if (!here) {
        if (!accumulate) std::memset(static_cast<void*>(to), 0, width * sizeof(T));
        return;
      }
      const T* from = table.as<T>() + row * width;
      if (!accumulate) {
        std::memcpy(to, from, width * sizeof(T));
        return;
      }
      for_each_vector(0, width, [&](std::int64_t i, auto extent) {
        store(to + i, load(to + i, extent) + load(from + i, extent), extent);
      });
    });
  });
}

// Threads share out columns, not tokens: every table entry is summed by one thread, in the order of the
// tokens.
void CpuOps::embedding_backward(const Tensor& ids, const Tensor& dout, std::int64_t first_row,
                                const Tensor& dtable) {
  checks::embedding_backward(ids, dout, dtable);
  const std::int64_t tokens = ids.size(0), width = dout.size(1), table_rows = dtable.size(0);
  with_act_type(dout.dtype, [&](auto type) {
    using T = decltype(type);
    constexpr std::int64_t kCacheLine = 64 / sizeof(float);
    parallel_parts(threads_, width, tokens, kCacheLine, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = 0; n < tokens; ++n) {
        const std::int64_t row = ids.as<std::int32_t>()[n] - first_row;
        if (row < 0 || row >= table_rows) continue;
        const T* from = dout.as<T>() + n * width;
        float* to = dtable.as<float>() + row * width;
        for_each_vector(begin, end, [&](std::int64_t i, auto extent) {
          store(to + i, load(to + i, extent) + load(from + i, extent), extent);
        });
      }
    });
  });
}

}  // namespace heddle
