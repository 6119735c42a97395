#include "trainer/commands/with_mpi.h"

#include <chrono>

#include "kernels/error.h"
#include "parallel/gpu_communicator.h"
#include "parallel/thread_binding.h"

namespace heddle {

int with_mpi(const CommandLine& line, const std::function<int(MpiSession&)>& body) {
  int argc = line.argc;
  char** argv = line.argv;
  const ParallelOptions& parallel = line.options.parallel;
  MpiSession::Settings settings;
  settings.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(parallel.timeout.value * 1000));
  settings.share_gpu = parallel.share_gpu;
  settings.make_gpu_communicator = &make_nccl_communicator;
  MpiSession session(&argc, &argv, settings);
  try {
    return body(session);
  } catch (const Error& failure) {
    if (session.size() == 1) throw;
    if (failure.on_all_ranks()) {
      // Said before MPI ends: mpirun kills the others as soon as one rank has exited with an error.
      if (session.rank() == 0) fmt::print(stderr, "heddle: {}\n", failure.what());
      return failure.exit_code();
    }
    session.abort(failure.what(), failure.exit_code());
  } catch (const std::bad_alloc&) {
    if (session.size() == 1) throw;
    session.abort("out of memory", kExitFailure);
  } catch (const std::exception& failure) {
    if (session.size() == 1) throw;
    session.abort(failure.what(), kExitFailure);
  }
}

namespace {

std::unique_ptr<Device> make_gpu(MpiSession& session, bool autotune) {
  if (cuda_versions().empty()) return make_cuda_device(0);  // throws, saying how to get a heddle with CUDA
  std::vector<std::string> ids;
  std::string problem;
  try {
    for (const GpuDescription& gpu : cuda_devices()) ids.push_back(gpu.id);
  } catch (const Error& e) {
    problem = e.what();
  }
  return make_cuda_device(session.assign_gpu(std::move(ids), std::move(problem)), autotune);
}

}  // namespace

std::unique_ptr<Device> make_device(const Options& options, MpiSession& session) {
  if (options.device.device == DeviceKind::cuda) return make_gpu(session, options.device.autotune);
  int threads = static_cast<int>(options.parallel.threads);
  if (threads == 0) threads = threads_per_rank(session.local_size());
  bind_threads(session.local_rank(), session.local_size(), threads);
  return make_cpu_device(threads);
}

}  // namespace heddle
