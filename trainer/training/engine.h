// Engine: one model on one rank, ready to take training steps: parameters, tape, gradient buckets and optimizer over
// a mesh. It knows nothing of files, periods or people; the training loop (loop.h) does.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/device.h"
#include "parallel/context.h"
#include "parallel/gradient_reducer.h"
#include "parallel/mesh.h"
#include "parallel/parameters.h"
#include "parallel/tape.h"
#include "trainer/models/model.h"
#include "trainer/optim/optimizer.h"
#include "trainer/training/training_data.h"

namespace heddle {

struct EngineSettings {
  ModelOptions model;
  DType act = DType::f32;
  std::uint64_t seed = 0;
  bool recompute_blocks = false;
  float label_smoothing = 0;  // in training alone
  // Memory is made for these and all smaller ones (TrainingData::largest_shapes).
  std::vector<BatchShape> shapes;
  OptimizerSettings optimizer;
  GradientReducer::Settings reducer;
  bool graph = true;  // where the device has graphs: record the step once and replay it
};

// Bytes of what a step of any of these shapes reads and leaves beside the activations.
struct StepMemory {
  std::size_t input = 0, losses = 0;
};
StepMemory step_memory(const std::vector<BatchShape>& shapes);

class Engine {
 public:
  // Allocates everything a step needs. Parameters are initialised from the seed.
  Engine(const EngineSettings& settings, Device& device, Mesh& mesh);

  struct StepResult {
    double loss = 0;           // mean over the valid tokens of the global batch, before the update
    double gradient_norm = 0;  // before clipping
  };
  // Queues update number `step` (from 0), and returns: the host waits only for the step before the last. A step whose
  // loss or norm is not finite changes no parameter, and no later one does; it is thrown as an Error, on all ranks
  // alike, by a later call of step() or finish() (on a device that does not run beside the host by this one).
  void step(std::int64_t step, const HostBatch& batch, double learning_rate);
  // Of the last step; waits for it.
  StepResult result();
  // Whether later steps are recorded and replayed, as settings.graph says in the beginning.
  void use_graph(bool use);
  // Waits for all steps; throws if one of them was not finite.
  void finish();

  // Sum of the losses of this rank's tokens; no dropout, no smoothing. Any number of samples, micro_batch at a time.
  double evaluate(const HostBatch& batch);

  ParameterTable& parameters() { return parameters_; }
  Model& model() { return *model_; }
  std::size_t activation_bytes() const { return tape_.capacity(); }

 private:
  Context context(bool training);
  void queue_step(const BatchShape& shape, std::int64_t first_sample);
  void run_step(const BatchShape& shape, std::int64_t first_sample);
  struct InFlight;
  StepResult result_of(const InFlight& step) const;
  void settle(InFlight& step);

  // What a step reads beside the parameters, in host memory that is filled again when the step is done, and what it
  // leaves there. Two of them: the host prepares a step while the device runs the one before.
  struct InFlight {
    Memory input, output;
    std::unique_ptr<Event> done;
    std::int64_t step = -1;  // -1: none, or its result has been seen to be good
    std::int64_t valid_tokens = 0;
  };

  EngineSettings settings_;
  Device& device_;
  Mesh& mesh_;
  ParameterTable parameters_;
  std::unique_ptr<Model> model_;
  Tape tape_;
  std::unique_ptr<GradientReducer> reducer_;
  std::unique_ptr<Optimizer> optimizer_;
  Memory input_;   // of a whole step (StepLayout in engine.cpp)
  Memory losses_;  // of one micro-batch
  std::array<InFlight, 2> in_flight_;
  InFlight* last_ = nullptr;

  // Steps of one shape are recorded once; those of the shapes used last are kept.
  struct Recording {
    std::unique_ptr<Graph> graph;  // null: a step has run without being recorded
    std::int64_t last_use = 0;
  };
  std::map<std::pair<BatchShape, std::int64_t>, Recording> recordings_;  // by shape and first sample
  std::int64_t uses_ = 0;
};

}  // namespace heddle
