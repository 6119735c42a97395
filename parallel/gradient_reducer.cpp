#include "parallel/gradient_reducer.h"

#include <algorithm>
#include <cassert>

#include "kernels/error.h"
#include "kernels/ops.h"
#include "kernels/trace.h"

namespace heddle {

GradientReducer::GradientReducer(ParameterTable& parameters, Communicator& data, Device& device, Settings settings)
    : parameters_(parameters), data_(data), device_(device) {
  const auto& table = parameters.parameters();
  const Tensor& flat = parameters.flat_gradients();
  bucket_of_.resize(table.size());
  for (const Parameter& p : table) offsets_.push_back(p.offset);

  const auto limit = static_cast<std::int64_t>(std::max<std::size_t>(settings.bucket_bytes / 4, 1));
  std::int64_t end = parameters.flat_count();
  std::int64_t begin = end;
  int members = 0;
  const auto close = [&] {
    if (members == 0) return;
    Bucket bucket;
    bucket.gradients = flat.slice(0, begin, end);
    bucket.parameters = members;
    bucket.computed = device.make_event();
    bucket.reduced = device.make_event();
    buckets_.push_back(std::move(bucket));
    end = begin;
    members = 0;
  };
  for (std::size_t i = table.size(); i-- > 0;) {
    if (members > 0 && end - table[i].offset > limit && !table[i + 1].joined) close();
    begin = table[i].offset;
    bucket_of_[i] = static_cast<int>(buckets_.size());
    ++members;
  }
  close();

  if (settings.wire != DType::f32 && data.size() > 1) {
    wire_memory_ = device.allocate(static_cast<std::size_t>(parameters.flat_count()) * size_of(settings.wire));
    const Tensor wire(wire_memory_.data(), settings.wire, {parameters.flat_count()});
    std::int64_t at = parameters.flat_count();
    for (Bucket& bucket : buckets_) {
      bucket.wire = wire.slice(0, at - bucket.gradients.count(), at);
      at -= bucket.gradients.count();
    }
  }
  for (std::size_t i = 0; i < buckets_.size(); ++i)
    buckets_[i].label = fmt::format("gradients {}/{}", i + 1, buckets_.size());
}

void GradientReducer::begin(bool last_micro_batch) {
  last_ = last_micro_batch;
  for (Bucket& bucket : buckets_) bucket.missing = bucket.parameters;
}

void GradientReducer::ready(const Parameter& parameter) {
  if (!last_) return;
  const auto it = std::lower_bound(offsets_.begin(), offsets_.end(), parameter.offset);
  Bucket& bucket = buckets_[static_cast<std::size_t>(bucket_of_[static_cast<std::size_t>(it - offsets_.begin())])];
  assert(bucket.missing > 0);
  if (--bucket.missing == 0) start(bucket);
}

void GradientReducer::start(Bucket& bucket) {
  if (data_.size() == 1) return;
  const Tensor& sent = bucket.wire ? bucket.wire : bucket.gradients;
  if (bucket.wire) device_.ops().copy(bucket.gradients, bucket.wire);
  device_.compute_stream().record(*bucket.computed);
  data_.all_reduce(sent, Reduction::sum, *bucket.computed, *bucket.reduced, bucket.label.c_str());
}

void GradientReducer::finish() {
  for (Bucket& bucket : buckets_) {
    if (bucket.missing != 0)
      throw error("internal: {} parameters of {} had no final gradient", bucket.missing, bucket.label);
    if (data_.size() == 1) continue;
    {
      const TraceSpan span(device_, kCommunicationFamily, "wait for gradients");
      device_.compute_stream().wait(*bucket.reduced);
    }
    if (bucket.wire) device_.ops().copy(bucket.wire, bucket.gradients);
  }
  last_ = false;
}

std::size_t GradientReducer::wire_bytes() const { return wire_memory_.bytes(); }

}  // namespace heddle
