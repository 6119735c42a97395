#include "trainer/training/trained_model.h"

#include "kernels/error.h"
#include "trainer/training/loop.h"

namespace heddle {

CheckpointOptionsFile options_of_checkpoint(const std::string& path) {
  const Checkpoint checkpoint =
      Checkpoint::open(path, [](const std::string& line) { fmt::print(stderr, "heddle: {}\n", line); });
  return {checkpoint.path(), parse_config(checkpoint.config(), (checkpoint.path() / "config.cfg").string())};
}

std::filesystem::path tokenizer_path_of_checkpoint(const std::filesystem::path& checkpoint) {
  std::error_code ignored;
  std::filesystem::path folder = std::filesystem::absolute(checkpoint).lexically_normal();
  for (int up = 0; up < 3; ++up, folder = folder.parent_path()) {
    std::filesystem::path file = folder / "tokenizer.json";
    if (std::filesystem::exists(file, ignored)) return file;
  }
  throw error("{}: no tokenizer.json in the checkpoint's folder or in the run's folder above it", checkpoint.string());
}

std::unique_ptr<Tokenizer> tokenizer_of_checkpoint(const std::filesystem::path& checkpoint) {
  return load_tokenizer(tokenizer_path_of_checkpoint(checkpoint).string());
}

TrainedModel::TrainedModel(const ModelOptions& options, DType act, Device& device, Mesh& mesh,
                           const std::filesystem::path& checkpoint)
    : parameters(mesh.layout().tensor_parallel, mesh.tensor_rank()) {
  model = make_model(options, 0, parameters);
  parameters.allocate(device, act, ParameterTable::Purpose::inference);
  load_weights(checkpoint, parameters, device, mesh);
}

}  // namespace heddle
