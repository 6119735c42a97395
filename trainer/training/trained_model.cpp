#include "trainer/training/trained_model.h"

#include "kernels/error.h"
#include "trainer/checkpoint/folder.h"
#include "trainer/data/dataset_manifest.h"
#include "trainer/training/loop.h"

namespace heddle {

std::filesystem::path find_beside_checkpoint(const std::filesystem::path& checkpoint, const char* name) {
  std::error_code ignored;
  std::filesystem::path folder = std::filesystem::absolute(checkpoint).lexically_normal();
  for (int up = 0; up < 3; ++up, folder = folder.parent_path())
    if (std::filesystem::exists(folder / name, ignored)) return folder / name;
  return {};
}

namespace {

std::filesystem::path best_of_run(const std::filesystem::path& run) {
  std::error_code ignored;
  const std::filesystem::path inner = run / "checkpoints";
  const std::filesystem::path folder = std::filesystem::is_directory(inner, ignored) ? inner : run;
  const std::optional<CheckpointPath> best = best_checkpoint(folder);
  if (!best)
    throw error(
        "{} has no best checkpoint: it is marked by validation during training with keep_best = true; leave out "
        "--best for the newest",
        run.string());
  return best->path;
}

}  // namespace

CheckpointOptionsFile options_of_checkpoint(const LoadOptions& load) {
  const std::filesystem::path path = load.best ? best_of_run(load.checkpoint) : std::filesystem::path(load.checkpoint);
  const Checkpoint checkpoint =
      Checkpoint::open(path, [](const std::string& line) { fmt::print(stderr, "heddle: {}\n", line); });
  return {checkpoint.path(), parse_config(checkpoint.config(), (checkpoint.path() / "config.cfg").string())};
}

std::filesystem::path tokenizer_path_of_checkpoint(const std::filesystem::path& checkpoint) {
  const std::filesystem::path file = find_beside_checkpoint(checkpoint, kDatasetTokenizerName);
  if (file.empty())
    throw error("{}: no tokenizer.json in the checkpoint's folder or in the run's folder above it",
                checkpoint.string());
  return file;
}

std::unique_ptr<Tokenizer> tokenizer_of_checkpoint(const std::filesystem::path& checkpoint) {
  return load_tokenizer(tokenizer_path_of_checkpoint(checkpoint).string());
}

PairTokenizerPaths pair_tokenizer_paths(const std::filesystem::path& checkpoint) {
  PairTokenizerPaths paths{find_beside_checkpoint(checkpoint, kDatasetSourceTokenizerName),
                           find_beside_checkpoint(checkpoint, kDatasetTargetTokenizerName)};
  if (paths.source.empty() || paths.target.empty()) paths = {tokenizer_path_of_checkpoint(checkpoint), {}};
  return paths;
}

PairTokenizers::PairTokenizers(const CheckpointOptionsFile& trained) {
  if (model_input(trained.options.model) != ModelInput::pairs)
    throw error("{} is a model of family {}, which continues a text and reads no source: use heddle generate",
                trained.path.string(), trained.options.model.family);
  const PairTokenizerPaths paths = pair_tokenizer_paths(trained.path);
  source_ = load_tokenizer(paths.source.string());
  if (!paths.target.empty()) target_ = load_tokenizer(paths.target.string());
  const ModelOptions& model = trained.options.model;
  const auto check = [&](const Tokenizer& tokenizer, const char* side, std::int64_t rows) {
    if (tokenizer.vocabulary_size() > rows)
      throw error("{}: its {} tokenizer has {} ids, but the model's vocabulary only {}: they do not belong together",
                  trained.path.string(), side, tokenizer.vocabulary_size(), rows);
    if (!tokenizer.end_of_text())
      throw error("{}: its {} tokenizer has no end-of-text token", trained.path.string(), side);
  };
  check(this->source(), "source", model.source_vocabulary_size);
  check(this->target(), "target", model.vocabulary_size);
}

TrainedModel::TrainedModel(const ModelOptions& options, DType act, Device& device, Mesh& mesh,
                           const std::filesystem::path& checkpoint)
    : parameters(mesh.layout().tensor_parallel, mesh.tensor_rank()) {
  model = make_model(options, 0, parameters);
  parameters.allocate(device, act, ParameterTable::Purpose::inference);
  load_weights(checkpoint, parameters, device, mesh);
}

}  // namespace heddle
