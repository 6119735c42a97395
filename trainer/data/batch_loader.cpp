#include "trainer/data/batch_loader.h"

#include <algorithm>
#include <utility>

#include "kernels/error.h"

namespace heddle {

BatchLoader::BatchLoader(const TokenDataset& dataset, const Sampler& sampler, const BatchSlice& slice)
    : dataset_(dataset),
      sampler_(sampler),
      slice_(slice),
      window_(static_cast<std::size_t>(sampler.context_length()) + 1) {
  if (slice.data_ranks < 1 || slice.data_rank < 0 || slice.data_rank >= slice.data_ranks) {
    throw usage_error("data rank {} of {} is not possible", slice.data_rank, slice.data_ranks);
  }
  if (slice.global_batch < slice.data_ranks) {
    throw usage_error(
        "a global batch of {} gives some of {} data-parallel ranks no sample; use fewer ranks or a larger "
        "batch",
        slice.global_batch, slice.data_ranks);
  }
  const std::size_t size = static_cast<std::size_t>(slice.samples() * sampler.context_length());
  for (Batch* batch : {&current_, &next_}) {
    batch->inputs.resize(size);
    batch->targets.resize(size);
  }
  thread_ = std::thread([this] { run(); });
}

BatchLoader::~BatchLoader() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

const BatchLoader::Batch& BatchLoader::get(std::int64_t step) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return wanted_ < 0; });
  if (next_.step == step) {
    if (failure_) {
      next_.step = -1;
      std::rethrow_exception(std::exchange(failure_, nullptr));
    }
    std::swap(current_, next_);
  } else {
    fill(step, current_);
  }
  wanted_ = step + 1;
  lock.unlock();
  changed_.notify_all();
  return current_;
}

void BatchLoader::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || wanted_ >= 0; });
    if (stop_) return;
    const std::int64_t step = wanted_;
    lock.unlock();
    // get() waits until wanted_ is -1 again before it touches next_, window_ or failure_.
    failure_ = nullptr;
    try {
      fill(step, next_);
    } catch (...) {
      failure_ = std::current_exception();
      next_.step = step;
    }
    lock.lock();
    wanted_ = -1;
    changed_.notify_all();
  }
}

void BatchLoader::fill(std::int64_t step, Batch& batch) {
  batch.step = -1;
  const std::int64_t length = sampler_.context_length();
  const std::int64_t first = step * slice_.global_batch + slice_.first_sample();
  for (std::int64_t row = 0; row < slice_.samples(); ++row) {
    dataset_.read(sampler_.sample(first + row).position, length + 1, window_.data());
    std::copy_n(window_.begin(), length, batch.inputs.begin() + row * length);
    std::copy_n(window_.begin() + 1, length, batch.targets.begin() + row * length);
  }
  batch.step = step;
}

}  // namespace heddle
