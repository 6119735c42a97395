// Pairs of texts as the training loop takes them: one data-parallel rank's part of every batch.
//
// Of a global batch of N pairs (pair_batches.h) each of R ranks gets n = ceil(N / R) samples, rank r the
// pairs [r n, (r + 1) n). They are computed in the fewest passes of at most a micro-batch, all of one size;
// samples that are missing, behind the batch's last pair or to make the passes equal, only fill up. So all
// ranks have one shape, and how a batch is dealt changes nothing of what it is.
//
// With the source x1 .. xm and the target y1 .. yn of a pair and the end-of-text token e of each side, an
// encoder reads [x1 .. xm, e], a decoder [e, y1 .. yn], and it learns to say [y1 .. yn, e].
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "parallel/mesh.h"
#include "trainer/config/options.h"
#include "trainer/data/pair_batches.h"
#include "trainer/data/read_ahead.h"
#include "trainer/training/training_data.h"

namespace heddle {

class PairTrainingData final : public TrainingData {
 public:
  // The datasets, `validation` if there is one, must outlive this. Throws Error if no pair of one is short
  // enough for context_length, UsageError for batches that cannot work.
  PairTrainingData(const PairDataset& train, const PairDataset* validation, const Options& options,
                   Layout layout, int data_rank);

  PeriodContext periods() const override;
  std::int64_t tokens_before(std::int64_t step) override;
  MeanLengths mean_lengths() const override;
  std::vector<BatchShape> largest_shapes() const override;
  HostBatch batch(std::int64_t step) override;
  bool has_validation() const override { return validation_.has_value(); }
  void validate(std::int64_t batches, const std::function<void(const HostBatch&)>& visit) override;

  // What a person should know about pairs that are not used: lines to print, none if all are.
  std::vector<std::string> remarks() const;

  const PairBatches& train_batches() const { return train_.batches; }
  // null if there is no validation data.
  const PairBatches* validation_batches() const { return validation_ ? &validation_->batches : nullptr; }

 private:
  struct Split {
    const PairDataset& pairs;
    PairBatches batches;
  };
  struct Batch {
    BatchShape shape;
    std::vector<std::int32_t> inputs, targets, source, source_lengths;
    std::int64_t first_sample = 0;
    std::int64_t valid_tokens = 0;        // of the global batch
    std::int64_t own_tokens = 0;          // of this rank's part
    std::vector<std::int64_t> pair_list;  // of the global batch
  };

  BatchShape shape_of(const PairBatches::Shape& batch) const;
  // This rank's part of the global batch of `step`.
  void fill(const Split& split, std::int64_t step, Batch& batch) const;
  static void fill_sample(const PairDataset& pairs, std::int64_t pair, std::int64_t sample, Batch& batch);
  static HostBatch view(const Batch& batch, std::int64_t valid_tokens);

  const TrainOptions options_;
  const std::int64_t context_length_;
  const int data_rank_, data_ranks_;
  const Split train_;
  std::optional<Split> validation_;
  Batch validation_batch_;
  std::int64_t counted_steps_ = 0, counted_tokens_ = 0;  // what tokens_before() found last
  ReadAhead<Batch> batches_;                             // last, so that its thread ends before what it reads
};

}  // namespace heddle
