#include "parallel/mpi_session.h"

#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "kernels/error.h"
#include "parallel/affinity.h"
#include "parallel/environment.h"
#include "parallel/gpu_communicator.h"
#include "parallel/mpi_communicator.h"
#include "parallel/mpi_error.h"
#include "parallel/thread_binding.h"
#include "parallel/unique_comm.h"
#include "parallel/watchdog.h"

namespace heddle {

struct MpiSession::State {
  Settings settings;
  int rank = 0;
  int size = 1;
  int local_rank = 0;
  int local_size = 1;
  std::vector<std::string> hosts;      // by rank
  std::unique_ptr<Watchdog> watchdog;  // none for a single rank

  const std::string& host() const { return hosts[static_cast<std::size_t>(rank)]; }

  std::unique_ptr<Communicator> on_gpus(std::unique_ptr<Communicator> group, Device& device,
                                        RankRange range) {
    if (settings.share_gpu) return make_staged_communicator(std::move(group), device);
    if (!settings.make_gpu_communicator) throw error("internal: this program has no communicator for GPUs");
    const std::shared_ptr<WatchedGroup> watched = watchdog->watch(group->name(), range);
    return settings.make_gpu_communicator(
        {std::move(group), device, watched,
         [this, watched](const std::string& reason) { watchdog->fail(*watched, reason); }});
  }
};

namespace {

std::vector<std::string> gather_hosts(MPI_Comm comm, int size) {
  constexpr int kHostBytes = 64;
  char name[MPI_MAX_PROCESSOR_NAME + 1] = "";
  int length = 0;
  mpi_check(MPI_Get_processor_name(name, &length), "MPI_Get_processor_name");
  name[std::min(length, kHostBytes - 1)] = '\0';
  std::vector<char> all(static_cast<std::size_t>(size) * kHostBytes);
  mpi_check(MPI_Allgather(name, kHostBytes, MPI_CHAR, all.data(), kHostBytes, MPI_CHAR, comm),
            "MPI_Allgather");
  std::vector<std::string> hosts;
  for (int rank = 0; rank < size; ++rank)
    hosts.emplace_back(&all[static_cast<std::size_t>(rank) * kHostBytes]);
  return hosts;
}

std::vector<cpu_set_t> gather_masks(const UniqueComm& local) {
  std::vector<cpu_set_t> masks(static_cast<std::size_t>(local.size()));
  mpi_check(MPI_Allgather(&process_cores(), sizeof(cpu_set_t), MPI_BYTE, masks.data(), sizeof(cpu_set_t),
                          MPI_BYTE, local.get()),
            "MPI_Allgather");
  return masks;
}

void start_mpi(int* argc, char*** argv) {
  int provided = MPI_THREAD_SINGLE;
  mpi_check(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_MULTIPLE) {
    MPI_Finalize();
    throw error(
        "this MPI library has no support for threads (MPI_THREAD_MULTIPLE), which heddle's communicators "
        "need; "
        "use an MPI built with it");
  }
  mpi_check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  mpi_check(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

std::string possible_layouts(int ranks) {
  std::string text;
  for (int tensor = 1; tensor <= ranks; ++tensor)
    if (ranks % tensor == 0) text += fmt::format("{}{}x{}", tensor > 1 ? ", " : "", ranks / tensor, tensor);
  return text;
}

}  // namespace

MpiSession::MpiSession(int* argc, char*** argv, Settings settings) : state_(std::make_unique<State>()) {
  start_mpi(argc, argv);
  State& s = *state_;
  s.settings = settings;
  MPI_Comm_rank(MPI_COMM_WORLD, &s.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &s.size);
  if (s.size == 1 && environment_size() > 1) {
    MPI_Finalize();
    throw error(
        "{} processes were started but MPI put each into a world of its own: start them with mpirun, or with "
        "srun --mpi=pmix",
        environment_size());
  }
  s.hosts = gather_hosts(MPI_COMM_WORLD, s.size);
  {
    const UniqueComm local = UniqueComm::split_by_host(MPI_COMM_WORLD);
    s.local_rank = local.rank();
    s.local_size = local.size();
    set_rank_cores(share_of_cores(gather_masks(local), s.local_rank));
  }
  if (s.size > 1)
    s.watchdog = std::make_unique<Watchdog>(UniqueComm::duplicate(MPI_COMM_WORLD), s.hosts, settings.timeout);
}

MpiSession::~MpiSession() {
  const auto origin = fmt::format("rank {} (host {})", state_->rank, state_->host());
  try {
    // MPI_Finalize waits for all ranks without a limit and without a watchdog: first see that all are here.
    // When an exception brought this rank here alone, the others will not come.
    std::optional<std::chrono::milliseconds> limit;
    if (std::uncaught_exceptions() > 0) limit = std::chrono::seconds(5);
    if (state_->watchdog && !state_->watchdog->finish(limit))
      end_job(origin + ": ends after an error while other ranks go on", kExitFailure);
    state_->watchdog.reset();
    MPI_Finalize();
  } catch (const std::exception& e) {
    end_job(fmt::format("{}: {}", origin, e.what()), kExitFailure);
  }
}

int MpiSession::rank() const {
  return state_->rank;
}
int MpiSession::size() const {
  return state_->size;
}
int MpiSession::local_rank() const {
  return state_->local_rank;
}
int MpiSession::local_size() const {
  return state_->local_size;
}
std::string MpiSession::host() const {
  return state_->host();
}

std::string MpiSession::library_version() const {
  return mpi_library_version();
}

int MpiSession::assign_gpu(std::vector<std::string> visible_ids, std::string problem) {
  State& s = *state_;
  std::vector<VisibleGpus> ranks(static_cast<std::size_t>(s.size));
  ranks[static_cast<std::size_t>(s.rank)] = {s.host(), std::move(visible_ids), std::move(problem)};
  if (s.size > 1) {
    const auto world =
        make_mpi_communicator(UniqueComm::duplicate(MPI_COMM_WORLD), "world", s.settings.shared_memory,
                              s.watchdog->watch("world", {0, 1, s.size}));
    const auto all =
        world->all_gather_host(to_bytes(ranks[static_cast<std::size_t>(s.rank)]), "visible GPUs");
    std::transform(all.begin(), all.end(), ranks.begin(), visible_gpus_from);
  }
  return assign_gpus(ranks, s.settings.share_gpu)[static_cast<std::size_t>(s.rank)];
}

std::unique_ptr<Mesh> MpiSession::make_mesh(Layout layout, Device& device) {
  State& s = *state_;
  const std::int64_t ranks = std::int64_t{layout.data_parallel} * layout.tensor_parallel;
  if (layout.data_parallel < 1 || layout.tensor_parallel < 1 || ranks != s.size)
    throw Error(fmt::format("data x tensor parallel = {}x{} does not fit {} rank{}: possible are {}",
                            layout.data_parallel, layout.tensor_parallel, s.size, s.size == 1 ? "" : "s",
                            possible_layouts(s.size)),
                kExitUsage, /*on_all_ranks=*/true);
  if (device.kind() == DeviceKind::plan) return make_plan_mesh(layout, s.rank);
  const int data_rank = s.rank / layout.tensor_parallel, tensor_rank = s.rank % layout.tensor_parallel;
  const auto make = [&](const char* name, UniqueComm comm, RankRange range) -> std::unique_ptr<Communicator> {
    if (range.size == 1) return make_self_communicator(name, device);
    auto host = make_mpi_communicator(std::move(comm), name, s.settings.shared_memory,
                                      s.watchdog->watch(name, range));
    return device.kind() == DeviceKind::cpu ? std::move(host) : s.on_gpus(std::move(host), device, range);
  };
  auto world = make("world", UniqueComm::duplicate(MPI_COMM_WORLD), {0, 1, s.size});
  auto data = make("data", UniqueComm::split(MPI_COMM_WORLD, tensor_rank, s.rank),
                   {tensor_rank, layout.tensor_parallel, layout.data_parallel});
  auto tensor = make("tensor", UniqueComm::split(MPI_COMM_WORLD, data_rank, s.rank),
                     {data_rank * layout.tensor_parallel, 1, layout.tensor_parallel});
  return std::make_unique<Mesh>(layout, s.rank, std::move(world), std::move(data), std::move(tensor));
}

void MpiSession::set_progress(std::int64_t step, const char* activity) {
  if (state_->watchdog) state_->watchdog->set_progress(step, activity);
}

void MpiSession::abort(const std::string& message, int exit_code) {
  const std::string text = fmt::format("rank {} (host {}): {}", state_->rank, state_->host(), message);
  if (state_->watchdog) state_->watchdog->abort(text, exit_code);
  std::fflush(stdout);
  std::fprintf(stderr, "heddle: %s\n", text.c_str());
  MPI_Finalize();  // alone: nobody to wait for, and no complaint of mpirun about an abort
  std::_Exit(exit_code);
}

}  // namespace heddle
