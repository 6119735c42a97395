// What every layer's forward and backward gets: where to compute, what to keep, and who else computes.
#pragma once

#include "kernels/device.h"
#include "kernels/ops.h"
#include "kernels/philox.h"
#include "kernels/trace.h"
#include "parallel/gradient_reducer.h"
#include "parallel/mesh.h"
#include "parallel/tape.h"

namespace heddle {

class AttentionObserver;  // parallel/attention_observer.h

struct Context {
  Device& device;
  Ops& ops;
  Mesh& mesh;
  Tape& tape;
  DType act = DType::f32;
  GradientReducer* reducer = nullptr;  // null where there is no backward
  bool training = false;               // dropout is on, and layers push what their backward needs
  bool recompute_blocks = false;       // keep only each block's input and run its forward again in the backward
  bool row_invariant = false;          // a row's bits do not depend on the other rows (generation with a cache)
  float label_smoothing = 0;           // of the loss
  AttentionObserver* attention_observer = nullptr;
  const std::uint32_t* step = nullptr;  // device: the training step, for dropout
  std::uint32_t first_sample = 0;      // number within the global batch of this micro-batch's first sample

  Stream& stream() { return device.compute_stream(); }
  Communicator& tensor_group() { return mesh.tensor(); }
  // x = sum over the tensor group; nothing to do for one rank.
  void sum_over_tensor_group(const Tensor& x, const char* label) {
    if (tensor_ranks() == 1) return;
    const TraceSpan span(device, kCommunicationFamily, label);
    tensor_group().all_reduce(x, Reduction::sum, stream(), label);
  }
  // all [ranks, ...] = the ranks' `own`, which is this rank's slice of it.
  void gather_over_tensor_group(const Tensor& own, const Tensor& all, const char* label) {
    if (tensor_ranks() == 1) return;
    const TraceSpan span(device, kCommunicationFamily, label);
    tensor_group().all_gather(own, all, stream(), label);
  }
  int tensor_ranks() { return mesh.layout().tensor_parallel; }

  // The gradient of this parameter is complete for this micro-batch.
  void gradient_ready(const Parameter& parameter) {
    if (reducer) reducer->ready(parameter);
  }
  Dropout dropout(float probability, std::uint64_t key) const {
    return {training ? probability : 0.0f, key, step, first_sample};
  }
};

}  // namespace heddle
