// Communicator: collectives among the ranks of one mesh group, on device memory.
//
// Every collective comes in two forms:
//   - on a stream: it starts after the work already queued there, and later work on that stream sees its result
//     (tensor parallelism: the next layer needs the sum);
//   - between two events: it starts when `ready` is, runs beside the computation, and `done` becomes ready when
//     the result is there (gradient buckets under the backward).
// All ranks of the group call the same collectives in the same order with the same counts; `label` names the call
// in the watchdog's report. Tensors are contiguous. Sums are handed to all ranks, so every rank holds the same bits,
// and a repeated run does too. They are formed in rank order in f32, except by NCCL, which adds in its own order and
// rounds bf16 after every addition.
//
// Implementations: SelfCommunicator (one rank), MpiCommunicator (host memory), NcclCommunicator (a GPU per rank),
// StagedCommunicator (ranks that share a GPU), and the PlanCommunicator, which only counts bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/tensor.h"

namespace heddle {

enum class Reduction { sum, max };

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual const std::string& name() const = 0;  // "data", "tensor", "world"

  // Collectives on streams and events may be recorded in a graph.
  virtual bool capturable() const { return false; }

  // In place: x = reduction over the ranks. f32, bf16 (summed in f32, rounded once), i32 or f64.
  virtual void all_reduce(const Tensor& x, Reduction reduction, Stream& stream, const char* label) = 0;
  virtual void all_reduce(const Tensor& x, Reduction reduction, Event& ready, Event& done, const char* label) = 0;
  // out [size * n] = the ranks' `in` [n], in rank order. in may be its own slice of out.
  virtual void all_gather(const Tensor& in, const Tensor& out, Stream& stream, const char* label) = 0;
  virtual void all_gather(const Tensor& in, const Tensor& out, Event& ready, Event& done, const char* label) = 0;
  // out [n] = this rank's slice of the sum of the ranks' `in` [size * n]. out may be its own slice of in.
  virtual void reduce_scatter(const Tensor& in, const Tensor& out, Stream& stream, const char* label) = 0;
  virtual void reduce_scatter(const Tensor& in, const Tensor& out, Event& ready, Event& done,
                              const char* label) = 0;
  virtual void broadcast(const Tensor& x, int root, Stream& stream, const char* label) = 0;

  // Small values in host memory, blocking: decisions, statistics, error codes.
  virtual void all_reduce_host(double* values, int count, Reduction reduction, const char* label) = 0;
  virtual void all_reduce_host(std::int64_t* values, int count, Reduction reduction, const char* label) = 0;
  // The bytes of every rank, in rank order (each rank may send a different length).
  virtual std::vector<std::string> all_gather_host(const std::string& bytes, const char* label) = 0;
  virtual void broadcast_host(std::string& bytes, int root, const char* label) = 0;
  virtual void barrier(const char* label) = 0;
};

// One rank: every collective is the identity on the device's memory. The device outlives it.
std::unique_ptr<Communicator> make_self_communicator(std::string name, Device& device);

}  // namespace heddle
