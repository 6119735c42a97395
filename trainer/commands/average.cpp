// heddle average: one set of weights from several checkpoints of a run.
//
// The mean of the last checkpoints' weights is better than each of them where the learning rate is still high: the
// noise of the last steps averages out. Vaswani et al. 2017, section 6.1 (the last 5 of the base model, 20 of the big).

#include <fmt/format.h>

#include <filesystem>

#include "kernels/error.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/folder.h"
#include "trainer/commands/command.h"
#include "trainer/commands/with_mpi.h"
#include "trainer/data/dataset_manifest.h"
#include "trainer/files.h"
#include "trainer/training/state.h"
#include "trainer/training/trained_model.h"

namespace heddle {

namespace {

struct AverageOptions {
  std::int64_t last = 5;
  std::string output;
};

void declare(AverageOptions& o, OptionTable& table) {
  table.section("average", "which checkpoints and where to");
  table.add("last", &o.last, between(1, 10000),
            "checkpoints of the run, the newest first; a run keeps checkpoint.keep");
  table.add("output", &o.output, "folder that gets the checkpoint and the run's tokenizers; empty: RUN/average",
            "<path>");
}

// The newest `count` checkpoints of a run, oldest first.
std::vector<std::filesystem::path> newest(const std::string& run, std::int64_t count) {
  const std::filesystem::path inner = std::filesystem::path(run) / "checkpoints";
  std::error_code ignored;
  std::vector<CheckpointPath> all =
      list_checkpoints(std::filesystem::is_directory(inner, ignored) ? inner : std::filesystem::path(run));
  if (static_cast<std::int64_t>(all.size()) < count)
    throw error("{} has {} checkpoints, fewer than --last {}: train with a larger keep, or average fewer", run,
                all.size(), count);
  std::vector<std::filesystem::path> paths;
  for (std::size_t i = all.size() - static_cast<std::size_t>(count); i < all.size(); ++i) paths.push_back(all[i].path);
  return paths;
}

void copy_tokenizers(const std::filesystem::path& checkpoint, const std::filesystem::path& folder) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 28;
  for (const char* name : {kDatasetTokenizerName, kDatasetSourceTokenizerName, kDatasetTargetTokenizerName})
    if (const std::filesystem::path file = find_beside_checkpoint(checkpoint, name); !file.empty())
      write_file_atomically((folder / name).string(), read_small_file(file.string(), kMost));
}

int average(const CommandLine& line, MpiSession& session) {
  const AverageOptions& o = line.own<AverageOptions>();
  if (session.size() > 1) throw usage_error("heddle average works with one rank: start it without mpirun");
  const std::string& run = line.options.load.checkpoint;
  const std::vector<std::filesystem::path> paths = newest(run, o.last);
  LoadOptions newest_of_run;
  newest_of_run.checkpoint = paths.back().string();
  const CheckpointOptionsFile trained = options_of_checkpoint(newest_of_run);

  const std::unique_ptr<Device> device = make_device(line.options, session);
  const std::unique_ptr<Mesh> mesh = session.make_mesh({}, *device);
  ParameterTable one(1, 0), sum(1, 0);
  for (ParameterTable* table : {&one, &sum}) {
    make_model(trained.options.model, 0, *table);
    table->allocate(*device, DType::f32, ParameterTable::Purpose::inference);
  }
  device->ops().fill(sum.flat_masters(), 0.0f);
  for (const std::filesystem::path& path : paths) {
    load_weights(path, one, *device, *mesh);
    device->ops().add(sum.flat_masters(), one.flat_masters(), sum.flat_masters());
    fmt::print("read {}\n", path.string());
  }
  device->ops().scale(sum.flat_masters(), 1.0f / static_cast<float>(paths.size()), sum.flat_masters());

  const std::filesystem::path output =
      o.output.empty() ? std::filesystem::path(run) / "average" : std::filesystem::path(o.output);
  std::vector<CheckpointTensor> tensors = weight_tensors(sum);
  for (CheckpointTensor& tensor : tensors) tensor.writer = true;
  const Checkpoint last = Checkpoint::open(paths.back(), nullptr);
  make_directories(output / "checkpoints");
  copy_tokenizers(paths.back(), output);
  Retention retention;
  retention.keep = 1;
  const std::string config = last.config();
  const SaveReport report = save_checkpoint(output / "checkpoints", {last.step(), {}, tensors, config, last.state()},
                                            *device, mesh->world(), retention);
  fmt::print("wrote {}: weights to evaluate, to translate or generate with, or to start from (--init-from)\n",
             report.path.string());
  return kExitDone;
}

int run_average(const CommandLine& line) {
  if (line.options.load.checkpoint.empty())
    throw usage_error("heddle average needs a run, as in: heddle average runs/transformer-base --last 5");
  return with_mpi(line, [&](MpiSession& session) { return average(line, session); });
}

}  // namespace

Command average_command() {
  Command command;
  command.name = "average";
  command.summary = "the mean of a run's last checkpoints";
  command.arguments = "RUN";
  command.argument_key = "load.checkpoint";
  command.sections = {"load", "parallel"};
  command.examples = {"heddle average runs/transformer-base --last 5",
                      "heddle translate runs/transformer-base/average --input test.en"};
  command.run = run_average;
  command.own = OwnOptions(declare);
  return command;
}

}  // namespace heddle
