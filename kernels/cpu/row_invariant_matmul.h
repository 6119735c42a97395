// Matrix product whose rows do not know of each other: the bits of row i of c depend on row i of op(a) and on
// b alone, not on how many rows there are nor on the number of threads. Generation needs it: a token must
// come out the same whether it is computed alone (with a cache) or within its sequence.
#pragma once

#include "kernels/cpu/scratch.h"
#include "kernels/ops.h"

namespace heddle::cpu {

// Everything that Matmul describes except pre_activation; K may be 0.
void row_invariant_matmul(int threads, const Matmul& m, Scratch& scratch);

}  // namespace heddle::cpu
