#include "trainer/data/batch_loader.h"

#include <algorithm>

#include "kernels/error.h"

namespace heddle {
namespace {

const BatchSlice& checked(const BatchSlice& slice) {
  if (slice.data_ranks < 1 || slice.data_rank < 0 || slice.data_rank >= slice.data_ranks) {
    throw usage_error("data rank {} of {} is not possible", slice.data_rank, slice.data_ranks);
  }
  if (slice.global_batch < slice.data_ranks) {
    throw usage_error(
        "a global batch of {} gives some of {} data-parallel ranks no sample; use fewer ranks or a larger "
        "batch",
        slice.global_batch, slice.data_ranks);
  }
  return slice;
}

BatchLoader::Batch empty_batch(std::int64_t tokens) {
  const std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens));
  return {-1, ids, ids};
}

}  // namespace

BatchLoader::BatchLoader(const TokenDataset& dataset, const Sampler& sampler, const BatchSlice& slice)
    : dataset_(dataset),
      sampler_(sampler),
      slice_(checked(slice)),
      window_(static_cast<std::size_t>(sampler.context_length()) + 1),
      batches_([this](std::int64_t step, Batch& batch) { fill(step, batch); },
               empty_batch(slice_.samples() * sampler.context_length())) {}

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
