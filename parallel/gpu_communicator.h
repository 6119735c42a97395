// Collectives among ranks that compute on GPUs: what NCCL's and the staged communicator have in common.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/watchdog.h"

namespace heddle {

// One group of two or more ranks, as MpiSession hands it to what makes its communicator.
struct GpuGroup {
  std::unique_ptr<Communicator> host;  // of the same ranks, on host memory
  Device& device;                      // a CUDA device, which outlives the communicator
  // For the collectives that the GPU executes; those of `host` have their own.
  std::shared_ptr<WatchedGroup> watched;
  // Ends the job because the call that is under way in `watched` cannot end, and says why.
  std::function<void(const std::string& reason)> fail;
};

// Collectives on device memory are the derived class's; values in host memory go through the group's MPI
// communicator.
class GpuCommunicator : public Communicator {
 public:
  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  const std::string& name() const override { return host_->name(); }

  void all_reduce_host(double* values, int count, Reduction reduction, const char* label) override {
    host_->all_reduce_host(values, count, reduction, label);
  }
  void all_reduce_host(std::int64_t* values, int count, Reduction reduction, const char* label) override {
    host_->all_reduce_host(values, count, reduction, label);
  }
  std::vector<std::string> all_gather_host(const std::string& bytes, const char* label) override {
    return host_->all_gather_host(bytes, label);
  }
  void broadcast_host(std::string& bytes, int root, const char* label) override {
    host_->broadcast_host(bytes, root, label);
  }
  void barrier(const char* label) override { host_->barrier(label); }

 protected:
  explicit GpuCommunicator(std::unique_ptr<Communicator> host) : host_(std::move(host)) {}
  Communicator& host() { return *host_; }

 private:
  std::unique_ptr<Communicator> host_;
};

// Through NCCL, where each rank has a GPU of its own (parallel/nccl). Collective over the group. Throws a
// usage Error on all ranks if heddle was built without NCCL.
std::unique_ptr<Communicator> make_nccl_communicator(GpuGroup group);
// "NCCL 2.28.9"; empty if heddle was built without.
std::string nccl_version();

// Through host memory and MPI, where ranks share a GPU.
std::unique_ptr<Communicator> make_staged_communicator(std::unique_ptr<Communicator> host, Device& device);

}  // namespace heddle
