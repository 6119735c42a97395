#include "kernels/plan/plan_device.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "kernels/checks.h"
#include "kernels/error.h"

namespace heddle {

namespace {

class PlanEvent final : public Event {
 public:
  bool ready() const override { return true; }
  void synchronize() override {}
};

class PlanStream final : public Stream {
 public:
  void record(Event&) override {}
  void wait(Event& event) override { event.synchronize(); }  // one that another thread completes
  void synchronize() override {}
};

}  // namespace

PlanDevice::PlanDevice(Device* planned)
    : memory_(std::make_shared<PlanMemory>()),
      ops_(planned ? &planned->ops() : nullptr),
      stream_(std::make_unique<PlanStream>()) {}

std::string PlanDevice::description() const {
  return "plan: counts, computes nothing";
}

Memory PlanDevice::allocate(std::size_t bytes) {
  if (bytes == 0) return {};
  void* range = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED)
    throw error("cannot reserve {} bytes of addresses for planning ({} are reserved): raise ulimit -v", bytes,
                memory_->device_bytes);
  memory_->device_bytes += bytes;
  memory_->device_peak_bytes = std::max(memory_->device_peak_bytes, memory_->device_bytes);
  return Memory(range, bytes, [memory = memory_, bytes](void* data) {
    munmap(data, bytes);
    memory->device_bytes -= bytes;
  });
}

Memory PlanDevice::allocate_host(std::size_t bytes) {
  if (bytes == 0) return {};
  constexpr std::align_val_t kAlignment{64};
  void* data = ::operator new(bytes, kAlignment, std::nothrow);
  if (data == nullptr) throw error("cannot allocate {} bytes of host memory", bytes);
  std::memset(data, 0, bytes);
  memory_->host_bytes += bytes;
  return Memory(data, bytes, [memory = memory_, bytes](void* data) {
    ::operator delete(data, kAlignment);
    memory->host_bytes -= bytes;
  });
}

std::unique_ptr<Stream> PlanDevice::make_stream() {
  return std::make_unique<PlanStream>();
}

std::unique_ptr<Event> PlanDevice::make_event() {
  return std::make_unique<PlanEvent>();
}

void PlanDevice::copy_to_device(Stream&, const Tensor&, const void*) {}

void PlanDevice::copy_to_host(Stream&, void* host, const Tensor& device) {
  if (device.bytes() > 0) std::memset(host, 0, device.bytes());
}

void PlanDevice::copy_on_device(Stream&, const Tensor& from, const Tensor& to) {
  checks::copy_on_device(from, to);
}

double PlanDevice::matmul_flops(DType, double) {
  throw error("internal: a plan computes nothing and has no matmul rate");
}

double PlanDevice::copy_bandwidth(double) {
  throw error("internal: a plan copies nothing and has no bandwidth");
}

std::unique_ptr<PlanDevice> make_plan_device(Device* planned) {
  return std::make_unique<PlanDevice>(planned);
}

}  // namespace heddle
