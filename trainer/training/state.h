// The tensors and the state of a training run as a checkpoint holds them: parameters under their own names,
// AdamW's moments under optimizer.exp_avg.<name> and optimizer.exp_avg_sq.<name> (PyTorch's names), all f32.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "parallel/mesh.h"
#include "parallel/parameters.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/training/loop.h"

namespace heddle {

std::vector<CheckpointTensor> weight_tensors(ParameterTable& table);
std::vector<CheckpointTensor> training_tensors(ParameterTable& table, const Mesh& mesh);
nlohmann::json to_json(const TrainingState& state);

}  // namespace heddle
