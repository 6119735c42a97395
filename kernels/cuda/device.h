// The CUDA backend's device: one GPU, its streams and events.
#pragma once

#include <cuda_runtime.h>

#include <memory>
#include <string>

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

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int index);
  ~CudaDevice() override;

  DeviceKind kind() const override { return DeviceKind::cuda; }
  std::string description() const override;

  Memory allocate(std::size_t bytes) override;
  Memory allocate_host(std::size_t bytes) override;

  Stream& compute_stream() override { return compute_; }
  // Communication: its kernels go first, so that others wait for them as short as possible.
  std::unique_ptr<Stream> make_stream() override;
  std::unique_ptr<Event> make_event() override;

  void copy_to_device(Stream& stream, const Tensor& device, const void* host) override;
  void copy_to_host(Stream& stream, void* host, const Tensor& device) override;

  Ops& ops() override { return *ops_; }
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
  std::unique_ptr<CudaOps> ops_;
};

}  // namespace heddle
