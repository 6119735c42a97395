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
};

class Optimizer {
 public:
  Optimizer(ParameterTable& parameters, Mesh& mesh, Device& device, OptimizerSettings settings);

  // Queues the norm of the reduced gradients: sharded parameters over the tensor group, replicated ones once.
  void measure_norm();
  // The norm measure_norm() found; waits for it.
  double norm();
  // p, m and v after the update numbered `update` (from 1), clipped by the measured norm.
  void update(std::int64_t update, double learning_rate);

 private:
  ParameterTable& parameters_;
  Mesh& mesh_;
  Device& device_;
  OptimizerSettings settings_;
  Memory step_memory_, sum_memory_, host_memory_;
};

}  // namespace heddle
