#include "trainer/data/run_data.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <string_view>

#include "kernels/error.h"
#include "trainer/data/prepare.h"
#include "trainer/data/prepare_line.h"
#include "trainer/format.h"
#include "trainer/training/settings.h"

namespace heddle {

namespace {

namespace fs = std::filesystem;

bool is_token_file(const std::string& path) {
  constexpr std::array<std::string_view, 3> extensions = {".bin", ".idx", ".heddle"};
  return std::find(extensions.begin(), extensions.end(), fs::path(path).extension().string()) != extensions.end();
}

// "my.jsonl.gz" -> "my"
std::string stem_of(const std::string& path) {
  std::string name = fs::path(path).lexically_normal().filename().string();
  if (name.empty()) name = fs::path(path).lexically_normal().parent_path().filename().string();
  const std::string stem = name.substr(0, name.find('.', 1));
  return stem.empty() ? "text" : stem;
}

}  // namespace

std::string prepared_folder(const DataOptions& options) {
  if (options.data.empty())
    throw usage_error("no data: give --data with text files, folders of text, prepared data or token files");
  if (options.data.size() == 1 && is_prepared_folder(options.data[0])) return options.data[0];
  if (std::all_of(options.data.begin(), options.data.end(), is_token_file)) return "";
  if (!options.data_folder.empty()) return options.data_folder;
  std::string tokenizer = stem_of(options.tokenizer);
  if (options.tokenizer == "bpe") tokenizer += std::to_string(options.bpe_vocabulary);
  if (options.tokenizer == "word")
    tokenizer += std::to_string(options.word_minimum_count) + (options.lowercase ? "-lowercase" : "");
  return fmt::format("data/{}-{}", stem_of(options.data[0]), tokenizer);
}

void prepare_run_data(const DataOptions& options) {
  if (options.tokenizer == "gpt2" && !fs::exists(options.tokenizer))
    throw usage_error(
        "tokenizer = gpt2: give the folder of GPT-2's encoder.json and vocab.bpe (or tokenizer.json), "
        "which do not come with heddle");
  const std::string folder = prepared_folder(options);
  if (folder.empty() || (options.data.size() == 1 && options.data[0] == folder)) return;
  PrepareOptions prepare_options;
  prepare_options.texts = options.data;
  prepare_options.validation_texts = options.validation_data;
  prepare_options.validation_fraction = options.validation_fraction;
  prepare_options.folder = folder;
  prepare_options.tokenizer = options.tokenizer;
  prepare_options.bpe_vocabulary = options.bpe_vocabulary;
  prepare_options.lowercase = options.lowercase;
  prepare_options.word_minimum_count = options.word_minimum_count;
  prepare_options.text_field = options.text_field;
  PrepareResult result;
  {
    PrepareLine line;
    result = prepare(prepare_options, [&](const PrepareProgress& p) { line.show(p); });
  }
  fmt::print("data: {} {}, {} tokenizer with {} ids\n", folder, result.up_to_date ? "is up to date" : "prepared",
             result.manifest.tokenizer_kind, with_commas(result.manifest.vocabulary_size));
  for (const auto& [name, split] : result.manifest.splits)
    fmt::print("      {:<10} {:>14} tokens from {} of text ({:.2f} bytes per token)\n", name, with_commas(split.tokens),
               as_bytes(static_cast<double>(split.bytes)),
               static_cast<double>(split.bytes) / static_cast<double>(std::max<std::int64_t>(split.tokens, 1)));
  std::fflush(stdout);
}

RunData RunData::open(const DataOptions& options) {
  RunData data;
  const std::string folder = prepared_folder(options);
  if (folder.empty()) {
    data.train = TokenDataset::open(options.data);
    if (!options.validation_data.empty()) data.validation = TokenDataset::open(options.validation_data);
    data.vocabulary_size = data.train->vocabulary_size();
    return data;
  }
  const DatasetManifest manifest = read_manifest(folder);
  data.train = open_split(folder, manifest, kTrainSplit);
  if (manifest.splits.contains(kValidationSplit)) data.validation = open_split(folder, manifest, kValidationSplit);
  data.tokenizer = open_tokenizer(folder, manifest);
  data.vocabulary_size = manifest.vocabulary_size;
  return data;
}

void settle_vocabulary(ModelOptions& model, const RunData& data) {
  if (model.vocabulary_size == 0) model.vocabulary_size = data.vocabulary_size;
  if (model.vocabulary_size == 0)
    throw usage_error("these token files do not name their vocabulary: give --vocabulary-size");
  if (model.vocabulary_size < data.vocabulary_size)
    throw usage_error("model.vocabulary_size = {} is smaller than the tokenizer's {} ids; use at least that, or 0",
                      model.vocabulary_size, data.vocabulary_size);
}

TokenTrainingData::TokenTrainingData(const RunData& data, const Options& options, Layout layout, int data_rank)
    : shape_(full_shape(options, layout)),
      loader_(*data.train,
              Sampler(data.train->size(), shape_.length, SampleOrder::shuffled,
                      static_cast<std::uint64_t>(options.train.seed)),
              BatchSlice{options.train.global_batch, data_rank, layout.data_parallel}),
      validation_(data.validation ? &*data.validation : nullptr) {
  // Held-back text shorter than one window is none.
  if (validation_ && validation_->size() > shape_.length)
    validation_order_.emplace(validation_->size(), shape_.length, SampleOrder::sequential);
}

PeriodContext TokenTrainingData::periods() const {
  const std::int64_t batch = loader_.slice().global_batch;
  return {batch * shape_.length,
          static_cast<double>(loader_.sampler().windows_per_epoch()) / static_cast<double>(batch)};
}

std::int64_t TokenTrainingData::tokens_before(std::int64_t step) {
  return step * loader_.slice().global_batch * shape_.length;
}

TrainingData::MeanLengths TokenTrainingData::mean_lengths() const {
  return {static_cast<double>(shape_.length), 0};
}

HostBatch TokenTrainingData::batch(std::int64_t step) {
  const BatchLoader::Batch& batch = loader_.get(step);
  const BatchSlice& slice = loader_.slice();
  HostBatch host;
  host.shape = shape_;
  host.inputs = batch.inputs.data();
  host.targets = batch.targets.data();
  host.first_sample = slice.first_sample();
  host.valid_tokens = slice.global_batch * shape_.length;
  return host;
}

void TokenTrainingData::validate(std::int64_t batches, const std::function<void(const HostBatch&)>& visit) {
  if (!validation_order_) return;
  const BatchSlice& slice = loader_.slice();
  const std::int64_t available = validation_order_->windows_per_epoch();
  const std::int64_t wanted = batches > 0 ? std::min(available, batches * slice.global_batch) : available;
  const std::int64_t begin = slice.data_rank * wanted / slice.data_ranks,
                     end = (slice.data_rank + 1) * wanted / slice.data_ranks;
  // Evenly spread samples: number i of `wanted` is sample i * available / wanted. Runs of neighbours go together.
  const auto sample = [&](std::int64_t i) { return i * available / wanted; };
  constexpr std::int64_t kMostSamples = 64;
  for (std::int64_t i = begin; i < end;) {
    std::int64_t n = 1;
    while (i + n < end && n < kMostSamples && sample(i + n) == sample(i) + n) ++n;
    read_windows(*validation_, *validation_order_, sample(i), n, validation_window_, validation_inputs_,
                 validation_targets_);
    HostBatch batch;
    batch.shape = {n, shape_.micro_batch, shape_.length};
    batch.inputs = validation_inputs_.data();
    batch.targets = validation_targets_.data();
    batch.first_sample = sample(i);
    batch.valid_tokens = n * shape_.length;
    visit(batch);
    i += n;
  }
}

void read_windows(const TokenDataset& dataset, const Sampler& order, std::int64_t first, std::int64_t samples,
                  std::vector<std::int32_t>& window, std::vector<std::int32_t>& inputs,
                  std::vector<std::int32_t>& targets) {
  const std::int64_t length = order.context_length();
  window.resize(static_cast<std::size_t>(length + 1));
  inputs.clear();
  targets.clear();
  for (std::int64_t i = first; i < first + samples; ++i) {
    dataset.read(order.sample(i).position, length + 1, window.data());
    inputs.insert(inputs.end(), window.begin(), window.end() - 1);
    targets.insert(targets.end(), window.begin() + 1, window.end());
  }
}

}  // namespace heddle
