// Reference of the family "embedding" (kernels/ops.h).
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/reference/array.h"

namespace heddle::reference {

// table [R, C] holds the global rows [first_row, first_row + R) -> [N, C], 0 for ids outside.
template <typename Real>
Array<Real> embedding_forward(const std::vector<std::int32_t>& ids, const Array<Real>& table,
                              std::int64_t first_row);

// dout [N, C] -> what is added to the table's gradient [table_rows, C].
template <typename Real>
Array<Real> embedding_backward(const std::vector<std::int32_t>& ids, const Array<Real>& dout,
                               std::int64_t first_row, std::int64_t table_rows);

}  // namespace heddle::reference
