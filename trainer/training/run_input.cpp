#include "trainer/training/run_input.h"

#include <algorithm>

#include "kernels/error.h"
#include "trainer/data/pair_run_data.h"
#include "trainer/data/pair_training_data.h"
#include "trainer/data/run_data.h"
#include "trainer/format.h"
#include "trainer/models/model.h"

namespace heddle {

namespace {

bool takes_pairs(const Options& options) {
  return model_input(options.model) == ModelInput::pairs;
}

class TextInput final : public RunInput {
 public:
  explicit TextInput(const DataOptions& options) : data_(RunData::open(options)) {}

  void settle(Options& options) override {
    settle_vocabulary(options.model, data_);
    data_.train->require_vocabulary(options.model.vocabulary_size);
    if (data_.validation) data_.validation->require_vocabulary(options.model.vocabulary_size);
    if (std::string folder = prepared_folder(options.data); !folder.empty()) options.data.data_folder = folder;
  }
  void save_tokenizers(const std::filesystem::path& folder) const override {
    if (data_.tokenizer) save_tokenizer(*data_.tokenizer, (folder / kDatasetTokenizerName).string());
  }
  std::unique_ptr<TrainingData> batches(const Options& options, Layout layout, int data_rank,
                                        std::vector<std::string>&) const override {
    return std::make_unique<TokenTrainingData>(data_, options, layout, data_rank);
  }
  std::string step_size(const Options& options) const override {
    return fmt::format("{} x {} tokens per step", options.train.global_batch, options.model.context_length);
  }

 private:
  RunData data_;
};

class PairInput final : public RunInput {
 public:
  explicit PairInput(const DataOptions& options) : data_(PairRunData::open(options)) {}

  void settle(Options& options) override {
    settle_vocabulary(options.model, data_);
    if (options.data.data_folder.empty()) options.data.data_folder = prepared_pairs_folder(options.data);
  }
  void save_tokenizers(const std::filesystem::path& folder) const override {
    if (data_.joint) return save_tokenizer(*data_.source_tokenizer, (folder / kDatasetTokenizerName).string());
    save_tokenizer(*data_.source_tokenizer, (folder / kDatasetSourceTokenizerName).string());
    save_tokenizer(*data_.target_tokenizer, (folder / kDatasetTargetTokenizerName).string());
  }
  std::unique_ptr<TrainingData> batches(const Options& options, Layout layout, int data_rank,
                                        std::vector<std::string>& remarks) const override {
    auto batches = std::make_unique<PairTrainingData>(data_.train, data_.validation ? &*data_.validation : nullptr,
                                                      options, layout, data_rank);
    for (std::string& line : batches->remarks()) remarks.push_back(std::move(line));
    const PairBatches::Waste waste = batches->train_batches().waste();
    remarks.push_back(fmt::format(
        "{} batches an epoch; {:.1f} % of their positions are padding (source {:.1f} %, "
        "target {:.1f} %)",
        with_commas(batches->train_batches().batches()), 100 * waste.both, 100 * waste.source, 100 * waste.target));
    return batches;
  }
  std::string step_size(const Options& options) const override {
    if (options.train.batch_tokens == 0) return fmt::format("{} pairs per step", options.train.global_batch);
    return fmt::format("at most {} tokens per step on either side", with_commas(options.train.batch_tokens));
  }

 private:
  PairRunData data_;
};

}  // namespace

void check_run_input(const Options& options) {
  const DataOptions& data = options.data;
  if (takes_pairs(options)) {
    prepared_pairs_folder(data);
    return;
  }
  if (!data.source.empty() || !data.target.empty() || !data.pairs.empty())
    throw usage_error("family = {} is trained on text, not on pairs of texts: give --data, or set family = transformer",
                      options.model.family);
  if (options.train.batch_tokens > 0 || options.train.micro_batch_tokens > 0)
    throw usage_error(
        "batch_tokens and micro_batch_tokens are of parallel text; for family = {} set global_batch and "
        "micro_batch",
        options.model.family);
  prepared_folder(data);
}

void prepare_run_input(const Options& options) {
  check_run_input(options);
  if (takes_pairs(options))
    prepare_pair_run_data(options.data);
  else
    prepare_run_data(options.data);
}

std::unique_ptr<RunInput> RunInput::open(const Options& options) {
  if (takes_pairs(options)) return std::make_unique<PairInput>(options.data);
  return std::make_unique<TextInput>(options.data);
}

}  // namespace heddle
