// heddle generate: text from a trained language model.

#include <fmt/format.h>

#include <cstdio>
#include <iostream>
#include <iterator>

#include "kernels/error.h"
#include "trainer/commands/command.h"
#include "trainer/commands/with_mpi.h"
#include "trainer/config/check.h"
#include "trainer/files.h"
#include "trainer/tasks/generation.h"
#include "trainer/training/settings.h"
#include "trainer/training/trained_model.h"

namespace heddle {

namespace {

constexpr std::uint64_t kMaxPromptBytes = std::uint64_t{64} << 20;

std::string prompt_text(const GenerationOptions& generation) {
  if (!generation.prompt_file.empty()) return read_small_file(generation.prompt_file, kMaxPromptBytes);
  return generation.prompt;
}

// The prompt's tokens; a model that knows an end of text starts from it when there is no prompt.
std::vector<std::int32_t> prompt_tokens(const std::string& text, const Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids = tokenizer.encode(text);
  if (ids.empty() && tokenizer.end_of_text()) ids.push_back(*tokenizer.end_of_text());
  if (ids.empty()) throw usage_error("this model's tokenizer has no end-of-text token to start from: give --prompt");
  return ids;
}

// What `ids` add to a text that began with `prompt`.
std::string continuation(const Tokenizer& tokenizer, const std::vector<std::int32_t>& prompt,
                         const std::vector<std::int32_t>& ids) {
  if (tokenizer.keeps_text()) return tokenizer.decode(ids);
  std::vector<std::int32_t> all = prompt;
  all.insert(all.end(), ids.begin(), ids.end());
  return tokenizer.decode(all).substr(tokenizer.decode(prompt).size());
}

int generate(const CommandLine& line, MpiSession& session) {
  const GenerationOptions& generation = line.options.generation;
  const CheckpointOptionsFile trained = options_of_checkpoint(line.options.load);
  const ModelOptions& model = trained.options.model;
  if (model_input(model) != ModelInput::text)
    throw usage_error("{} is a model of family {}, which reads a source: use heddle translate", trained.path.string(),
                      model.family);
  Options split = line.options;
  split.model = model;
  const Layout layout = layout_for(split, session.size());

  const std::unique_ptr<Device> device = make_device(line.options, session);
  const std::unique_ptr<Mesh> mesh = session.make_mesh(layout, *device);
  const std::unique_ptr<Tokenizer> tokenizer = tokenizer_of_checkpoint(trained.path);
  const std::string prompt = prompt_text(generation);
  const std::vector<std::int32_t> start = prompt_tokens(prompt, *tokenizer);
  TrainedModel loaded(model, act_of(trained.options.train.precision), *device, *mesh, trained.path);

  // Samples are dealt to the data ranks; a sample's text depends on its number and the seed alone.
  const std::int64_t ranks = layout.data_parallel, rank = mesh->data_rank();
  const std::int64_t first = rank * generation.num_samples / ranks,
                     end = (rank + 1) * generation.num_samples / ranks;
  GenerationSettings settings;
  settings.max_tokens = generation.max_tokens;
  settings.sampling = {generation.temperature, generation.top_k, generation.top_p,
                       static_cast<std::uint64_t>(line.options.train.seed)};
  settings.samples = end - first;
  settings.first_sample = first;
  settings.cache = generation.cache;
  settings.end_of_text = tokenizer->end_of_text().value_or(-1);

  // One sample on one data rank is shown as it grows.
  const bool streams = generation.num_samples == 1 && session.rank() == 0;
  if (streams) fmt::print("{}", prompt);
  const std::vector<std::int32_t> prompt_ids = tokenizer->encode(prompt);
  std::vector<std::int32_t> shown = prompt_ids;  // only kept where a token's text depends on those before it
  std::string texts;  // of this rank: each is its length, a line feed, and the text
  if (settings.samples > 0) {
    Generator generator(*loaded.model, *device, *mesh, act_of(trained.options.train.precision), settings.samples);
    const auto on_token = [&](std::int64_t, std::int32_t id) {
      if (!streams) return;
      if (id >= tokenizer->vocabulary_size()) return;  // the model's vocabulary may be larger
      const std::string bytes = continuation(*tokenizer, shown, {id});
      if (!tokenizer->keeps_text()) shown.push_back(id);
      std::fwrite(bytes.data(), 1, bytes.size(), stdout);
      std::fflush(stdout);
    };
    for (std::vector<std::int32_t>& ids : generator.generate(start, settings, on_token)) {
      std::erase_if(ids, [&](std::int32_t id) { return id >= tokenizer->vocabulary_size(); });
      const std::string text = continuation(*tokenizer, prompt_ids, ids);
      texts += fmt::format("{}\n", text.size()) + text;
    }
  }
  const std::vector<std::string> all = mesh->data().all_gather_host(texts, "generated texts");
  if (session.rank() != 0) return kExitDone;
  if (streams) {
    fmt::print("\n");
    return kExitDone;
  }
  std::int64_t number = 0;
  for (const std::string& of_rank : all)
    for (std::size_t at = 0; at < of_rank.size();) {
      const std::size_t newline = of_rank.find('\n', at);
      const std::size_t length = std::stoull(of_rank.substr(at, newline - at));
      fmt::print("--- sample {}\n{}{}\n", ++number, prompt, of_rank.substr(newline + 1, length));
      at = newline + 1 + length;
    }
  return kExitDone;
}

int run_generate(const CommandLine& line) {
  if (line.options.load.checkpoint.empty())
    throw usage_error("heddle generate needs a run or a checkpoint, as in: heddle generate runs/quickstart --prompt "
                      "\"In the beginning\"");
  return with_mpi(line, [&](MpiSession& session) { return generate(line, session); });
}

}  // namespace

Command generate_command() {
  Command command;
  command.name = "generate";
  command.summary = "write text with a trained model";
  command.arguments = "RUN|CHECKPOINT";
  command.argument_key = "load.checkpoint";
  command.sections = {"load", "generation", "train", "parallel", "device"};
  command.examples = {"heddle generate runs/quickstart --prompt \"In the beginning\" --temperature 0.8 --top-k 50",
                      "mpirun -np 2 heddle generate runs/quickstart --tensor-parallel 2 --prompt \"And\""};
  command.run = run_generate;
  return command;
}

}  // namespace heddle
