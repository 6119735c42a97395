// The host as a device: memory with huge pages, streams that are always idle, events that only a
// communicator's thread completes later.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <string>

#include "kernels/device.h"

namespace heddle {

// A flag that host threads wait for. Ready when created; a communicator begins it, works on another thread,
// and completes (or fails) it.
class CpuEvent final : public Event {
 public:
  bool ready() const override { return state_.load(std::memory_order_acquire) != kPending; }
  // Spins shortly, then sleeps. Rethrows what fail() was given.
  void synchronize() override;

  void begin();     // pending from now on
  void complete();  // ready; wakes the waiters
  void fail(
      std::exception_ptr reason);  // over, but every synchronize() until the next begin() throws `reason`
  // Somebody is blocked in synchronize(): whoever works towards complete() should hurry.
  bool awaited() const { return waiters_.load(std::memory_order_relaxed) > 0; }

 private:
  static constexpr int kReady = 0, kPending = 1, kFailed = 2;
  void finish(int state);

  std::atomic<int> state_{kReady};
  std::atomic<int> waiters_{0};
  std::exception_ptr reason_;  // written before state_ becomes kFailed
};

// Operations run at once on the calling thread, so nothing is ever queued here.
class CpuStream final : public Stream {
 public:
  void record(Event& event) override;  // a CpuEvent
  void wait(Event& event) override { event.synchronize(); }
  void synchronize() override {}
};

// See make_cpu_device() in kernels/device.h.
class CpuDevice final : public Device {
 public:
  explicit CpuDevice(int threads);
  ~CpuDevice() override;

  DeviceKind kind() const override { return DeviceKind::cpu; }
  std::string description() const override;
  int threads() const { return threads_; }

  // Touched by all threads, so that on a host with several memory nodes each thread's share is near it, and
  // so that what was promised is there. Large blocks use huge pages where the system has them.
  Memory allocate(std::size_t bytes) override;
  Memory allocate_host(std::size_t bytes) override { return allocate(bytes); }

  Stream& compute_stream() override { return stream_; }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<CpuStream>(); }
  std::unique_ptr<Event> make_event() override { return std::make_unique<CpuEvent>(); }

  void copy_to_device(Stream& stream, const Tensor& device, const void* host) override;
  void copy_to_host(Stream& stream, void* host, const Tensor& device) override;

  void copy_on_device(Stream& stream, const Tensor& from, const Tensor& to) override;

  Ops& ops() override;

  double matmul_flops(DType act, double seconds) override;
  double copy_bandwidth(double seconds) override;

 private:
  int threads_;
  CpuStream stream_;
  std::unique_ptr<Ops> ops_;  // made by the first ops()
};

// Cores in this process's affinity mask.
int allowed_cores();

}  // namespace heddle
