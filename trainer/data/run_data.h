// The data of a run as its options name it: text (prepared on the way), a folder of prepared data, or token files
// of heddle, Megatron-LM or llm.c.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "parallel/mesh.h"
#include "trainer/config/options.h"
#include "trainer/data/batch_loader.h"
#include "trainer/data/dataset_manifest.h"
#include "trainer/data/token_dataset.h"
#include "trainer/training/training_data.h"

namespace heddle {

// Where prepared data is or will be; empty if data.data names token files. Throws UsageError if it names nothing.
std::string prepared_folder(const DataOptions& options);

// Makes the prepared folder from text where that is needed; prints what it does on standard output. Rank 0 calls it
// before the job's MPI starts, so that the other ranks wait without a time limit.
void prepare_run_data(const DataOptions& options);

// The splits of a run, opened on every rank.
struct RunData {
  std::optional<TokenDataset> train, validation;
  std::unique_ptr<Tokenizer> tokenizer;  // null for token files, which do not bring one
  std::int64_t vocabulary_size = 0;      // 0 if the files do not say

  static RunData open(const DataOptions& options);
};

// The model's vocabulary: as set, or the data's. Throws UsageError if there is none or the data's is larger.
void settle_vocabulary(ModelOptions& model, const RunData& data);

// One rank's batches for the training loop.
class TokenTrainingData final : public TrainingData {
 public:
  TokenTrainingData(const RunData& data, const Options& options, Layout layout, int data_rank);

  PeriodContext periods() const override;
  std::int64_t tokens_before(std::int64_t step) override;
  MeanLengths mean_lengths() const override;
  std::vector<BatchShape> largest_shapes() const override { return {shape_}; }
  HostBatch batch(std::int64_t step) override;
  bool has_validation() const override { return validation_order_.has_value(); }
  void validate(std::int64_t batches, const std::function<void(const HostBatch&)>& visit) override;

 private:
  BatchShape shape_;
  BatchLoader loader_;
  const TokenDataset* validation_;
  std::optional<Sampler> validation_order_;
  std::vector<std::int32_t> validation_window_, validation_inputs_, validation_targets_;
};

// Windows [first, first + samples) of a dataset in its order, as inputs and targets [samples, length].
void read_windows(const TokenDataset& dataset, const Sampler& order, std::int64_t first, std::int64_t samples,
                  std::vector<std::int32_t>& window, std::vector<std::int32_t>& inputs,
                  std::vector<std::int32_t>& targets);

}  // namespace heddle
