#include "kernels/trace.h"

#include "kernels/traced_ops.h"

namespace heddle {

Trace::Trace(Device& device) : device_(device) {}
Trace::~Trace() = default;

TimeMark& Trace::next_mark() {
  if (used_ == marks_.size()) marks_.push_back(device_.make_time_mark());
  return *marks_[used_++];
}

void Trace::start() {
  used_ = 0;
  names_.clear();
  device_.compute_stream().synchronize();
  next_mark().record(device_.compute_stream());
}

void Trace::begin(const char* family, const char* name) {
  names_.emplace_back(family, name);
  next_mark().record(device_.compute_stream());
}

void Trace::end() { next_mark().record(device_.compute_stream()); }

Trace::Result Trace::finish() {
  TimeMark& last = next_mark();
  last.record(device_.compute_stream());
  device_.compute_stream().synchronize();
  Result result;
  const TimeMark& start = *marks_[0];
  result.seconds = last.seconds_since(start);
  for (std::size_t i = 0; i < names_.size(); ++i) {
    const TimeMark &begin = *marks_[1 + 2 * i], &end = *marks_[2 + 2 * i];
    result.spans.push_back(
        {names_[i].first, names_[i].second, begin.seconds_since(start), end.seconds_since(begin)});
  }
  return result;
}

TracedDevice::TracedDevice(Device& device)
    : device_(device), trace_(device), traced_ops_(std::make_unique<TracedOps>(device.ops(), trace_)) {}
TracedDevice::~TracedDevice() = default;

Ops& TracedDevice::ops() { return recording_ ? *traced_ops_ : device_.ops(); }

}  // namespace heddle
