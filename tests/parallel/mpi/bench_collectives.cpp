// Time of collectives by size: mpirun -n N bench_collectives [--messages]. Columns as nccl-tests: algbw =
// bytes / time, busbw = algbw times the share of the bytes that a rank must send. The best of several rounds.
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

#include "kernels/error.h"
#include "parallel/collective.h"
#include "parallel/mpi_session.h"

namespace heddle {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <typename Call>
double best_time(Communicator& group, std::int64_t bytes, Call call) {
  const int repeat = static_cast<int>(
      std::clamp<std::int64_t>((std::int64_t{16} << 20) / std::max<std::int64_t>(bytes, 1), 2, 200));
  double best = 1e9;
  for (int round = 0; round < 8; ++round) {
    group.barrier("round");
    const double start = seconds();
    for (int i = 0; i < repeat; ++i) call();
    double time = (seconds() - start) / repeat;
    group.all_reduce_host(&time, 1, Reduction::max, "time");
    best = std::min(best, time);
  }
  return best;
}

void row(const char* name, std::int64_t bytes, double time, double share) {
  const double algorithm = static_cast<double>(bytes) / time / 1e9;
  std::printf("%-16s %12lld %10.1f %8.2f %8.2f\n", name, static_cast<long long>(bytes), time * 1e6, algorithm,
              algorithm * share);
}

void run(MpiSession& session) {
  const auto device = make_cpu_device(1);
  const auto mesh = session.make_mesh({session.size(), 1}, *device);
  Communicator& world = mesh->world();
  Stream& stream = device->compute_stream();
  const bool speaks = session.rank() == 0;
  const double n = session.size();
  if (speaks) std::printf("%-16s %12s %10s %8s %8s\n", "collective", "bytes", "us", "algbw", "busbw");
  for (std::int64_t bytes = 64; bytes <= (std::int64_t{100} << 20); bytes *= 8) {
    const Memory memory = device->allocate(static_cast<std::size_t>(bytes));
    const Tensor f32(memory.data(), DType::f32, {bytes / 4}), bf16(memory.data(), DType::bf16, {bytes / 2});
    const std::int64_t share = bytes / 4 / session.size();
    const Tensor whole = f32.slice(0, 0, share * session.size());
    const Tensor mine = f32.slice(0, share * session.rank(), share * (session.rank() + 1));
    double t = best_time(world, bytes, [&] { world.all_reduce(f32, Reduction::sum, stream, "f32"); });
    if (speaks) row("all_reduce f32", bytes, t, 2 * (n - 1) / n);
    t = best_time(world, bytes, [&] { world.all_reduce(bf16, Reduction::sum, stream, "bf16"); });
    if (speaks) row("all_reduce bf16", bytes, t, 2 * (n - 1) / n);
    t = best_time(world, bytes, [&] { world.reduce_scatter(whole, mine, stream, "f32"); });
    if (speaks) row("reduce_scatter", bytes, t, (n - 1) / n);
    t = best_time(world, bytes, [&] { world.all_gather(mine, whole, stream, "f32"); });
    if (speaks) row("all_gather", bytes, t, (n - 1) / n);
    t = best_time(world, bytes, [&] {
      MPI_Allreduce(MPI_IN_PLACE, f32.data, static_cast<int>(bytes / 4), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    });
    if (speaks) row("MPI_Allreduce", bytes, t, 2 * (n - 1) / n);
  }
}

}  // namespace
}  // namespace heddle

int main(int argc, char** argv) {
  using namespace heddle;
  MpiSession::Settings settings;
  settings.shared_memory = argc < 2 || std::strcmp(argv[1], "--messages") != 0;
  MpiSession session(&argc, &argv, settings);
  try {
    run(session);
  } catch (const Error& e) {
    session.abort(e.what(), e.exit_code());
  }
}
