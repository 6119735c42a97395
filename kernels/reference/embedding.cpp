#include "kernels/reference/embedding.h"

namespace heddle::reference {

template <typename Real>
Array<Real> embedding_forward(const std::vector<std::int32_t>& ids, const Array<Real>& table,
                              std::int64_t first_row) {
  const std::int64_t N = static_cast<std::int64_t>(ids.size()), C = table.size(1);
  Array<Real> out({N, C});
  for (std::int64_t n = 0; n < N; ++n) {
    const std::int64_t row = ids[n] - first_row;
    if (row < 0 || row >= table.size(0)) continue;
    for (std::int64_t c = 0; c < C; ++c) out(n, c) = table(row, c);
  }
  return out;
}

template <typename Real>
Array<Real> embedding_backward(const std::vector<std::int32_t>& ids, const Array<Real>& dout,
                               std::int64_t first_row, std::int64_t table_rows) {
  Array<Real> dtable({table_rows, dout.size(1)});
  for (std::int64_t n = 0; n < dout.size(0); ++n) {
    const std::int64_t row = ids[n] - first_row;
    if (row < 0 || row >= table_rows) continue;
    for (std::int64_t c = 0; c < dout.size(1); ++c) dtable(row, c) += dout(n, c);
  }
  return dtable;
}

#define INSTANTIATE(Real)                                                                       \
  template Array<Real> embedding_forward(const std::vector<std::int32_t>&, const Array<Real>&,  \
                                         std::int64_t);                                         \
  template Array<Real> embedding_backward(const std::vector<std::int32_t>&, const Array<Real>&, \
                                          std::int64_t, std::int64_t);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace heddle::reference
