// Jobs that go wrong, for failures_driver.cpp: failing <case> [--messages | --cuda | --share-gpu]. One group
// of all ranks, a timeout of 3 s.
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "kernels/error.h"
#include "parallel/gpu_communicator.h"
#include "parallel/mpi_session.h"

namespace heddle {
namespace {

struct Job {
  MpiSession& session;
  Device& device;
  Mesh& mesh;
  Memory memory = device.allocate(4000);
  int rank = session.rank();
  int last = session.size() - 1;

  Tensor values(std::int64_t count = 1000) const { return Tensor(memory.data(), DType::f32, {count}); }
  void all_reduce(const char* label, std::int64_t count = 1000) {
    mesh.world().all_reduce(values(count), Reduction::sum, device.compute_stream(), label);
    device.compute_stream().synchronize();
  }
  void step(int number) {
    session.set_progress(number, "forward");
    all_reduce("activations");
    session.set_progress(number, "backward");
    all_reduce("gradients");
    std::this_thread::sleep_for(
        std::chrono::milliseconds(300));  // so that the heartbeats of each step arrive
  }
  [[noreturn]] void sleep_forever() {
    // A GPU finishes what is queued by itself; an emulated one when its host asks.
    const auto queued = device.make_event();
    for (;;) {
      device.compute_stream().record(*queued);
      queued->ready();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
};

int culprit_of(const std::string& what, int last) {
  return what.find("-first") != std::string::npos ? 0 : last;
}

void run(Job& job, const std::string& what) {
  const int culprit = culprit_of(what, job.last);
  for (int step = 1; step <= 3; ++step) job.step(step);
  if (what.starts_with("stop")) {
    if (job.rank == culprit) std::raise(SIGSTOP);
    job.step(4);
  } else if (what == "absent") {
    job.session.set_progress(4, "saving checkpoint");
    if (job.rank == culprit) job.sleep_forever();
    job.all_reduce("gradients");
  } else if (what == "mismatch-label") {
    job.all_reduce(job.rank == culprit ? "loss" : "gradients");
  } else if (what == "mismatch-count") {
    job.all_reduce("gradients", job.rank == culprit ? 10 : 1000);
  } else if (what == "mismatch-kind") {
    if (job.rank == culprit) job.mesh.world().barrier("gradients");
    job.all_reduce("gradients");
  } else if (what == "background") {
    // Blocked in an event instead of in the call.
    auto ready = job.device.make_event(), done = job.device.make_event();
    if (job.rank == culprit) std::raise(SIGSTOP);
    job.mesh.world().all_reduce(job.values(), Reduction::sum, *ready, *done, "bucket");
    done->synchronize();
  } else if (what == "graph") {
    // Blocked in the second call of a graph that has run before.
    const auto graph = job.device.capture([&] {
      for (const char* label : {"activations", "gradients"})
        job.mesh.world().all_reduce(job.values(), Reduction::sum, job.device.compute_stream(), label);
    });
    graph->launch(job.device.compute_stream());
    job.device.compute_stream().synchronize();
    job.session.set_progress(4, "backward");
    if (job.rank == culprit) {
      job.all_reduce("activations");  // as the graph's first call
      job.sleep_forever();
    }
    graph->launch(job.device.compute_stream());
    job.device.compute_stream().synchronize();
  } else if (what == "chain") {
    // Layout 2x2, the last rank stops. Rank 0 waits for rank 1 or 2, and those for the last.
    const auto grid = job.session.make_mesh({2, 2}, job.device);
    if (job.rank == culprit) std::raise(SIGSTOP);
    Stream& stream = job.device.compute_stream();
    if (job.rank == 1) grid->data().all_reduce(job.values(), Reduction::sum, stream, "gradients");
    grid->tensor().all_reduce(job.values(), Reduction::sum, stream, "activations");
    stream.synchronize();
  } else if (what == "no-end") {
    if (job.rank == culprit) job.sleep_forever();
  } else if (what == "error-on-one") {
    if (job.rank == culprit) throw usage_error("option --x is wrong");
    job.step(4);
  } else if (what == "error-on-all") {
    throw error("the data is gone");
  } else if (what == "killed") {
    if (job.rank == culprit) std::raise(SIGKILL);
    job.step(4);
  } else if (what == "slow") {
    // Late, but within the timeout: no failure.
    if (job.rank == culprit) std::this_thread::sleep_for(std::chrono::seconds(2));
    job.step(4);
  }
}

std::unique_ptr<Device> make_device(MpiSession& session, bool on_gpu) {
  if (!on_gpu) return make_cpu_device(1);
  std::vector<std::string> ids;
  for (const GpuDescription& gpu : cuda_devices()) ids.push_back(gpu.id);
  return make_cuda_device(session.assign_gpu(ids, ""));
}

}  // namespace
}  // namespace heddle

int main(int argc, char** argv) {
  using namespace heddle;
  const std::string what = argc > 1 ? argv[1] : "", how = argc > 2 ? argv[2] : "";
  MpiSession::Settings settings;
  settings.timeout = std::chrono::seconds(3);
  settings.shared_memory = how != "--messages";
  settings.share_gpu = how == "--share-gpu";
  settings.make_gpu_communicator = &make_nccl_communicator;
  MpiSession session(&argc, &argv, settings);
  const auto run_on_all = [&](auto body) {
    const auto device = make_device(session, how == "--cuda" || how == "--share-gpu");
    const auto mesh = session.make_mesh({session.size(), 1}, *device);
    Job job{session, *device, *mesh};
    body(job);
  };
  if (what == "unwound") {  // as an error, but nobody calls abort(): the session's end must not hang
    try {
      run_on_all([](Job& job) {
        if (job.rank == job.last) throw error("alone");
        job.step(1);
      });
    } catch (const Error&) {
      return 1;
    }
  }
  try {
    run_on_all([&](Job& job) { run(job, what); });
  } catch (const Error& e) {
    session.abort(e.what(), e.exit_code());
  }
  return 0;
}
