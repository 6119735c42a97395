// AttentionObserver: sees what every attention layer computes, for looking into a model (trainer/tasks).
#pragma once

#include <cstdint>
#include <string>

#include "kernels/ops.h"

namespace heddle {

struct Context;

class AttentionObserver {
 public:
  virtual ~AttentionObserver() = default;

  // After the forward of the layer `layer` ("decoder.layers.2.encoder_attn"): `a` with its log_sum_exp, of this rank's
  // heads out of `heads`. The memory is the layer's own and is used again when the call returns.
  virtual void observe(Context& context, const std::string& layer, std::int64_t heads, const Attention& a) = 0;
};

}  // namespace heddle
