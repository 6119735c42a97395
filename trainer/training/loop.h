// The training loop: steps, validation, checkpoints, metrics, early stop and orderly ends, over an Engine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>

#include "parallel/mpi_session.h"
#include "trainer/config/options.h"
#include "trainer/metrics/run_folder.h"
#include "trainer/training/engine.h"

namespace heddle {

// What a checkpoint keeps beside the tensors; everything else follows from the step.
struct TrainingState {
  std::int64_t step = 0;                   // updates made
  double best_validation_loss = std::numeric_limits<double>::infinity();
  std::int64_t evaluations_without_improvement = 0;
  double seconds = 0;                      // of training, all sessions together
};

struct TrainingEnd {
  TrainingState state;
  double last_loss = 0;             // NaN if no step was taken
  double last_validation_loss = 0;  // NaN if there was none
  bool preempted = false;           // a signal ended it after saving
  std::string reason;               // "600 steps done", "no improvement in 5 evaluations", "signal"
};

struct TrainingRun {
  const Options& options;
  Engine& engine;
  TrainingData& data;
  const RunFolder& folder;
  Device& device;
  Mesh& mesh;
  MpiSession& session;
  double peak_flops = 0;  // of all ranks together, for MFU; 0: unknown
};

// Continues from `state` (a new one for a new run) to the end. Collective.
TrainingEnd train(const TrainingRun& run, TrainingState state);

// Loads parameters, moments and state from the newest good checkpoint of the run's folder or of `path`. Collective.
TrainingState load_training_state(const std::filesystem::path& path, Engine& engine, Device& device, Mesh& mesh);

// Weights only, from a checkpoint of any layout.
void load_weights(const std::filesystem::path& path, ParameterTable& parameters, Device& device, Mesh& mesh);

// Mean loss per token over the held-back samples (at most `batches` global batches of them, evenly spread; 0: all).
// Collective.
double validation_loss(Engine& engine, TrainingData& data, Mesh& mesh, std::int64_t batches);

}  // namespace heddle
