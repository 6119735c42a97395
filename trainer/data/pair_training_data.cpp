#include "trainer/data/pair_training_data.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "kernels/error.h"
#include "trainer/format.h"

namespace heddle {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

PairBatchOptions batch_options(const Options& options, bool shuffled) {
  return {options.train.global_batch, options.train.batch_tokens, options.model.context_length, shuffled,
          static_cast<std::uint64_t>(options.train.seed)};
}

bool fits_in(const BatchShape& small, const BatchShape& large) {
  return small.samples <= large.samples && small.micro_batch <= large.micro_batch &&
         small.length <= large.length && small.source_length <= large.source_length;
}

int checked_rank(const Options& options, Layout layout, int data_rank) {
  if (data_rank < 0 || data_rank >= layout.data_parallel)
    throw usage_error("data rank {} of {} is not possible", data_rank, layout.data_parallel);
  if (options.train.batch_tokens == 0 && options.train.global_batch < layout.data_parallel) {
    throw usage_error(
        "a global batch of {} gives some of {} data-parallel ranks no sample; use fewer ranks or a larger "
        "batch",
        options.train.global_batch, layout.data_parallel);
  }
  return data_rank;
}

}  // namespace

PairTrainingData::PairTrainingData(const PairDataset& train, const PairDataset* validation,
                                   const Options& options, Layout layout, int data_rank)
    : options_(options.train),
      context_length_(options.model.context_length),
      data_rank_(checked_rank(options, layout, data_rank)),
      data_ranks_(layout.data_parallel),
      train_{train, PairBatches(train.lengths(), batch_options(options, true))},
      batches_([this](std::int64_t step, Batch& batch) { fill(train_, step, batch); }) {
  if (validation)
    validation_.emplace(
        Split{*validation, PairBatches(validation->lengths(), batch_options(options, false))});
}

PeriodContext PairTrainingData::periods() const {
  const double steps = static_cast<double>(train_.batches.batches());
  return {std::llround(static_cast<double>(train_.batches.target_tokens()) / steps), steps};
}

// Steps are asked for in order, so what an epoch has had so far is seldom summed from its start.
std::int64_t PairTrainingData::tokens_before(std::int64_t step) {
  const PairBatches& batches = train_.batches;
  const std::int64_t epoch = step / batches.batches();
  if (step < counted_steps_ || epoch * batches.batches() > counted_steps_) {
    counted_steps_ = epoch * batches.batches();
    counted_tokens_ = epoch * batches.target_tokens();
  }
  for (; counted_steps_ < step; ++counted_steps_) counted_tokens_ += batches.target_tokens(counted_steps_);
  return counted_tokens_;
}

TrainingData::MeanLengths PairTrainingData::mean_lengths() const {
  const double pairs = static_cast<double>(train_.batches.pairs());
  return {static_cast<double>(train_.batches.target_tokens()) / pairs,
          static_cast<double>(train_.batches.source_tokens()) / pairs};
}

std::vector<BatchShape> PairTrainingData::largest_shapes() const {
  std::set<BatchShape> all;
  for (const PairBatches::Shape& shape : train_.batches.shapes()) all.insert(shape_of(shape));
  if (validation_) {
    for (const PairBatches::Shape& shape : validation_->batches.shapes()) all.insert(shape_of(shape));
  }
  std::vector<BatchShape> largest;
  for (const BatchShape& shape : all) {
    const bool is_largest = std::none_of(all.begin(), all.end(), [&](const BatchShape& other) {
      return other != shape && fits_in(shape, other);
    });
    if (is_largest) largest.push_back(shape);
  }
  return largest;
}

std::vector<std::string> PairTrainingData::remarks() const {
  std::vector<std::string> lines;
  const auto add = [&](const char* split, const PairBatches& batches) {
    if (batches.left_out() == 0) return;
    lines.push_back(fmt::format("{} of {} {} pairs are longer than context_length = {} and are left out",
                                with_commas(batches.left_out()),
                                with_commas(batches.left_out() + batches.pairs()), split, context_length_));
  };
  add("training", train_.batches);
  if (validation_) add("validation", validation_->batches);
  return lines;
}

BatchShape PairTrainingData::shape_of(const PairBatches::Shape& batch) const {
  const std::int64_t samples = divide_up(batch.pairs, data_ranks_);
  std::int64_t limit = samples;
  if (options_.micro_batch > 0) {
    limit = options_.micro_batch;
  } else if (options_.micro_batch_tokens > 0) {
    limit =
        std::max<std::int64_t>(1, options_.micro_batch_tokens / std::max(batch.length, batch.source_length));
  }
  const std::int64_t passes = divide_up(samples, limit), micro_batch = divide_up(samples, passes);
  return {passes * micro_batch, micro_batch, batch.length, batch.source_length};
}

HostBatch PairTrainingData::batch(std::int64_t step) {
  const Batch& batch = batches_.get(step);
  return view(batch, batch.valid_tokens);
}

void PairTrainingData::validate(std::int64_t batches, const std::function<void(const HostBatch&)>& visit) {
  if (!validation_) return;
  const std::int64_t all = validation_->batches.batches(), taken = batches > 0 ? std::min(batches, all) : all;
  for (std::int64_t i = 0; i < taken; ++i) {
    fill(*validation_, i * all / taken, validation_batch_);
    visit(view(validation_batch_, validation_batch_.own_tokens));
  }
}

void PairTrainingData::fill(const Split& split, std::int64_t step, Batch& batch) const {
  const PairBatches::Shape global = split.batches.shape(step);
  const std::int64_t samples = divide_up(global.pairs, data_ranks_);
  batch.shape = shape_of(global);
  batch.first_sample = data_rank_ * samples;
  // Samples and padding that count nothing, until they are overwritten.
  batch.inputs.assign(static_cast<std::size_t>(batch.shape.tokens()), split.pairs.target_end());
  batch.targets.assign(static_cast<std::size_t>(batch.shape.tokens()), -1);
  batch.source.assign(static_cast<std::size_t>(batch.shape.source_tokens()), split.pairs.source_end());
  batch.source_lengths.assign(static_cast<std::size_t>(batch.shape.samples), 0);
  split.batches.list(step, batch.pair_list);
  batch.valid_tokens = batch.own_tokens = 0;
  for (std::int64_t i = 0; i < global.pairs; ++i) {
    const std::int64_t pair = batch.pair_list[static_cast<std::size_t>(i)], sample = i - batch.first_sample;
    const std::int64_t tokens = split.pairs.length(pair).target;
    batch.valid_tokens += tokens;
    if (sample < 0 || sample >= samples) continue;
    batch.own_tokens += tokens;
    fill_sample(split.pairs, pair, sample, batch);
  }
}

void PairTrainingData::fill_sample(const PairDataset& pairs, std::int64_t pair, std::int64_t sample,
                                   Batch& batch) {
  const PairLength length = pairs.length(pair);
  pairs.read_source(pair, batch.source.data() + sample * batch.shape.source_length);
  batch.source_lengths[static_cast<std::size_t>(sample)] = length.source;
  std::int32_t* inputs = batch.inputs.data() + sample * batch.shape.length;
  std::int32_t* targets = batch.targets.data() + sample * batch.shape.length;
  pairs.read_target(pair, targets);
  inputs[0] = pairs.target_end();
  std::copy_n(targets, length.target - 1, inputs + 1);
}

HostBatch PairTrainingData::view(const Batch& batch, std::int64_t valid_tokens) {
  HostBatch host;
  host.shape = batch.shape;
  host.inputs = batch.inputs.data();
  host.targets = batch.targets.data();
  host.source = batch.source.data();
  host.source_lengths = batch.source_lengths.data();
  host.first_sample = batch.first_sample;
  host.valid_tokens = valid_tokens;
  return host;
}

}  // namespace heddle
