// The CUDA backend's device: one GPU, its streams and events.
#pragma once

#include <cuda_runtime.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/device.h"

namespace heddle {

class CudaEvent final : public Event {
 public:
  CudaEvent();
  ~CudaEvent() override;
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;

  bool ready() const override;
  void synchronize() override;
  cudaEvent_t handle() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

class CudaStream final : public Stream {
 public:
  enum class Priority { normal, high };

  explicit CudaStream(Priority priority);
  ~CudaStream() override;
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  void record(Event& event) override;
  void wait(Event& event) override;
  void synchronize() override;
  cudaStream_t handle() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// Whoever queues work on a stream of its own and takes part in a capture with it; belongs to the graph then. The order of
// that stream's work goes on through the graph: a launch waits for what the stream has, and the stream for the launch.
class GraphGuest {
 public:
  virtual ~GraphGuest() = default;
  virtual void join(Stream& compute) = 0;  // the capture ends: `compute` is to wait for the stream
  virtual void before_launch(Stream& launched_on) = 0;
  virtual void after_launch(Stream& launched_on) = 0;
};

class CudaGraph final : public Graph {
 public:
  // Takes over `captured`.
  CudaGraph(cudaGraph_t captured, std::vector<std::unique_ptr<GraphGuest>> guests);
  ~CudaGraph() override;
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  void launch(Stream& stream) override;
  std::size_t node_count() const override { return node_count_; }

 private:
  cudaGraphExec_t executable_ = nullptr;
  std::size_t node_count_ = 0;
  std::vector<std::unique_ptr<GraphGuest>> guests_;
};

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int index);
  ~CudaDevice() override;

  DeviceKind kind() const override { return DeviceKind::cuda; }
  std::string description() const override;

  Memory allocate(std::size_t bytes) override;
  Memory allocate_host(std::size_t bytes) override;
  MemoryUse memory_use() const override;

  Stream& compute_stream() override { return compute_; }
  // Communication: its kernels go first, so that others wait for them as short as possible.
  std::unique_ptr<Stream> make_stream() override;
  std::unique_ptr<Event> make_event() override;

  void copy_to_device(Stream& stream, const Tensor& device, const void* host) override;
  void copy_to_host(Stream& stream, void* host, const Tensor& device) override;

  void copy_on_device(Stream& stream, const Tensor& from, const Tensor& to) override;

  Ops& ops() override { return *ops_; }
  CudaOps& cuda_ops() { return *ops_; }

  std::unique_ptr<TimeMark> make_time_mark() override;
  bool asynchronous() const override { return true; }
  bool has_graphs() const override { return true; }
  std::unique_ptr<Graph> capture(const std::function<void()>& body) override;
  // The number of the capture under way, from 1; 0: none.
  int capture_number() const { return capturing_ ? captures_ : 0; }
  void join_capture(std::unique_ptr<GraphGuest> guest);  // of the capture under way

  double matmul_flops(DType act, double seconds) override;  // ceiling.cpp
  double copy_bandwidth(double seconds) override;           // ceiling.cpp

  int index() const { return index_; }

 private:
  // Makes the GPU the thread's own before anything is created on it.
  struct Selected {
    explicit Selected(int index);
  };

  const int index_;
  const Selected selected_;
  cudaDeviceProp properties_{};
  CudaStream compute_;
  // Bytes given out; shared with the memory, which may be released after the device.
  std::shared_ptr<std::size_t> allocated_ = std::make_shared<std::size_t>(0);
  std::unique_ptr<CudaOps> ops_;

  std::vector<std::unique_ptr<GraphGuest>> end_capture();

  bool capturing_ = false;
  int captures_ = 0;
  std::vector<std::unique_ptr<GraphGuest>> guests_;  // of the capture under way
};

}  // namespace heddle
