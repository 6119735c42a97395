// heddle plot: loss and throughput of runs as a picture.
#include <filesystem>
#include <iostream>
#include <set>

#include "kernels/error.h"
#include "trainer/commands/command.h"
#include "trainer/metrics/gnuplot.h"
#include "trainer/metrics/loss_plot.h"

namespace heddle {
namespace {

struct PlotOptions {
  std::vector<std::string> runs;
  std::string output = "plot.png";
  PlotStyle style;
};

void declare(PlotOptions& o, OptionTable& table) {
  table.section("plot", "what is drawn");
  table.add("runs", &o.runs, "run folders or metrics.jsonl files; several are compared");
  table.add("output", &o.output, "picture to write: .png, .svg or .pdf", "<path>");
  table.add_choice("what", &o.style.what, "loss, throughput, or one above the other");
  table.add_choice("axis", &o.style.axis, "what runs to the right");
  table.add("smooth", &o.style.smooth, between(0, 1000000),
            "records averaged for the thick line; 0: a fiftieth of the run, 1: no averaging");
}

PlottedRun read_run(const std::string& text) {
  std::filesystem::path path(text);
  if (!std::filesystem::exists(path)) throw usage_error("there is no run {}", text);
  PlottedRun run;
  if (std::filesystem::is_directory(path)) {
    const std::filesystem::path metrics = path / "metrics.jsonl";
    if (!std::filesystem::exists(metrics))
      throw usage_error("{} holds no metrics.jsonl: not a run folder", text);
    run.records = read_metrics(metrics);
  } else {
    run.records = read_metrics(path);
    path = path.parent_path();
  }
  run.name = (std::filesystem::absolute(path) / "").lexically_normal().parent_path().filename().string();
  return run;
}

int run_plot(const CommandLine& line) {
  const PlotOptions& options = line.own<PlotOptions>();
  if (options.runs.empty()) throw usage_error("heddle plot needs a run, for example heddle plot runs/gpt2");

  std::vector<PlottedRun> runs;
  std::set<std::string> names;
  for (const std::string& path : options.runs) {
    runs.push_back(read_run(path));
    if (names.insert(runs.back().name).second) continue;
    for (std::size_t i = 0; i < runs.size(); ++i)
      runs[i].name = options.runs[i];  // two of one name: say which
  }
  const int height = options.style.what == PlotWhat::both ? 1150 : 720;
  const std::string terminal = gnuplot_terminal(options.output, 1280, height) + "\n";
  run_gnuplot(terminal + plot_script(runs, options.style), options.output);
  std::cout << "wrote " << options.output << "\n";
  return kExitDone;
}

}  // namespace

Command plot_command() {
  return {.name = "plot",
          .summary = "draw loss and throughput of one or more runs",
          .arguments = "RUN...",
          .argument_key = "plot.runs",
          .sections = {},
          .examples = {"heddle plot runs/gpt2 runs/gpt2-bf16 --output compare.png"},
          .run = run_plot,
          .own = declare};
}

}  // namespace heddle
