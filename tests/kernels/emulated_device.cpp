#include "tests/kernels/emulated_device.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "kernels/cuda/cuda_ops.h"
#include "tests/emulator/grid.h"

namespace heddle::test {

namespace {

// Kernels run when they are launched: everything is always done.
class FinishedEvent final : public Event {
 public:
  bool ready() const override { return true; }
  void synchronize() override {}
};

class FinishedStream final : public Stream {
 public:
  void record(Event&) override {}
  void wait(Event&) override {}
  void synchronize() override {}
};

Memory zeros(std::size_t bytes) {
  constexpr std::size_t kAlignment = 256;  // cudaMalloc's
  void* start = std::calloc(bytes + kAlignment, 1);
  if (!start) throw std::bad_alloc();
  const auto address = (reinterpret_cast<std::uintptr_t>(start) + kAlignment - 1) / kAlignment * kAlignment;
  return Memory(reinterpret_cast<void*>(address), bytes, [start](void*) { std::free(start); });
}

class EmulatedDevice final : public Device {
 public:
  DeviceKind kind() const override { return DeviceKind::cuda; }
  std::string description() const override { return "emulated GPU"; }

  Memory allocate(std::size_t bytes) override { return zeros(bytes); }
  Memory allocate_host(std::size_t bytes) override { return zeros(bytes); }

  Stream& compute_stream() override { return stream_; }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<FinishedStream>(); }
  std::unique_ptr<Event> make_event() override { return std::make_unique<FinishedEvent>(); }

  void copy_to_device(Stream&, const Tensor& device, const void* host) override {
    if (device.count() > 0) std::memcpy(device.data, host, device.bytes());
  }
  void copy_to_host(Stream&, void* host, const Tensor& device) override {
    if (device.count() > 0) std::memcpy(host, device.data, device.bytes());
  }

  Ops& ops() override { return ops_; }

 private:
  static constexpr cuda::GpuFacts kFacts{.multiprocessors = 3,
                                         .compute_capability = 90,
                                         .shared_memory_per_block = emulator::kMaxSharedBytes};
  FinishedStream stream_;
  CudaOps ops_{nullptr, kFacts, zeros(CudaOps::kScratchBytes)};
};

}  // namespace

std::unique_ptr<Device> make_emulated_device(std::uint64_t seed) {
  emulator::set_seed(seed);
  return std::make_unique<EmulatedDevice>();
}

}  // namespace heddle::test
