#include "trainer/commands/with_mpi.h"

#include <chrono>

#include "kernels/error.h"
#include "parallel/thread_binding.h"

namespace heddle {

int with_mpi(const CommandLine& line, const std::function<int(MpiSession&)>& body) {
  int argc = line.argc;
  char** argv = line.argv;
  const double timeout = line.options.parallel.timeout.value;
  MpiSession session(&argc, &argv, {std::chrono::milliseconds(static_cast<std::int64_t>(timeout * 1000))});
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

std::unique_ptr<Device> make_device(const Options& options, const MpiSession& session) {
  if (options.device.device != DeviceKind::cpu)
    throw Error("device = cuda: this heddle was built for CPUs only", kExitUsage, /*on_all_ranks=*/true);
  int threads = static_cast<int>(options.parallel.threads);
  if (threads == 0) threads = threads_per_rank(session.local_size());
  bind_threads(session.local_rank(), session.local_size(), threads);
  return make_cpu_device(threads);
}

}  // namespace heddle
