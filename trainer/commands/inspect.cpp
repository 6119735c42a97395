// heddle inspect: what a config or a checkpoint holds, without training anything.

#include <algorithm>
#include <cstdio>
#include <map>

#include "kernels/error.h"
#include "parallel/parameters.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/commands/command.h"
#include "trainer/format.h"
#include "trainer/training/plan.h"
#include "trainer/training/settings.h"

namespace heddle {

namespace {

// "h.11.attn.c_attn.weight" -> "h.*.attn.c_attn.weight": the layers of a stack share a row.
std::string without_numbers(const std::string& name) {
  std::string pattern;
  for (std::size_t begin = 0; begin <= name.size();) {  // part by part: fc1 and fc2 are no layers
    const std::size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    pattern += part.find_first_not_of("0123456789") == std::string::npos ? "*" : part;
    if (end < name.size()) pattern += '.';
    begin = end + 1;
  }
  return pattern;
}

std::string start_text(const Initializer& initializer) {
  switch (initializer.kind) {
    case Initializer::Kind::zeros: return "0";
    case Initializer::Kind::ones: return "1";
    case Initializer::Kind::normal: return fmt::format("N(0, {:.4g})", initializer.scale);
    case Initializer::Kind::uniform: return fmt::format("U(-{0:.4g}, {0:.4g})", initializer.scale);
  }
  return "";
}

std::string sharding_text(const ParameterSpec& spec, int ranks) {
  if (spec.sharding.replicated()) return "on every rank";
  return fmt::format("dim {} in {}{}", spec.sharding.dim, ranks, spec.sharding.groups > 1 ? " by head" : "");
}

void print_parameters(const ParameterTable& table) {
  struct Row {
    const Parameter* first;
    int times;
  };
  std::vector<std::string> order;
  std::map<std::string, Row> rows;
  for (const Parameter& p : table.parameters()) {
    const std::string pattern = without_numbers(p.spec.name);
    const auto [it, inserted] = rows.try_emplace(pattern, Row{&p, 0});
    if (inserted) order.push_back(pattern);
    ++it->second.times;
  }
  std::size_t widest = 0;
  for (const std::string& pattern : order) widest = std::max(widest, pattern.size());
  fmt::print("{:<{}} {:<18} {:>6} {:>17}  {:<14} {:<20} {}\n", "parameter", widest, "shape", "times", "elements",
             "split", "starts as", "decay");
  for (const std::string& pattern : order) {
    const auto& [p, times] = rows.at(pattern);
    fmt::print("{:<{}} {:<18} {:>6} {:>17}  {:<14} {:<20} {}\n", pattern, widest, p->spec.shape.to_string(), times,
               with_commas(p->spec.shape.count() * times), sharding_text(p->spec, table.ranks()),
               start_text(p->spec.initializer), p->spec.decay ? "yes" : "no");
  }
  fmt::print("{:<{}} {:<18} {:>6} {:>17}\n\n", "total", widest, "", "", with_commas(table.global_count()));
}

int inspect_config(const CommandLine& line) {
  const Options& options = line.options;
  if (options.model.vocabulary_size == 0)
    throw usage_error(
        "model.vocabulary_size is 0 (the tokenizer's), which only training knows: give --vocabulary-size");
  Layout layout{static_cast<int>(std::max<std::int64_t>(options.parallel.data_parallel, 1)),
                static_cast<int>(options.parallel.tensor_parallel)};
  const EngineSettings settings = engine_settings(options, layout);
  const BatchShape& shape = settings.shapes.front();

  ParameterTable table(layout.tensor_parallel, 0);
  const std::unique_ptr<Model> model = make_model(options.model, settings.seed, table);
  print_parameters(table);

  const std::unique_ptr<Device> device = make_cpu_device(static_cast<int>(options.parallel.threads));
  const StepPlan plan = plan_step(settings, layout, 0, *device);
  fmt::print("layout: data_parallel {} x tensor_parallel {}; micro-batch {} x {} tokens, {}\n", layout.data_parallel,
             layout.tensor_parallel, shape.micro_batch, shape.length, name_of(settings.act));
  fmt::print("memory per rank\n");
  for (const StepPlan::Row& row : plan.rows())
    fmt::print("  {:<28} {:>12}\n", row.category, as_bytes(static_cast<double>(row.bytes)));
  fmt::print("  {:<28} {:>12}\n\n", "total", as_bytes(static_cast<double>(plan.total())));

  const FlopsPerToken flops =
      model->flops_per_token(static_cast<double>(shape.length), static_cast<double>(shape.source_length));
  const double tokens = static_cast<double>(layout.data_parallel * shape.tokens());
  fmt::print("FLOPs per token, forward and backward (a multiply-add is two)\n");
  fmt::print("  {:<28} {:>12}\n", "matrix products", with_si_prefix(flops.matmul));
  fmt::print("  {:<28} {:>12}  {}\n", "attention, causal half", with_si_prefix(flops.attention_causal),
             "counted in this program's MFU");
  fmt::print("  {:<28} {:>12}  {}\n", "attention, full", with_si_prefix(flops.attention_full),
             "PaLM's and torchtitan's convention");
  fmt::print("  {:<28} {:>12}  {} tokens\n", "one step of the global batch", with_si_prefix(tokens * flops.causal()),
             with_commas(static_cast<std::int64_t>(tokens)));
  return kExitDone;
}

// The checkpoints at a path; of a single one also its files and tensors.
int inspect_checkpoints(const std::string& path) {
  const std::vector<CheckpointSummary> all = describe(path);
  int broken = 0;
  for (const CheckpointSummary& c : all) {
    fmt::print("{}{}\n", c.path.string(), c.best ? "  (best)" : "");
    if (!c.problem.empty()) {
      fmt::print("  not usable: {}\n", c.problem);
      ++broken;
      continue;
    }
    std::uint64_t bytes = 0;
    for (const ManifestFile& file : c.manifest.files) bytes += file.bytes;
    fmt::print("  step {}, written by data {} x tensor {}, {} tensors, {}\n", c.step, c.manifest.layout.data_parallel,
               c.manifest.layout.tensor_parallel, c.manifest.tensors.size(), as_bytes(static_cast<double>(bytes)));
    if (all.size() > 1) continue;
    fmt::print("  state {}\n\n{:<28} {:>14}  {}\n", c.manifest.state.dump(), "file", "bytes", "XXH3-128");
    for (const ManifestFile& file : c.manifest.files)
      fmt::print("{:<28} {:>14}  {}\n", file.name, with_commas(static_cast<std::int64_t>(file.bytes)), file.xxh3_128);
    fmt::print("\n{:<48} {:<6} {:<20} {}\n", "tensor", "dtype", "shape", "pieces");
    for (const ManifestTensor& t : c.manifest.tensors)
      fmt::print("{:<48} {:<6} {:<20} {}\n", t.name, name_of(t.dtype), t.shape.to_string(), t.pieces.size());
  }
  return broken == 0 ? kExitDone : kExitFailure;
}

int run_inspect(const CommandLine& line) {
  if (!line.options.load.checkpoint.empty()) return inspect_checkpoints(line.options.load.checkpoint);
  if (line.config_file.empty())
    throw usage_error(
        "heddle inspect needs a config file or --checkpoint FOLDER, as in: heddle inspect "
        "configs/gpt2-small.cfg");
  return inspect_config(line);
}

}  // namespace

Command inspect_command() {
  Command command;
  command.name = "inspect";
  command.summary = "parameters, memory and FLOPs of a config, or what a checkpoint holds";
  command.arguments = "[CONFIG.cfg]";
  command.argument_key = "config";
  command.sections = {"model", "train", "parallel", "load"};
  command.examples = {"heddle inspect configs/gpt2-small.cfg",
                      "heddle inspect configs/gpt3-175b.cfg --tensor-parallel 8 --data-parallel 128",
                      "heddle inspect --checkpoint runs/quickstart"};
  command.run = run_inspect;
  return command;
}

}  // namespace heddle
