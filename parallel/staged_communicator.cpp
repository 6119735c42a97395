#include "parallel/staged_communicator.h"

#include <algorithm>

#include "parallel/collective.h"

namespace heddle {

namespace {

// Calls part(begin, end) for [0, count) in parts of at most `most`.
template <typename Part>
void in_parts(std::int64_t count, std::int64_t most, const Part& part) {
  for (std::int64_t begin = 0; begin < count; begin += most) part(begin, std::min(begin + most, count));
}

Tensor flat(const Tensor& x) {
  return x.view({x.count()});
}

}  // namespace

StagedCommunicator::StagedCommunicator(std::unique_ptr<Communicator> host, Device& device)
    : GpuCommunicator(std::move(host)),
      device_(device),
      stream_(device.make_stream()),
      mine_(device.allocate_host(kPartBytes)),
      all_(device.allocate_host(kPartBytes * static_cast<std::size_t>(size()))) {}

void StagedCommunicator::all_reduce(const Tensor& x, Reduction reduction, Stream& stream, const char* label) {
  all_reduce_call(x, reduction, label);
  in_parts(x.count(), part_count(x.dtype), [&](std::int64_t begin, std::int64_t end) {
    const Tensor part = flat(x).slice(0, begin, end), staged = mine(x.dtype, end - begin);
    device_.copy_to_host(stream, staged.data, part);
    stream.synchronize();
    host().all_reduce(staged, reduction, host_stream_, label);
    device_.copy_to_device(stream, part, staged.data);
    stream.synchronize();  // the next part, or call, stages in the same memory
  });
}

void StagedCommunicator::all_gather(const Tensor& in, const Tensor& out, Stream& stream, const char* label) {
  all_gather_call(in, out, size(), label);
  const std::int64_t n = in.count();
  in_parts(n, part_count(in.dtype), [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t count = end - begin;
    const Tensor staged = mine(in.dtype, count), gathered = all(in.dtype, count);
    device_.copy_to_host(stream, staged.data, flat(in).slice(0, begin, end));
    stream.synchronize();
    host().all_gather(staged, gathered, host_stream_, label);
    for (int rank = 0; rank < size(); ++rank)
      device_.copy_to_device(stream, flat(out).slice(0, rank * n + begin, rank * n + end),
                             gathered.slice(0, rank * count, (rank + 1) * count).data);
    stream.synchronize();
  });
}

void StagedCommunicator::reduce_scatter(const Tensor& in, const Tensor& out, Stream& stream,
                                        const char* label) {
  reduce_scatter_call(in, out, size(), label);
  const std::int64_t n = out.count();
  in_parts(n, part_count(in.dtype), [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t count = end - begin;
    const Tensor staged = all(in.dtype, count), sum = mine(in.dtype, count);
    for (int rank = 0; rank < size(); ++rank)
      device_.copy_to_host(stream, staged.slice(0, rank * count, (rank + 1) * count).data,
                           flat(in).slice(0, rank * n + begin, rank * n + end));
    stream.synchronize();
    host().reduce_scatter(staged, sum, host_stream_, label);
    device_.copy_to_device(stream, flat(out).slice(0, begin, end), sum.data);
    stream.synchronize();
  });
}

void StagedCommunicator::broadcast(const Tensor& x, int root, Stream& stream, const char* label) {
  broadcast_call(x, root, size(), label);
  in_parts(x.count(), part_count(x.dtype), [&](std::int64_t begin, std::int64_t end) {
    const Tensor part = flat(x).slice(0, begin, end), staged = mine(x.dtype, end - begin);
    if (rank() == root) device_.copy_to_host(stream, staged.data, part);
    stream.synchronize();
    host().broadcast(staged, root, host_stream_, label);
    if (rank() != root) device_.copy_to_device(stream, part, staged.data);
    stream.synchronize();
  });
}

// --- the event form: the same on a stream between the events ---

void StagedCommunicator::all_reduce(const Tensor& x, Reduction reduction, Event& ready, Event& done,
                                    const char* label) {
  stream_->wait(ready);
  all_reduce(x, reduction, *stream_, label);
  stream_->record(done);
}

void StagedCommunicator::all_gather(const Tensor& in, const Tensor& out, Event& ready, Event& done,
                                    const char* label) {
  stream_->wait(ready);
  all_gather(in, out, *stream_, label);
  stream_->record(done);
}

void StagedCommunicator::reduce_scatter(const Tensor& in, const Tensor& out, Event& ready, Event& done,
                                        const char* label) {
  stream_->wait(ready);
  reduce_scatter(in, out, *stream_, label);
  stream_->record(done);
}

std::unique_ptr<Communicator> make_staged_communicator(std::unique_ptr<Communicator> host, Device& device) {
  return std::make_unique<StagedCommunicator>(std::move(host), device);
}

}  // namespace heddle
