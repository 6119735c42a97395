// What a backend is: memory, streams and events. The operations it offers are in ops.h.
//
// The rules every caller keeps, so that the same trainer runs on a CPU and on a GPU:
//   - Device memory is only touched by operations and by copy_*; host code never dereferences Tensor::data of
//     device memory.
//   - Work on a stream runs in order and possibly later; the host learns that it is done from an event.
//   - Nothing is allocated inside a training step.
// On the CPU, operations run at once on the calling thread, so a stream is always idle when a call returns; only
// a communicator's thread completes events later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/tensor.h"

namespace heddle {

class Ops;
class Trace;

// A point in a stream's work. Created once and recorded again each step.
class Event {
 public:
  virtual ~Event() = default;
  virtual bool ready() const = 0;     // everything before the last record() is done
  virtual void synchronize() = 0;     // the host waits until ready()
};

class Stream {
 public:
  virtual ~Stream() = default;
  virtual void record(Event& event) = 0;  // the event becomes ready when the work queued so far is done
  virtual void wait(Event& event) = 0;    // later work on this stream starts after the event is ready
  virtual void synchronize() = 0;         // the host waits for all queued work
};

// A point in a stream's work whose time can be read: what traces are made of.
class TimeMark {
 public:
  virtual ~TimeMark() = default;
  virtual void record(Stream& stream) = 0;
  // Both have been passed: the stream has been synchronized since.
  virtual double seconds_since(const TimeMark& earlier) const = 0;
};

// Owned device (or pinned host) memory, released when the object dies. 64-byte aligned at least.
class Memory {
 public:
  Memory() = default;
  Memory(void* data, std::size_t bytes, std::function<void(void*)> release)
      : data_(data, std::move(release)), bytes_(bytes) {}
  void* data() const { return data_.get(); }
  std::size_t bytes() const { return bytes_; }

 private:
  std::unique_ptr<void, std::function<void(void*)>> data_{nullptr, [](void*) {}};
  std::size_t bytes_ = 0;
};

// Work that was recorded by Device::capture() and starts with one call. Runs on the memory, with the sizes and by the
// communicators it was recorded with, all of which must outlive it; what changes between launches is read from device
// memory.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual void launch(Stream& stream) = 0;  // queues the whole of it, once
  virtual std::size_t node_count() const = 0;
};

enum class DeviceKind {
  cpu,   // oneDNN and heddle's own kernels on the host
  cuda,  // one NVIDIA GPU
  plan,  // computes nothing: counts memory, FLOPs and traffic of what would have run
};

const char* name_of(DeviceKind kind);

class Device {
 public:
  virtual ~Device() = default;
  virtual DeviceKind kind() const = 0;
  virtual std::string description() const = 0;  // "AMD EPYC, 2 threads" or "NVIDIA H200 139 GiB"
  virtual int threads() const { return 1; }     // host threads that the operations use

  // Zero-filled memory. Throws Error with the size asked for and what is free when there is not enough.
  virtual Memory allocate(std::size_t bytes) = 0;
  // Host memory the device can copy from and to asynchronously.
  virtual Memory allocate_host(std::size_t bytes) = 0;

  // Memory of the device: what allocate() of this process has given out, and what is taken in all. Zeros where the
  // device is the host, whose memory the operating system counts.
  struct MemoryUse {
    std::size_t allocated = 0, taken = 0;
  };
  virtual MemoryUse memory_use() const { return {}; }

  virtual Stream& compute_stream() = 0;
  virtual std::unique_ptr<Stream> make_stream() = 0;
  virtual std::unique_ptr<Event> make_event() = 0;  // starts ready

  // Asynchronous on `stream`; host memory must stay valid until the stream has passed. Contiguous tensors.
  virtual void copy_to_device(Stream& stream, const Tensor& device, const void* host) = 0;
  virtual void copy_to_host(Stream& stream, void* host, const Tensor& device) = 0;
  // Equal types and counts; the two do not overlap.
  virtual void copy_on_device(Stream& stream, const Tensor& from, const Tensor& to) = 0;

  virtual std::unique_ptr<TimeMark> make_time_mark();
  // Where spans of time are recorded while somebody wants to know (trace.h); usually null.
  virtual Trace* trace() { return nullptr; }

  // Operations run beside the host, which therefore learns of their results later.
  virtual bool asynchronous() const { return false; }

  // The operations, queued on compute_stream().
  virtual Ops& ops() = 0;

  // Records what `body` queues on compute_stream() instead of running it, together with what it queues on streams that
  // wait for an event of compute_stream() and that compute_stream() waits for in the end. `body` must not wait on the
  // host, and events recorded in it are waited for in it. An exception of `body` ends the recording and passes on.
  // Only where has_graphs().
  virtual bool has_graphs() const { return false; }
  virtual std::unique_ptr<Graph> capture(const std::function<void()>& body);

  // What this device reaches when it does nothing else, measured in about `seconds`:
  // FLOP/s (2 per multiply-add) of the best square product of random f32 or bf16 matrices with f32 sums, the ceiling
  // that a training's FLOP/s are compared with;
  virtual double matmul_flops(DType act, double seconds) = 0;
  // bytes/s, read and written both counted, of a copy in device memory that no cache holds.
  virtual double copy_bandwidth(double seconds) = 0;
};

// A GPU that this process sees.
struct GpuDescription {
  std::string name;  // "NVIDIA H200"
  std::string id;    // the same for every process of the host that sees this GPU, and for no other GPU of it
  std::size_t memory_bytes = 0;
  int compute_capability = 0;  // 80, 90, ...
};

// Those this process sees, by index; empty: there is none. Throws Error if CUDA cannot be used at all: heddle was built
// without it, or there is no driver.
std::vector<GpuDescription> cuda_devices();
// "CUDA 13.0, driver for CUDA 13.0, cuBLASLt 13.1.0"; empty if heddle was built without CUDA. Never throws.
std::string cuda_versions();

// The CUDA backend on GPU number `index` of this host, which becomes the calling thread's. Throws Error saying why if
// there is no such GPU, no driver, or heddle was built without CUDA.
// `autotune`: cuBLASLt's algorithms are timed on first use of a shape, which may choose others in another run and so
// give other bits; otherwise its first proposal is taken.
std::unique_ptr<Device> make_cuda_device(int index, bool autotune = false);

// The CPU backend with `threads` OpenMP threads (0: as many as this process may run on).
std::unique_ptr<Device> make_cpu_device(int threads);

}  // namespace heddle
