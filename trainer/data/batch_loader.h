// The batches of one data-parallel rank, read one step ahead on a thread of its own.
//
// Step s of training uses the samples [s * G, (s + 1) * G) of the sampler, G the global batch; data rank r of
// D has [r * G / D, (r + 1) * G / D) of these, in order. So the samples of a step do not depend on the number
// of ranks, and a run resumes at any step.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/data/read_ahead.h"
#include "trainer/data/sampler.h"
#include "trainer/data/token_dataset.h"

namespace heddle {

// The samples of a global batch that one rank computes.
struct BatchSlice {
  std::int64_t global_batch = 1;
  int data_rank = 0, data_ranks = 1;

  std::int64_t first_sample() const { return global_batch * data_rank / data_ranks; }
  std::int64_t samples() const { return global_batch * (data_rank + 1) / data_ranks - first_sample(); }
};

class BatchLoader {
 public:
  struct Batch {
    std::int64_t step = -1;
    std::vector<std::int32_t> inputs;   // [samples, context_length]
    std::vector<std::int32_t> targets;  // [samples, context_length], the inputs moved by one
  };

  // `dataset` must outlive the loader. Throws UsageError if the slice is not possible.
  BatchLoader(const TokenDataset& dataset, const Sampler& sampler, const BatchSlice& slice);

  // The batch of `step`, valid until the next call (read_ahead.h).
  const Batch& get(std::int64_t step) { return batches_.get(step); }

  const BatchSlice& slice() const { return slice_; }
  const Sampler& sampler() const { return sampler_; }

 private:
  void fill(std::int64_t step, Batch& batch);

  const TokenDataset& dataset_;
  const Sampler sampler_;
  const BatchSlice slice_;
  std::vector<std::int32_t> window_;  // [context_length + 1]; of whoever fills
  ReadAhead<Batch> batches_;          // last, so that its thread ends before what it reads
};

}  // namespace heddle
