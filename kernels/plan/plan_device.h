// A device that computes nothing: run a step on it to learn the memory, FLOPs and traffic that the step would
// take, on any machine, for a model of any size.
//
// Its memory is a reserved range of addresses without pages behind it, so that views of it are distinct and
// not null (an optional tensor is recognised as on any device); whoever reads or writes it by mistake stops
// at once.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "kernels/device.h"
#include "kernels/plan/plan_ops.h"

namespace heddle {

struct PlanMemory {
  std::size_t device_bytes = 0;  // allocated now
  std::size_t device_peak_bytes = 0;
  std::size_t host_bytes = 0;
};

class PlanDevice final : public Device {
 public:
  // `planned`, if any, is the device that will do the work: its own work-space sizes are used. It must outlive this.
  explicit PlanDevice(Device* planned);

  const PlanMemory& memory() const { return *memory_; }
  const PlanTotals& totals() const { return ops_.totals(); }
  std::size_t largest_matmul_workspace() const { return ops_.largest_matmul_workspace(); }
  void reset_totals() { ops_.reset(); }

  DeviceKind kind() const override { return DeviceKind::plan; }
  std::string description() const override;
  Memory allocate(std::size_t bytes) override;
  Memory allocate_host(std::size_t bytes) override;  // real memory, zero-filled
  Stream& compute_stream() override { return *stream_; }
  std::unique_ptr<Stream> make_stream() override;
  std::unique_ptr<Event> make_event() override;
  void copy_to_device(Stream& stream, const Tensor& device, const void* host) override;  // does nothing
  void copy_to_host(Stream& stream, void* host, const Tensor& device) override;          // gives zeros
  void copy_on_device(Stream& stream, const Tensor& from, const Tensor& to) override;    // does nothing
  Ops& ops() override { return ops_; }
  double matmul_flops(DType act, double seconds) override;  // throws: there is nothing to measure
  double copy_bandwidth(double seconds) override;           // throws

 private:
  std::shared_ptr<PlanMemory> memory_;  // shared with what was allocated, which may outlive the device
  PlanOps ops_;
  std::unique_ptr<Stream> stream_;
};

std::unique_ptr<PlanDevice> make_plan_device(Device* planned = nullptr);

}  // namespace heddle
