// What a training run keeps in a checkpoint and how it comes back.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "parallel/agreement.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/training/loop.h"
#include "trainer/training/state.h"

namespace heddle {

namespace {

CheckpointTensor entry(const ParameterTable& table, const Parameter& p, const std::string& prefix, const Tensor& local,
                       bool writer) {
  CheckpointTensor tensor;
  tensor.name = prefix + p.spec.name;
  tensor.global_shape = p.spec.shape;
  tensor.local = local;
  tensor.pieces = shard_pieces(p.spec.shape, p.spec.sharding, table.rank(), table.ranks());
  tensor.writer = writer;
  return tensor;
}

void warn_on_stderr(const std::string& line) { fmt::print(stderr, "heddle: {}\n", line); }

}  // namespace

std::vector<CheckpointTensor> weight_tensors(ParameterTable& table) {
  std::vector<CheckpointTensor> tensors;
  for (const Parameter& p : table.parameters())
    tensors.push_back(entry(table, p, "", p.master, false));
  return tensors;
}

std::vector<CheckpointTensor> training_tensors(ParameterTable& table, const Mesh& mesh) {
  std::vector<CheckpointTensor> tensors;
  int turn = 0;
  for (const Parameter& p : table.parameters()) {
    // Replicas share the writing: the data ranks in turn; of whole tensors, only tensor rank 0's copy.
    const bool writer = turn++ % mesh.layout().data_parallel == mesh.data_rank() &&
                        (!p.spec.sharding.replicated() || mesh.tensor_rank() == 0);
    tensors.push_back(entry(table, p, "", p.master, writer));
    tensors.push_back(entry(table, p, "optimizer.exp_avg.", p.moment1, writer));
    tensors.push_back(entry(table, p, "optimizer.exp_avg_sq.", p.moment2, writer));
  }
  return tensors;
}

nlohmann::json to_json(const TrainingState& state) {
  nlohmann::json json{{"step", state.step},
                      {"evaluations_without_improvement", state.evaluations_without_improvement},
                      {"seconds", state.seconds}};
  if (std::isfinite(state.best_validation_loss)) json["best_validation_loss"] = state.best_validation_loss;
  return json;
}

TrainingState load_training_state(const std::filesystem::path& path, Engine& engine, Device& device, Mesh& mesh) {
  const Checkpoint checkpoint = Checkpoint::open_verified(path, mesh.world(), warn_on_stderr);
  TrainingState state;
  agree(mesh.world(), "loading a checkpoint", [&] {
    checkpoint.load(training_tensors(engine.parameters(), mesh), device);
    const nlohmann::json& json = checkpoint.state();
    try {
      state.step = json.at("step").get<std::int64_t>();
      state.evaluations_without_improvement = json.at("evaluations_without_improvement").get<std::int64_t>();
      state.seconds = json.at("seconds").get<double>();
      if (json.contains("best_validation_loss")) state.best_validation_loss = json["best_validation_loss"].get<double>();
    } catch (const nlohmann::json::exception&) {
      throw error("{}: its state is not that of a training run", checkpoint.path().string());
    }
    engine.parameters().refresh_values(device, state.step);
  });
  return state;
}

namespace {

// Weights on disk are f32. A model that holds no f32 (inference in bf16) gets them one by one through memory that does.
void load_rounded(const Checkpoint& checkpoint, ParameterTable& parameters, Device& device) {
  std::int64_t largest = 0;
  for (const Parameter& p : parameters.parameters()) largest = std::max(largest, p.count());
  const Memory memory = device.allocate(static_cast<std::size_t>(largest) * sizeof(float));
  for (const Parameter& p : parameters.parameters()) {
    const Tensor loaded(memory.data(), DType::f32, p.local);
    checkpoint.load({entry(parameters, p, "", loaded, false)}, device);
    device.ops().copy(loaded, p.value);
    device.compute_stream().synchronize();
  }
  device.ops().parameters_changed();
}

}  // namespace

void load_weights(const std::filesystem::path& path, ParameterTable& parameters, Device& device, Mesh& mesh) {
  const Checkpoint checkpoint = Checkpoint::open_verified(path, mesh.world(), warn_on_stderr);
  agree(mesh.world(), "loading weights", [&] {
    if (!parameters.flat_masters()) return load_rounded(checkpoint, parameters, device);
    checkpoint.load(weight_tensors(parameters), device);
    parameters.refresh_values(device, 0);
  });
}

}  // namespace heddle
