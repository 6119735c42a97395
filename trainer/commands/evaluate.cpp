// heddle evaluate: loss, perplexity and bits per byte of a trained model on held-back or other text.

#include <fmt/format.h>

#include <cmath>

#include "kernels/error.h"
#include "parallel/agreement.h"
#include "parallel/environment.h"
#include "trainer/commands/command.h"
#include "trainer/commands/with_mpi.h"
#include "trainer/config/check.h"
#include "trainer/data/run_data.h"
#include "trainer/format.h"
#include "trainer/tasks/evaluation.h"
#include "trainer/training/settings.h"
#include "trainer/training/trained_model.h"

namespace heddle {

namespace {

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

int run_evaluate(const CommandLine& line) {
  if (line.options.load.checkpoint.empty())
    throw usage_error("heddle evaluate needs a run or a checkpoint, as in: heddle evaluate runs/quickstart");
  const CheckpointOptionsFile trained = options_of_checkpoint(line.options.load.checkpoint);
  const DataOptions data = data_to_evaluate(line, trained);
  if (environment_rank() == 0) prepare_run_data(data);
  return with_mpi(line, [&](MpiSession& session) { return evaluate(line, trained, data, session); });
}

}  // namespace

Command evaluate_command() {
  Command command;
  command.name = "evaluate";
  command.summary = "loss, perplexity and bits per byte of a trained model";
  command.arguments = "RUN|CHECKPOINT";
  command.argument_key = "load.checkpoint";
  command.sections = {"load", "data", "parallel", "device"};
  command.examples = {"heddle evaluate runs/quickstart", "heddle evaluate runs/quickstart --data other.txt",
                      "mpirun -np 2 heddle evaluate runs/quickstart"};
  command.run = run_evaluate;
  return command;
}

}  // namespace heddle
