// heddle train: the main job.

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <filesystem>

#include "kernels/error.h"
#include "parallel/agreement.h"
#include "parallel/environment.h"
#include "trainer/checkpoint/folder.h"
#include "trainer/commands/command.h"
#include "trainer/commands/with_mpi.h"
#include "trainer/config/check.h"
#include "trainer/format.h"
#include "trainer/metrics/resident_memory.h"
#include "trainer/metrics/run_folder.h"
#include "trainer/training/loop.h"
#include "trainer/training/plan.h"
#include "trainer/training/run_input.h"
#include "trainer/training/settings.h"

namespace heddle {

namespace {

constexpr double kCeilingSeconds = 0.3;  // per precision of the run, before step 0: what MFU is measured against

// Rate of matrix products of all ranks together, all measuring at once.
double measure_peak(DType act, Device& device, Mesh& mesh) {
  mesh.world().barrier("matmul rate");
  double rate = device.matmul_flops(act, kCeilingSeconds);
  mesh.world().all_reduce_host(&rate, 1, Reduction::sum, "matmul rate");
  return rate;
}

void print_start(const Options& options, const RunInput& input, Engine& engine, const StepPlan& plan,
                 std::size_t resident_before, const Mesh& mesh, const Device& device, double peak_flops) {
  const Layout& layout = mesh.layout();
  fmt::print("model: {} with {} parameters; {}, {}\n", options.model.family,
             with_commas(engine.parameters().global_count()), input.step_size(options),
             name_of(act_of(options.train.precision)));
  fmt::print("ranks: data {} x tensor {}, {}; matmul rate of all ranks {}FLOP/s\n", layout.data_parallel,
             layout.tensor_parallel, device.description(), with_si_prefix(peak_flops));
  fmt::print("memory per rank\n");
  for (const StepPlan::Row& row : plan.rows())
    fmt::print("  {:<28} {:>10}\n", row.category, as_bytes(static_cast<double>(row.bytes)));
  fmt::print("  {:<28} {:>10}\n",
             device.kind() == DeviceKind::cuda ? "CUDA, NCCL, other processes" : "libraries, already resident",
             as_bytes(static_cast<double>(resident_before)));
  fmt::print("  {:<28} {:>10}\n", "total", as_bytes(static_cast<double>(plan.total() + resident_before)));
  std::fflush(stdout);
}

// The memory in which the model lives: the GPU's, or that of this process.
std::size_t taken_before(Device& device) {
  const Device::MemoryUse use = device.memory_use();
  if (use.taken > 0) return use.taken - use.allocated;
  reset_peak_resident();
  return resident_bytes();
}
std::size_t taken_at_peak(Device& device) {
  const Device::MemoryUse use = device.memory_use();  // nothing is allocated or freed in between
  return use.taken > 0 ? use.taken : peak_resident_bytes();
}

// What was planned before step 0 against what was really taken.
void print_memory(std::size_t planned, std::size_t taken) {
  const double peak = static_cast<double>(taken), plan = static_cast<double>(planned);
  fmt::print("memory of rank 0: {} planned, {} at the peak ({:+.1f} %)\n", as_bytes(plan), as_bytes(peak),
             100 * (peak / plan - 1));
}

void print_end(const TrainingEnd& end, const RunFolder& folder) {
  fmt::print("{}", end.reason);
  if (std::isfinite(end.last_loss)) fmt::print(", loss {:.4f}", end.last_loss);
  if (std::isfinite(end.state.best_validation_loss))
    fmt::print(", best validation loss {:.4f}", end.state.best_validation_loss);
  fmt::print(", {} of training; run folder {}\n", as_duration(end.state.seconds), folder.path().string());
  if (end.preempted) fmt::print("saved at step {}: go on with --resume\n", end.state.step);
}

int train_command_body(Options options, MpiSession& session) {
  check(options, session.size());
  const Layout layout = layout_for(options, session.size());
  const std::unique_ptr<Device> device = make_device(options, session);
  const std::unique_ptr<Mesh> mesh = session.make_mesh(layout, *device);
  Communicator& world = mesh->world();

  std::unique_ptr<RunInput> input;
  std::unique_ptr<TrainingData> batches;
  std::vector<std::string> remarks;
  agree(world, "opening the data", [&] {
    input = RunInput::open(options);
    input->settle(options);
    batches = input->batches(options, layout, mesh->data_rank(), remarks);
  });

  std::optional<RunFolder> folder;
  agree(world, "making the run folder", [&] {
    if (session.rank() == 0) {
      folder.emplace(options.train.run_folder, options.train.resume);
      folder->write_config(resolved_config(options));
      input->save_tokenizers(folder->path());
    }
  });
  // The others find it made.
  if (!folder) folder.emplace(options.train.run_folder, /*resume=*/true);

  EngineSettings settings = engine_settings(options, layout);
  const double peak = measure_peak(settings.act, *device, *mesh);
  const std::size_t resident_before = taken_before(*device);
  std::optional<Engine> engine;
  settings.shapes = batches->largest_shapes();
  agree(world, "making the model", [&] { engine.emplace(settings, *device, *mesh); });

  TrainingState state;
  bool has_checkpoint = options.train.resume && newest_checkpoint(folder->checkpoints()).has_value();
  agree(world, "looking for a checkpoint", [] {});  // nobody deletes leftovers while another rank still looks
  if (has_checkpoint) {
    state = load_training_state(folder->path(), *engine, *device, *mesh);
  } else if (!options.train.init_from.empty()) {
    load_weights(options.train.init_from, engine->parameters(), *device, *mesh);
  }

  const StepPlan plan = plan_step(settings, layout, session.rank(), *device);
  if (session.rank() == 0) {
    print_start(options, *input, *engine, plan, resident_before, *mesh, *device, peak);
    for (const std::string& remark : remarks) fmt::print("data: {}\n", remark);
    std::fflush(stdout);
    if (has_checkpoint) fmt::print("resuming after step {}\n", state.step);
  }
  const TrainingEnd end = train({options, *engine, *batches, *folder, *device, *mesh, session, peak}, state);
  if (session.rank() == 0) {
    print_memory(plan.total() + resident_before, taken_at_peak(*device));
    print_end(end, *folder);
  }
  return end.preempted ? kExitPreempted : kExitDone;
}

int run_train(const CommandLine& line) {
  check_run_input(line.options);  // refuses a run without data before anything is started
  if (environment_rank() == 0) prepare_run_input(line.options);
  return with_mpi(line, [&](MpiSession& session) { return train_command_body(line.options, session); });
}

}  // namespace

Command train_command() {
  Command command;
  command.name = "train";
  command.summary = "train a model on text or on pairs of texts, on any data x tensor parallel layout";
  command.arguments = "[CONFIG.cfg]";
  command.argument_key = "config";
  command.sections = training_sections();
  command.examples = {"heddle train configs/quickstart.cfg --data my.txt",
                      "mpirun -np 4 heddle train configs/gpt2-small.cfg --tensor-parallel 2 --data my.txt",
                      "mpirun -np 4 heddle train configs/gpt2-small.cfg --data my.txt --resume",
                      "mpirun -np 2 heddle train configs/translation-manpages.cfg --source en.txt --target fr.txt"};
  command.run = run_train;
  return command;
}

}  // namespace heddle
