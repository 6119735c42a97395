// A model as a run left it: options, tokenizer and weights, ready to evaluate or to generate with on any layout.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "kernels/device.h"
#include "parallel/mesh.h"
#include "parallel/parameters.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/config/options.h"
#include "trainer/data/tokenizers/tokenizer.h"
#include "trainer/models/model.h"

namespace heddle {

// The options a checkpoint (or the newest of a run's folder) was trained with. Collective; needs no device.
struct CheckpointOptionsFile {
  std::filesystem::path path;  // of the checkpoint
  Options options;
};
CheckpointOptionsFile options_of_checkpoint(const LoadOptions& load);

// The tokenizer.json that lies beside a checkpoint: in its folder, or up to two above (the run's). Throws Error.
std::filesystem::path tokenizer_path_of_checkpoint(const std::filesystem::path& checkpoint);
std::unique_ptr<Tokenizer> tokenizer_of_checkpoint(const std::filesystem::path& checkpoint);

// A file that lies beside a checkpoint: in its folder, or up to two above (the run's). Empty if there is none.
std::filesystem::path find_beside_checkpoint(const std::filesystem::path& checkpoint, const char* name);

struct PairTokenizerPaths {
  std::filesystem::path source, target;  // target: empty if the sides share one
};
PairTokenizerPaths pair_tokenizer_paths(const std::filesystem::path& checkpoint);

// The tokenizers of a model that was trained on pairs of texts. Throws Error for a checkpoint of another model.
class PairTokenizers {
 public:
  explicit PairTokenizers(const CheckpointOptionsFile& trained);

  const Tokenizer& source() const { return *source_; }
  const Tokenizer& target() const { return target_ ? *target_ : *source_; }

 private:
  std::unique_ptr<Tokenizer> source_, target_;  // target: null if the sides share one
};

struct TrainedModel {
  TrainedModel(const ModelOptions& options, DType act, Device& device, Mesh& mesh,
               const std::filesystem::path& checkpoint);

  ParameterTable parameters;
  std::unique_ptr<Model> model;
};

}  // namespace heddle
