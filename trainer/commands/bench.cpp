// heddle bench: how fast, against what the same machine reaches in the same run.

#include <algorithm>
#include <chrono>
#include <limits>
#include <random>
#include <vector>

#include "kernels/error.h"
#include "kernels/trace.h"
#include "trainer/commands/bench_kernels.h"
#include "trainer/commands/bench_translate.h"
#include "trainer/commands/command.h"
#include "trainer/commands/with_mpi.h"
#include "trainer/config/check.h"
#include "trainer/format.h"
#include "trainer/training/engine.h"
#include "trainer/training/settings.h"

namespace heddle {

namespace {

struct BenchOptions {
  std::string what = "step";
  std::int64_t steps = 5;
  std::int64_t warmup_steps = 2;
  KernelBenchOptions kernels;
  TranslateBenchOptions translate;
};

void declare(BenchOptions& o, OptionTable& table) {
  table.section("bench", "what is measured and how often");
  table.add("what", &o.what,
            "benchmark: step (a whole training step of the model), translate (decoding) or kernels (every operation)",
            "step");
  table.add("steps", &o.steps, {1, 1000000}, "steps that are timed; the fastest and the median are printed");
  table.add("warmup_steps", &o.warmup_steps, {0, 1000}, "steps before the clock starts");
  table.add("ceiling_seconds", &o.kernels.ceiling_seconds, {0.1, 600.0},
            "time spent on measuring what the device reaches at best");
  table.add("rows", &o.kernels.rows, {0, 1 << 24}, "kernels: tokens; 0: 16384 on a GPU, 2048 on a CPU");
  table.add("width", &o.kernels.width, {0, 1 << 20}, "kernels: channels; 0: 768, 1600 and 4096 on a GPU, 768 on a CPU");
  table.add("operations", &o.kernels.family, "kernels: one family of operations, for instance norm; all if not given");
  table.add("sentences", &o.translate.sentences, {1, 1 << 20}, "translate: sentences per data rank");
  table.add("sentence_length", &o.translate.sentence_length, {0, 1 << 20},
            "translate: tokens of each source and target; 0: half the context");
  table.add("beam", &o.translate.beam, {1, 1024}, "translate: texts kept in the search");
  table.add("seconds", &o.kernels.seconds, {0.001, 600.0}, "kernels: time spent on each operation");
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A rank's share of a batch of random tokens that fills the step's shape.
class RandomBatch {
 public:
  RandomBatch(const EngineSettings& settings, Layout layout, int data_rank) {
    const BatchShape& shape = settings.shapes.front();
    batch_.shape = shape;
    batch_.first_sample = data_rank * shape.samples;
    batch_.valid_tokens = layout.data_parallel * shape.tokens();
    std::mt19937 random(static_cast<std::uint32_t>(1 + data_rank));
    const auto fill = [&](std::vector<std::int32_t>& ids, std::int64_t count, std::int64_t vocabulary) {
      ids.resize(static_cast<std::size_t>(count));
      for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(vocabulary));
    };
    const ModelOptions& model = settings.model;
    fill(ids_, shape.tokens() + 1, model.vocabulary_size);
    fill(source_, shape.source_tokens(),
         model.source_vocabulary_size > 0 ? model.source_vocabulary_size : model.vocabulary_size);
    lengths_.assign(static_cast<std::size_t>(shape.samples), static_cast<std::int32_t>(shape.source_length));
  }
  HostBatch batch() const {
    HostBatch batch = batch_;
    batch.inputs = ids_.data();
    batch.targets = ids_.data() + 1;
    batch.source = source_.data();
    batch.source_lengths = lengths_.data();
    return batch;
  }

 private:
  HostBatch batch_;
  std::vector<std::int32_t> ids_, source_, lengths_;
};

// Sum over the ranks of the rate that matrix products reach alone, all ranks at once; the best of two halves of the
// time, because a machine that is shared only ever measures too low.
double measure_ceiling(DType act, Device& device, Mesh& mesh, double seconds) {
  double rate = 0;
  for (int half = 0; half < 2; ++half) {
    mesh.world().barrier("matmul ceiling");
    double sum = device.matmul_flops(act, seconds / 2);
    mesh.world().all_reduce_host(&sum, 1, Reduction::sum, "matmul ceiling");
    rate = std::max(rate, sum);
  }
  return rate;
}

// Time of a step by family of operations; communication is what the computation waits for.
struct Share {
  std::string family;
  std::int64_t calls = 0;
  double seconds = 0;
};

std::vector<Share> measure_shares(Engine& engine, TracedDevice& device, const HostBatch& batch, std::int64_t step) {
  engine.use_graph(false);  // a replayed step cannot be looked into
  device.record(true);
  device.recorded().start();
  engine.step(step, batch, 1e-5);
  const Trace::Result result = device.recorded().finish();
  device.record(false);
  engine.finish();

  std::vector<Share> shares;
  double inside = 0;
  for (const Trace::Span& span : result.spans) {
    auto share = std::find_if(shares.begin(), shares.end(), [&](const Share& s) { return s.family == span.family; });
    if (share == shares.end()) share = shares.insert(shares.end(), Share{span.family});
    ++share->calls;
    share->seconds += span.seconds;
    inside += span.seconds;
  }
  std::sort(shares.begin(), shares.end(), [](const Share& a, const Share& b) { return a.seconds > b.seconds; });
  shares.push_back({"between them", 0, result.seconds - inside});
  return shares;
}

void print_shares(const std::vector<Share>& shares) {
  double total = 0;
  for (const Share& share : shares) total += share.seconds;
  fmt::print("\none more step on rank 0, operation by operation: {:.3f} s\n", total);
  for (const Share& share : shares)
    fmt::print("  {:<28} {:>6.1f} %  {:>10}{}\n", share.family, 100 * share.seconds / total,
               share.calls > 0 ? fmt::format("{} calls", share.calls) : "",
               share.family == kCommunicationFamily ? "  (what the computation waits for)" : "");
}

int bench_step(const CommandLine& line, const BenchOptions& bench, MpiSession& session) {
  Options options = line.options;
  if (options.model.vocabulary_size == 0) options.model.vocabulary_size = 50257;
  const Layout layout = layout_for(options, session.size());
  check(options, session.size());
  const std::unique_ptr<Device> plain_device = make_device(options, session);
  const std::unique_ptr<Mesh> mesh = session.make_mesh(layout, *plain_device);
  TracedDevice traced(*plain_device);
  Device* const device = &traced;
  const EngineSettings settings = engine_settings(options, layout);
  Engine engine(settings, *device, *mesh);

  const RandomBatch random(settings, layout, mesh->data_rank());
  const HostBatch batch = random.batch();
  const std::int64_t tokens = batch.valid_tokens;

  const double before = measure_ceiling(settings.act, *device, *mesh, bench.kernels.ceiling_seconds / 2);
  std::vector<double> times;
  for (std::int64_t step = 0; step < bench.warmup_steps + bench.steps; ++step) {
    mesh->world().barrier("bench");
    const double start = seconds_now();
    engine.step(step, batch, 1e-5);
    engine.finish();
    double elapsed = seconds_now() - start;
    mesh->world().all_reduce_host(&elapsed, 1, Reduction::max, "bench");
    if (step >= bench.warmup_steps) times.push_back(elapsed);
  }
  const std::vector<Share> shares = measure_shares(engine, traced, batch, bench.warmup_steps + bench.steps);
  const double ceiling =
      std::max(before, measure_ceiling(settings.act, *device, *mesh, bench.kernels.ceiling_seconds / 2));
  if (mesh->rank() != 0) return kExitDone;

  std::sort(times.begin(), times.end());
  const double median = times[times.size() / 2], best = times.front();
  const FlopsPerToken flops = engine.model().flops_per_token(static_cast<double>(batch.shape.length),
                                                             static_cast<double>(batch.shape.source_length));
  const auto rate = [&](double per_token, double seconds) { return per_token * static_cast<double>(tokens) / seconds; };
  fmt::print("{} parameters, {} samples x {} tokens per step, {}, data {} x tensor {}, {} thread{} per rank\n",
             with_commas(engine.parameters().global_count()), layout.data_parallel * batch.shape.samples,
             batch.shape.length, name_of(settings.act), layout.data_parallel, layout.tensor_parallel, device->threads(),
             device->threads() == 1 ? "" : "s");
  fmt::print("matmul ceiling, all ranks, same run    {:>8}FLOP/s\n", with_si_prefix(ceiling));
  fmt::print("                                         median      best of {}\n", times.size());
  fmt::print("seconds per step, optimizer included   {:>8.3f}  {:>8.3f}\n", median, best);
  fmt::print("tokens/s                               {:>8}  {:>8}\n", with_si_prefix(tokens / median),
             with_si_prefix(tokens / best));
  fmt::print("FLOP/s, causal attention counted half  {:>8}  {:>8}\n", with_si_prefix(rate(flops.causal(), median)),
             with_si_prefix(rate(flops.causal(), best)));
  fmt::print("FLOP/s, attention counted in full      {:>8}  {:>8}\n", with_si_prefix(rate(flops.full(), median)),
             with_si_prefix(rate(flops.full(), best)));
  fmt::print("ratio to matmul, causal                {:>8.3f}  {:>8.3f}\n", rate(flops.causal(), median) / ceiling,
             rate(flops.causal(), best) / ceiling);
  fmt::print("ratio to matmul, full                  {:>8.3f}  {:>8.3f}\n", rate(flops.full(), median) / ceiling,
             rate(flops.full(), best) / ceiling);
  print_shares(shares);
  return kExitDone;
}

int run_bench(const CommandLine& line) {
  const BenchOptions& bench = line.own<BenchOptions>();
  if (bench.what == "kernels") return bench_kernels(line, bench.kernels);
  if (bench.what == "translate")
    return with_mpi(line, [&](MpiSession& session) {
      return bench_translate(line, bench.translate, bench.kernels.ceiling_seconds, session);
    });
  if (bench.what != "step")
    throw usage_error("heddle bench '{}': the benchmarks are: step, translate, kernels", bench.what);
  return with_mpi(line, [&](MpiSession& session) { return bench_step(line, bench, session); });
}

}  // namespace

Command bench_command() {
  Command command;
  command.name = "bench";
  command.summary =
      "time a training step, decoding, or every operation, against the device's own matmul and copy rates";
  command.arguments = "[step|translate|kernels]";
  command.argument_key = "bench.what";
  command.sections = {"model", "train", "parallel", "device"};
  command.examples = {
      "heddle bench step --config configs/gpt2-small.cfg --global-batch 8 --micro-batch 8 --context-length 512",
      "mpirun -np 2 heddle bench step --config configs/gpt2-small.cfg --global-batch 8 --context-length 512 "
      "--micro-batch 4 --threads 1",
      "heddle bench translate --config configs/translation-manpages.cfg --beam 4",
      "heddle bench kernels --precision bf16 --operations norm"};
  command.run = run_bench;
  command.own = OwnOptions(declare);
  return command;
}

}  // namespace heddle
