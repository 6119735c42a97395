// heddle evaluate: loss, perplexity and bits per byte of a trained model on held-back or other text.

#include <fmt/format.h>

#include <cmath>

#include "kernels/error.h"
#include "parallel/agreement.h"
#include "parallel/environment.h"
#include "trainer/commands/command.h"
#include "trainer/commands/with_mpi.h"
#include "trainer/config/check.h"
#include "trainer/data/pair_run_data.h"
#include "trainer/data/pair_training_data.h"
#include "trainer/data/run_data.h"
#include "trainer/format.h"
#include "trainer/tasks/evaluation.h"
#include "trainer/training/loop.h"
#include "trainer/training/settings.h"
#include "trainer/training/trained_model.h"

namespace heddle {

namespace {

bool gives_no_pairs(const DataOptions& data) {
  return data.source.empty() && data.target.empty() && data.pairs.empty();
}

// What is evaluated: the run's own held-back text, or the text that was given, cut by the run's tokenizer.
DataOptions data_to_evaluate(const CommandLine& line, const CheckpointOptionsFile& trained) {
  DataOptions data = trained.options.data;
  if (line.options.data.data.empty()) return data;
  data.data = line.options.data.data;
  data.validation_data.clear();
  data.validation_fraction = 0;
  data.text_field = line.options.data.text_field;
  data.data_folder = line.options.data.data_folder;
  const std::filesystem::path tokenizer = tokenizer_path_of_checkpoint(trained.path);
  data.tokenizer = tokenizer.string();
  return data;
}

int evaluate(const CommandLine& line, const CheckpointOptionsFile& trained, const DataOptions& data_options,
             MpiSession& session) {
  const bool own_text = line.options.data.data.empty();
  Options options = line.options;
  options.model = trained.options.model;
  const Layout layout = layout_for(options, session.size());
  const std::unique_ptr<Device> device = make_device(options, session);
  const std::unique_ptr<Mesh> mesh = session.make_mesh(layout, *device);
  RunData data;
  agree(mesh->world(), "opening the data", [&] {
    data = RunData::open(data_options);
    if (own_text && !data.validation)
      throw error("the run {} held no text back: give --data", line.options.load.checkpoint);
    TokenDataset& dataset = own_text ? *data.validation : *data.train;
    dataset.require_vocabulary(options.model.vocabulary_size);
  });
  const TokenDataset& dataset = own_text ? *data.validation : *data.train;
  const DType act = act_of(trained.options.train.precision);
  TrainedModel loaded(options.model, act, *device, *mesh, trained.path);
  Evaluator evaluator(*loaded.model, *device, *mesh, act);
  const std::vector<std::int32_t> byte_lengths =
      data.tokenizer ? token_byte_lengths(*data.tokenizer) : std::vector<std::int32_t>();
  const EvaluationResult result = evaluator.evaluate(dataset, byte_lengths);
  if (session.rank() != 0) return kExitDone;

  fmt::print("checkpoint      {}\n", trained.path.string());
  fmt::print("text            {}\n", own_text ? "held back by the run" : data_options.data.front());
  fmt::print("tokens          {}\n", with_commas(result.tokens));
  fmt::print("loss            {:.6f} nats per token\n", result.loss());
  fmt::print("perplexity      {:.4f}\n", std::exp(result.loss()));
  if (result.bytes > 0) fmt::print("bits per byte   {:.4f}\n", result.bits_per_byte());
  return kExitDone;
}

// Held-back pairs, or others, by the engine's own forward: nothing is trained, so the optimizer's memory is wasted, and
// a checkpoint of any size that could be trained here can be evaluated.
int evaluate_pairs(const CommandLine& line, const CheckpointOptionsFile& trained, const DataOptions& data_options,
                   MpiSession& session) {
  Options options = trained.options;
  options.parallel = line.options.parallel;
  options.device = line.options.device;
  options.data = data_options;
  const Layout layout = layout_for(options, session.size());
  const std::unique_ptr<Device> device = make_device(options, session);
  const std::unique_ptr<Mesh> mesh = session.make_mesh(layout, *device);
  const bool own_pairs = gives_no_pairs(line.options.data);
  std::optional<PairRunData> data;
  std::optional<PairTrainingData> batches;
  agree(mesh->world(), "opening the data", [&] {
    data.emplace(PairRunData::open(data_options));
    if (own_pairs && !data->validation)
      throw error("the run {} held no pairs back: give --source and --target, or --pairs", line.options.load.checkpoint);
    settle_vocabulary(options.model, *data);
    batches.emplace(data->train, own_pairs ? &*data->validation : &data->train, options, layout, mesh->data_rank());
  });
  EngineSettings settings = engine_settings(options, layout);
  settings.shapes = batches->largest_shapes();
  Engine engine(settings, *device, *mesh);
  load_weights(trained.path, engine.parameters(), *device, *mesh);
  const double loss = validation_loss(engine, *batches, *mesh, 0);
  if (session.rank() != 0) return kExitDone;
  const PairBatches& evaluated = *batches->validation_batches();
  fmt::print("checkpoint      {}\n", trained.path.string());
  fmt::print("pairs           {}{}\n", with_commas(evaluated.pairs()), own_pairs ? ", held back by the run" : "");
  if (evaluated.left_out() > 0)
    fmt::print("left out        {} longer than context_length = {}\n", with_commas(evaluated.left_out()),
               options.model.context_length);
  fmt::print("target tokens   {}\n", with_commas(evaluated.target_tokens()));
  fmt::print("loss            {:.6f} nats per token\n", loss);
  fmt::print("perplexity      {:.4f}\n", std::exp(loss));
  return kExitDone;
}

// Other pairs are cut by the run's tokenizers.
DataOptions pairs_to_evaluate(const CommandLine& line, const CheckpointOptionsFile& trained) {
  DataOptions data = trained.options.data;
  if (gives_no_pairs(line.options.data)) return data;
  const PairTokenizerPaths tokenizers = pair_tokenizer_paths(trained.path);
  data = DataOptions();
  data.source = line.options.data.source;
  data.target = line.options.data.target;
  data.pairs = line.options.data.pairs;
  data.data_folder = line.options.data.data_folder;
  data.validation_fraction = 0;
  data.tokenizer = tokenizers.source.string();
  data.joint_vocabulary = tokenizers.target.empty();
  data.target_tokenizer = tokenizers.target.string();
  return data;
}

int run_evaluate(const CommandLine& line) {
  if (line.options.load.checkpoint.empty())
    throw usage_error("heddle evaluate needs a run or a checkpoint, as in: heddle evaluate runs/quickstart");
  const CheckpointOptionsFile trained = options_of_checkpoint(line.options.load);
  if (model_input(trained.options.model) == ModelInput::pairs) {
    const DataOptions data = pairs_to_evaluate(line, trained);
    if (environment_rank() == 0) prepare_pair_run_data(data);
    return with_mpi(line, [&](MpiSession& session) { return evaluate_pairs(line, trained, data, session); });
  }
  const DataOptions data = data_to_evaluate(line, trained);
  if (environment_rank() == 0) prepare_run_data(data);
  return with_mpi(line, [&](MpiSession& session) { return evaluate(line, trained, data, session); });
}

}  // namespace

Command evaluate_command() {
  Command command;
  command.name = "evaluate";
  command.summary = "loss and perplexity of a trained model on held-back or other text or pairs";
  command.arguments = "RUN|CHECKPOINT";
  command.argument_key = "load.checkpoint";
  command.sections = {"load", "data", "parallel", "device"};
  command.examples = {"heddle evaluate runs/quickstart", "heddle evaluate runs/quickstart --data other.txt",
                      "mpirun -np 2 heddle evaluate runs/quickstart",
                      "heddle evaluate runs/translation-manpages --source test.en --target test.fr"};
  command.run = run_evaluate;
  return command;
}

}  // namespace heddle
