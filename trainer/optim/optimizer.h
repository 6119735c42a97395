// AdamW over the parameter table, with clipping by the norm of the whole model's gradient.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/ops.h"
#include "parallel/mesh.h"
#include "parallel/parameters.h"

namespace heddle {

struct OptimizerSettings {
  float beta1 = 0.9f, beta2 = 0.95f, epsilon = 1e-8f, weight_decay = 0.1f;
  float clip_norm = 1.0f;  // 0: no clipping
  bool stochastic_rounding = false;  // of the bf16 values
};

class Optimizer {
 public:
  Optimizer(ParameterTable& parameters, Mesh& mesh, Device& device, OptimizerSettings settings);

  // What update number `update` (from 1) needs in device memory; update() adds the clipping to it.
  AdamWStep scalars(std::int64_t update, double learning_rate) const;

  // Queues p, m and v after an update by the reduced gradients. In device memory: `squared_norm` (0 before) receives
  // the square of the norm of the whole model's gradient; `loss` is the step's, the same on all ranks. A loss or norm
  // that is not finite ends all updates: this one and those that follow change nothing.
  void update(AdamWStep* step, const double* loss, double* squared_norm);

 private:
  void measure_norm(double* squared_norm);

  ParameterTable& parameters_;
  Mesh& mesh_;
  Device& device_;
  OptimizerSettings settings_;
  Memory span_memory_, stopped_;
  Spans decayed_;  // matrices, not biases and norms
  Spans counted_;  // what this rank adds to the norm
};

}  // namespace heddle
