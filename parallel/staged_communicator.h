// StagedCommunicator: collectives of ranks that share a GPU, which NCCL refuses.
//
// Tensors go through pinned host memory, a part at a time, and through the MPI communicator of the same
// ranks; so the bits are those of the CPU's collectives. Both forms block the host until the result is back
// on the device: correct and slow, for tests and for trying a layout on one GPU.
#pragma once

#include "kernels/cpu/device.h"
#include "parallel/gpu_communicator.h"

namespace heddle {

class StagedCommunicator final : public GpuCommunicator {
 public:
  StagedCommunicator(std::unique_ptr<Communicator> host, Device& device);

  void all_reduce(const Tensor& x, Reduction reduction, Stream& stream, const char* label) override;
  void all_reduce(const Tensor& x, Reduction reduction, Event& ready, Event& done,
                  const char* label) override;
  void all_gather(const Tensor& in, const Tensor& out, Stream& stream, const char* label) override;
  void all_gather(const Tensor& in, const Tensor& out, Event& ready, Event& done, const char* label) override;
  void reduce_scatter(const Tensor& in, const Tensor& out, Stream& stream, const char* label) override;
  void reduce_scatter(const Tensor& in, const Tensor& out, Event& ready, Event& done,
                      const char* label) override;
  void broadcast(const Tensor& x, int root, Stream& stream, const char* label) override;

 private:
  static constexpr std::size_t kPartBytes = std::size_t{4} << 20;  // what one rank stages at a time
  static std::int64_t part_count(DType dtype) {
    return static_cast<std::int64_t>(kPartBytes / size_of(dtype));
  }

  // The staged elements of one part: `n` of type `dtype`, of this rank or of all ranks one after the other.
  Tensor mine(DType dtype, std::int64_t n) const { return Tensor(mine_.data(), dtype, {n}); }
  Tensor all(DType dtype, std::int64_t n) const { return Tensor(all_.data(), dtype, {size() * n}); }

  Device& device_;
  std::unique_ptr<Stream> stream_;  // of the event form
  CpuStream host_stream_;
  Memory mine_, all_;  // pinned: kPartBytes, and as much for each rank
};

}  // namespace heddle
