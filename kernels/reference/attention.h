// Reference of the family "attention" (kernels/ops.h): the whole Tq x Tk matrix of probabilities, one row at
// a time.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/ops.h"
#include "kernels/reference/array.h"

namespace heddle::reference {

template <typename Real>
struct AttentionInput {
  Array<Real> q;     // [B, Tq, H, D]
  Array<Real> k, v;  // [B, Tk, Hkv, D]
  Real scale = 1;
  bool causal = false;                    // query i sees keys j <= i + Tk - Tq
  std::vector<std::int32_t> key_lengths;  // [B]; empty: every batch entry has Tk keys
  Dropout dropout;                        // its step points to host memory
  std::int32_t first_head = 0;
};

template <typename Real>
struct AttentionOutput {
  Array<Real> o;            // [B, Tq, H, D]
  Array<Real> log_sum_exp;  // [B, H, Tq], -infinity where a query sees no key
};

template <typename Real>
struct AttentionInputGradients {
  Array<Real> dq, dk, dv;  // the shapes of q, k, v
};

template <typename Real>
AttentionOutput<Real> attention_forward(const AttentionInput<Real>& input);

template <typename Real>
AttentionInputGradients<Real> attention_backward(const AttentionInput<Real>& input, const Array<Real>& d_o);

}  // namespace heddle::reference
