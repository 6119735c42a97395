// Trace: what a device spends its time on, operation by operation.
//
// A TracedDevice passes everything on to another device; while it is recording, every operation and every
// communication that the compute stream waits for becomes a span between two marks on that stream. Recording costs
// two marks per operation, so it belongs into benchmarks and profiles.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace heddle {

// A communication that the compute stream waits for, and operations by the families of ops.h.
constexpr const char* kCommunicationFamily = "communication";

class Trace {
 public:
  explicit Trace(Device& device);
  ~Trace();

  struct Span {
    const char* family;  // "matmul"
    const char* name;    // "bias_gradient"; literals or otherwise outliving the trace
    double begin;        // seconds since the trace was started
    double seconds;
  };

  void start();  // forgets what was recorded
  // Spans do not nest.
  void begin(const char* family, const char* name);
  void end();
  // Waits for the device; the spans since start() in order, and the time from start() to now.
  struct Result {
    std::vector<Span> spans;
    double seconds = 0;
  };
  Result finish();

 private:
  TimeMark& next_mark();

  Device& device_;
  std::vector<std::unique_ptr<TimeMark>> marks_;  // start, then two for each span; used again
  std::size_t used_ = 0;
  std::vector<std::pair<const char*, const char*>> names_;
};

// The time on the compute stream between construction and destruction, where a trace is being recorded.
class TraceSpan {
 public:
  TraceSpan(Device& device, const char* family, const char* name) : trace_(device.trace()) {
    if (trace_) trace_->begin(family, name);
  }
  ~TraceSpan() {
    if (trace_) trace_->end();
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

 private:
  Trace* trace_;
};

class TracedDevice final : public Device {
 public:
  explicit TracedDevice(Device& device);
  ~TracedDevice() override;

  void record(bool on) { recording_ = on; }
  Trace& recorded() { return trace_; }

  DeviceKind kind() const override { return device_.kind(); }
  std::string description() const override { return device_.description(); }
  int threads() const override { return device_.threads(); }
  Memory allocate(std::size_t bytes) override { return device_.allocate(bytes); }
  Memory allocate_host(std::size_t bytes) override { return device_.allocate_host(bytes); }
  MemoryUse memory_use() const override { return device_.memory_use(); }
  Stream& compute_stream() override { return device_.compute_stream(); }
  std::unique_ptr<Stream> make_stream() override { return device_.make_stream(); }
  std::unique_ptr<Event> make_event() override { return device_.make_event(); }
  void copy_to_device(Stream& stream, const Tensor& device, const void* host) override {
    device_.copy_to_device(stream, device, host);
  }
  void copy_to_host(Stream& stream, void* host, const Tensor& device) override {
    device_.copy_to_host(stream, host, device);
  }
  void copy_on_device(Stream& stream, const Tensor& from, const Tensor& to) override {
    device_.copy_on_device(stream, from, to);
  }
  std::unique_ptr<TimeMark> make_time_mark() override { return device_.make_time_mark(); }
  Trace* trace() override { return recording_ ? &trace_ : nullptr; }
  bool asynchronous() const override { return device_.asynchronous(); }
  Ops& ops() override;
  bool has_graphs() const override { return device_.has_graphs(); }
  std::unique_ptr<Graph> capture(const std::function<void()>& body) override { return device_.capture(body); }
  double matmul_flops(DType act, double seconds) override { return device_.matmul_flops(act, seconds); }
  double copy_bandwidth(double seconds) override { return device_.copy_bandwidth(seconds); }

 private:
  Device& device_;
  Trace trace_;
  std::unique_ptr<Ops> traced_ops_;
  bool recording_ = false;
};

}  // namespace heddle
