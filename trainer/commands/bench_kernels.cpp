#include "trainer/commands/bench_kernels.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <vector>

#include "kernels/error.h"
#include "kernels/plan/plan_device.h"
#include "trainer/commands/kernel_cases.h"
#include "trainer/commands/with_mpi.h"
#include "trainer/training/settings.h"
#include "trainer/format.h"

namespace heddle {

namespace {

using Clock = std::chrono::steady_clock;
using Call = std::function<void(Ops&)>;

// Operands that together exceed every cache, so that each call finds its own in memory.
constexpr std::size_t kColdBytes = std::size_t{512} << 20;
constexpr int kMostCopies = 16;

double seconds_of(const std::function<void()>& work) {
  const Clock::time_point start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Seconds of one call. The calls go in turn over copies of the operands, back to back: as a graph where the device has
// graphs, because starting a short kernel takes the host longer than the device takes to run it.
double time_call(const KernelCase& kernel_case, Device& device, double seconds) {
  std::vector<std::unique_ptr<Operands>> operands;
  std::vector<Call> calls;
  std::size_t bytes = 0;
  do {
    operands.push_back(std::make_unique<Operands>(device));
    calls.push_back(kernel_case.prepare(*operands.back()));
    bytes += operands.back()->bytes();
  } while (bytes < kColdBytes && static_cast<int>(calls.size()) < kMostCopies);

  Stream& stream = device.compute_stream();
  const auto run_all = [&] {
    for (const Call& call : calls) call(device.ops());
  };
  run_all();  // what is set up on first use
  stream.synchronize();
  std::unique_ptr<Graph> graph;
  if (device.has_graphs()) graph = device.capture(run_all);

  double best = 1e30, spent = 0;
  for (int round = 0; round < 3 || spent < seconds; ++round) {
    const double elapsed = seconds_of([&] {
      if (graph) {
        graph->launch(stream);
      } else {
        run_all();
      }
      stream.synchronize();
    });
    spent += elapsed;
    best = std::min(best, elapsed / static_cast<double>(calls.size()));
  }
  return best;
}

PlanCount work_of(const KernelCase& kernel_case, Device& device) {
  const std::unique_ptr<PlanDevice> plan = make_plan_device(&device);
  Operands operands(*plan);
  const Call call = kernel_case.prepare(operands);
  plan->reset_totals();  // of the preparation
  call(plan->ops());
  return plan->totals().all();
}

}  // namespace

int bench_kernels(const CommandLine& line, const KernelBenchOptions& bench) {
  return with_mpi(line, [&](MpiSession& session) {
    if (session.size() > 1)
      throw Error("heddle bench kernels: times one device; start it without mpirun", kExitUsage, /*on_all_ranks=*/true);
    const std::unique_ptr<Device> device = make_device(line.options, session);
    const bool gpu = device->kind() == DeviceKind::cuda;
    const DType act = act_of(line.options.train.precision);
    const std::int64_t rows = bench.rows > 0 ? bench.rows : gpu ? 16384 : 2048;
    std::vector<std::int64_t> widths = {768};
    if (bench.width > 0) {
      widths = {bench.width};
    } else if (gpu) {
      widths = {768, 1600, 4096};
    }

    const double copy = device->copy_bandwidth(bench.ceiling_seconds / 2);
    const double matmul = device->matmul_flops(act, bench.ceiling_seconds / 2);
    fmt::print("{}, {}: copy {}B/s (read + written), matmul {}FLOP/s, measured now\n", device->description(),
               name_of(act), with_si_prefix(copy), with_si_prefix(matmul));
    fmt::print("of ceiling: the time that these two rates leave at best, over the time taken\n\n");
    fmt::print("{:<13} {:<31} {:<22} {:>11} {:>9} {:>9} {:>8}\n", "family", "operation", "shape", "microsec.", "B/s",
               "FLOP/s", "ceiling");
    bool any = false;
    for (const std::int64_t width : widths)
      for (const KernelCase& kernel_case : kernel_cases(rows, width, act, device->kind())) {
        if (!bench.family.empty() && kernel_case.family != bench.family) continue;
        any = true;
        const PlanCount work = work_of(kernel_case, *device);
        const double seconds = time_call(kernel_case, *device, bench.seconds);
        const double flops = static_cast<double>(work.flops), bytes = static_cast<double>(work.bytes);
        const double least = std::max(flops / matmul, bytes / copy);
        fmt::print("{:<13} {:<31} {:<22} {:>11.1f} {:>9} {:>9} {:>8.2f}\n", kernel_case.family, kernel_case.name,
                   kernel_case.shape, seconds * 1e6, with_si_prefix(bytes / seconds),
                   flops > 0 ? with_si_prefix(flops / seconds) : "-", least / seconds);
        std::fflush(stdout);
      }
    if (!any)
      throw usage_error("bench.operations = {}: the families are matmul, attention, norm, activation, dropout, "
                        "elementwise, embedding, cross_entropy, optimizer",
                        bench.family);
    return kExitDone;
  });
}

}  // namespace heddle
