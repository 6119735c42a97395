// The batches of one data-parallel rank, read one step ahead on a thread of its own.
//
// Step s of training uses the samples [s * G, (s + 1) * G) of the sampler, G the global batch; data rank r of
// D has [r * G / D, (r + 1) * G / D) of these, in order. So the samples of a step do not depend on the number
// of ranks, and a run resumes at any step.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

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
  ~BatchLoader();  // waits for a read in progress
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;

  // The batch of `step`, valid until the next call; reading of step + 1 begins. Steps in order are found
  // ready, any other is read on the spot. An error of the reading thread is thrown by the call that wants
  // that step.
  const Batch& get(std::int64_t step);

  const BatchSlice& slice() const { return slice_; }
  const Sampler& sampler() const { return sampler_; }

 private:
  void fill(std::int64_t step, Batch& batch);
  void run();

  const TokenDataset& dataset_;
  const Sampler sampler_;
  const BatchSlice slice_;
  std::vector<std::int32_t> window_;  // [context_length + 1]; of whoever fills

  Batch current_;  // what get() returned
  std::mutex mutex_;
  std::condition_variable changed_;
  Batch next_;                  // filled by the thread while wanted_ >= 0
  std::int64_t wanted_ = -1;    // the step being read; -1: the thread is idle
  std::exception_ptr failure_;  // of next_
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace heddle
