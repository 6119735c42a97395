#include "parallel/nccl/queued_calls.h"

#include "parallel/nccl/count_finished.h"

namespace heddle {

namespace {

constexpr std::size_t kMostSingleCalls = 4096;  // beside those in graphs

}  // namespace

QueuedCalls::QueuedCalls(Device& device)
    : device_count_(device.allocate(sizeof(std::uint64_t))),
      host_count_(device.allocate_host(sizeof(std::uint64_t))),
      ring_(kMostSingleCalls) {
  *static_cast<std::uint64_t*>(host_count_.data()) = 0;
}

std::uint64_t QueuedCalls::finished() const {
  return *static_cast<volatile const std::uint64_t*>(host_count_.data());
}

void QueuedCalls::reserve(std::size_t calls) {
  const std::size_t size = 2 * calls + kMostSingleCalls;
  if (size <= ring_.size()) return;
  std::vector<CollectiveCall> larger(size);
  const std::lock_guard lock(mutex_);
  for (std::uint64_t n = finished(); n < queued_; ++n) larger[n % size] = ring_[n % ring_.size()];
  ring_ = std::move(larger);
}

bool QueuedCalls::has_room(std::size_t calls) const {
  return queued_ - finished() + calls <= ring_.size();
}

void QueuedCalls::add(const CollectiveCall* calls, std::size_t count) {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < count; ++i) ring_[queued_++ % ring_.size()] = calls[i];
}

void QueuedCalls::count_finished_on(CudaStream& stream) {
  count_finished(static_cast<std::uint64_t*>(device_count_.data()),
                 static_cast<std::uint64_t*>(host_count_.data()), stream.handle());
}

bool QueuedCalls::report(WatchedGroup& group) const {
  const std::lock_guard lock(mutex_);
  const std::uint64_t done = finished();
  const bool active = done < queued_;
  group.observe(static_cast<std::int64_t>(done), active ? &ring_[done % ring_.size()] : nullptr);
  return active;
}

}  // namespace heddle
