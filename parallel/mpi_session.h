// MPI as heddle uses it: start, meshes, the watchdog, and an end that never hangs.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "parallel/gpu_assignment.h"
#include "parallel/mesh.h"

namespace heddle {

struct GpuGroup;

// Started once at the top of main's command, after the options are known to be good.
// Refuses N singletons: a world of one rank although SLURM_NTASKS or OMPI_COMM_WORLD_SIZE say there are more.
class MpiSession {
 public:
  struct Settings {
    std::chrono::milliseconds timeout{
        std::chrono::minutes(10)};  // a collective that takes longer ends the job
    bool shared_memory =
        true;  // groups on one host exchange through shared memory; false: always by MPI messages
    bool share_gpu = false;  // several ranks may use one GPU; they exchange through host memory
    // How ranks on GPUs of their own exchange: make_nccl_communicator (gpu_communicator.h). Null: they cannot.
    std::unique_ptr<Communicator> (*make_gpu_communicator)(GpuGroup group) = nullptr;
  };

  MpiSession(int* argc, char*** argv, Settings settings);
  ~MpiSession();  // MPI_Finalize; after an exception on one rank only, use abort()
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  int rank() const;
  int size() const;
  int local_rank() const;  // among the ranks of this host
  int local_size() const;
  std::string host() const;
  std::string library_version() const;  // "Open MPI 4.1.4"

  // Which of the GPUs that this rank sees is its own. Collective: ranks tell each other what they see, so that a rank
  // whose launcher shows it one GPU takes that, and ranks that see the same ones take different ones. Throws a usage
  // Error on all ranks if a rank sees none, or if ranks would have to share one without Settings::share_gpu.
  int assign_gpu(std::vector<std::string> visible_ids, std::string problem);

  // data_parallel * tensor_parallel must be size(); a usage Error on all ranks names the layouts that work.
  std::unique_ptr<Mesh> make_mesh(Layout layout, Device& device);

  // What the watchdog reports of this rank: the step and the activity it is in ("forward", "saving
  // checkpoint"). `activity` is a literal or otherwise outlives the session.
  void set_progress(std::int64_t step, const char* activity);

  // Prints "heddle: rank R (HOST): message" once and ends all ranks with `exit_code`.
  [[noreturn]] void abort(const std::string& message, int exit_code);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The rank mpirun, PMIx or Slurm gave this process, before MPI is started; 0 outside of them.
int environment_rank();
int environment_size();

}  // namespace heddle
