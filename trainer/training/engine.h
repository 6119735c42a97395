// Engine: one model on one rank, ready to take training steps: parameters, tape, gradient buckets and optimizer over
// a mesh. It knows nothing of files, periods or people; the training loop (loop.h) does.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/device.h"
#include "parallel/context.h"
#include "parallel/gradient_reducer.h"
#include "parallel/mesh.h"
#include "parallel/parameters.h"
#include "parallel/tape.h"
#include "trainer/models/model.h"
#include "trainer/optim/optimizer.h"

namespace heddle {

struct EngineSettings {
  ModelOptions model;
  DType act = DType::f32;
  std::uint64_t seed = 0;
  bool recompute_blocks = false;
  std::int64_t micro_batch = 1;  // samples per pass on this rank
  std::int64_t length = 1;       // tokens per sample
  OptimizerSettings optimizer;
  GradientReducer::Settings reducer;
};

// This rank's slice of a global batch, in host memory: samples [first_sample, first_sample + samples) of it.
struct HostBatch {
  const std::int32_t* inputs = nullptr;   // [samples, length]
  const std::int32_t* targets = nullptr;  // [samples, length]; negative: not counted
  std::int64_t samples = 0;
  std::int64_t first_sample = 0;
  std::int64_t valid_tokens = 0;  // targets that count, of the whole global batch
};

class Engine {
 public:
  // Allocates everything a step needs. Parameters are initialised from the seed.
  Engine(const EngineSettings& settings, Device& device, Mesh& mesh);

  struct StepResult {
    double loss = 0;           // mean over the valid tokens of the global batch, before the update
    double gradient_norm = 0;  // before clipping
  };
  // Update number `step` (from 0). Throws Error before anything is changed if loss or norm is not finite. The number
  // of samples is a multiple of the micro-batch.
  StepResult step(std::int64_t step, const HostBatch& batch, double learning_rate);

  // Sum of the losses of this rank's tokens; no dropout. Any number of samples.
  double evaluate(const HostBatch& batch);

  ParameterTable& parameters() { return parameters_; }
  Model& model() { return *model_; }
  std::size_t activation_bytes() const { return tape_.capacity(); }

 private:
  Context context(bool training);
  Batch upload(const HostBatch& batch, std::int64_t first, std::int64_t samples);
  double take_loss();

  EngineSettings settings_;
  Device& device_;
  Mesh& mesh_;
  ParameterTable parameters_;
  std::unique_ptr<Model> model_;
  Tape tape_;
  std::unique_ptr<GradientReducer> reducer_;
  std::unique_ptr<Optimizer> optimizer_;
  Memory ids_, positions_, targets_;  // of one micro-batch
  Memory losses_, scalars_, host_scalars_;
};

}  // namespace heddle
