#include "trainer/commands/bench_translate.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "kernels/error.h"
#include "trainer/commands/with_mpi.h"
#include "trainer/config/check.h"
#include "trainer/format.h"
#include "trainer/models/model.h"
#include "trainer/tasks/translation.h"
#include "trainer/training/settings.h"

namespace heddle {

namespace {

double rate_of_all(double rate, Mesh& mesh, const char* label) {
  mesh.world().all_reduce_host(&rate, 1, Reduction::sum, label);
  return rate;
}

// Random ids, without the one that ends a text, and that one at the end.
std::vector<std::vector<std::int32_t>> random_sources(std::int64_t count, std::int64_t length,
                                                      std::int64_t vocabulary) {
  std::mt19937 random(1);
  std::vector<std::vector<std::int32_t>> sources(static_cast<std::size_t>(count));
  for (auto& source : sources) {
    for (std::int64_t i = 1; i < length; ++i)
      source.push_back(static_cast<std::int32_t>(1 + random() % static_cast<std::uint32_t>(vocabulary - 1)));
    source.push_back(0);
  }
  return sources;
}

}  // namespace

int bench_translate(const CommandLine& line, const TranslateBenchOptions& bench, double ceiling_seconds,
                    MpiSession& session) {
  Options options = line.options;
  ModelOptions& model = options.model;
  if (model_input(model) != ModelInput::pairs)
    throw usage_error(
        "heddle bench translate needs a model that translates, as in: heddle bench translate --config "
        "configs/translation-manpages.cfg");
  if (model.vocabulary_size == 0) model.vocabulary_size = 8000;
  if (model.source_vocabulary_size == 0) model.source_vocabulary_size = model.vocabulary_size;
  const std::int64_t length =
      bench.sentence_length > 0 ? bench.sentence_length : std::max<std::int64_t>(1, model.context_length / 2);
  if (length > model.context_length)
    throw usage_error("sentence_length = {} is more than context_length = {}", length, model.context_length);
  const Layout layout = layout_for(options, session.size());
  check(options, session.size());
  const std::unique_ptr<Device> device = make_device(options, session);
  const std::unique_ptr<Mesh> mesh = session.make_mesh(layout, *device);
  const DType act = act_of(options.train.precision);

  ParameterTable table(layout.tensor_parallel, mesh->tensor_rank());
  const std::unique_ptr<Model> network = make_model(model, 1, table);
  table.allocate(*device, act, ParameterTable::Purpose::inference);
  table.initialize(*device, 1);
  Translator translator(*network, *device, *mesh, act);
  TranslationSettings settings;
  settings.search.beam = bench.beam;
  settings.search.begin = 0;
  settings.search.end = -1;  // never chosen: every text has its full length
  settings.extra_tokens = 0;
  const std::vector<std::vector<std::int32_t>> sources =
      random_sources(bench.sentences * layout.data_parallel, length, model.source_vocabulary_size);

  mesh->world().barrier("bench");
  const double ceiling = rate_of_all(device->matmul_flops(act, ceiling_seconds), *mesh, "matmul ceiling");
  translator.translate({sources.begin(), sources.begin() + layout.data_parallel}, settings);  // libraries set up
  mesh->world().barrier("bench");
  const auto start = std::chrono::steady_clock::now();
  translator.translate(sources, settings);
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  mesh->world().all_reduce_host(&seconds, 1, Reduction::max, "bench");
  if (mesh->rank() != 0) return kExitDone;

  const auto tokens = static_cast<double>(static_cast<std::int64_t>(sources.size()) * length);
  // A forward is a third of a training step's products; each row of the beam is computed.
  const double flops = network->flops_per_token(static_cast<double>(length), static_cast<double>(length)).matmul / 3;
  const double rate = flops * tokens * static_cast<double>(bench.beam) / seconds;
  fmt::print("{} parameters, {} sentences of {} tokens, beam {}, {}, data {} x tensor {}, {} thread{} per rank\n",
             with_commas(table.global_count()), sources.size(), length, bench.beam, name_of(act), layout.data_parallel,
             layout.tensor_parallel, device->threads(), device->threads() == 1 ? "" : "s");
  fmt::print("matmul ceiling, all ranks, same run    {:>8}FLOP/s\n", with_si_prefix(ceiling));
  fmt::print("seconds                                {:>8.3f}\n", seconds);
  fmt::print("target tokens/s                        {:>8}\n", with_si_prefix(tokens / seconds));
  fmt::print("sentences/s                            {:>8}\n",
             with_si_prefix(static_cast<double>(sources.size()) / seconds));
  fmt::print("FLOP/s of the products, all rows       {:>8}\n", with_si_prefix(rate));
  fmt::print("ratio to matmul                        {:>8.3f}\n", rate / ceiling);
  return kExitDone;
}

}  // namespace heddle
