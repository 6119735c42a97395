#include "trainer/data/pair_run_data.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "kernels/error.h"
#include "trainer/data/prepare_line.h"
#include "trainer/data/prepare_pairs.h"
#include "trainer/format.h"

namespace heddle {
namespace {

namespace fs = std::filesystem;

PairFiles files_of(const DataOptions& options) {
  return {options.source, options.target, options.pairs};
}

// "corpora/train.en.gz" -> "train.en": what is behind the dot is the language.
std::string name_of(const std::string& path) {
  const fs::path name = fs::path(path).filename();
  return name.extension() == ".gz" || name.extension() == ".zst" ? name.stem().string() : name.string();
}

// "corpora/news/train.en" -> "news-": many corpora name their parts alike.
std::string folder_of(const std::string& path) {
  const std::string folder = fs::path(path).lexically_normal().parent_path().filename().string();
  return folder.empty() || folder == "." || folder == ".." ? "" : folder + "-";
}

std::string name_of_tokenizer(const std::string& tokenizer, const DataOptions& options) {
  if (tokenizer == "bpe") return fmt::format("bpe{}", options.bpe_vocabulary);
  if (tokenizer == "word")
    return fmt::format("word{}{}", options.word_minimum_count, options.lowercase ? "-lowercase" : "");
  const fs::path path = fs::path(tokenizer).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).stem().string();
}

PreparePairsOptions prepare_options(const DataOptions& options) {
  PreparePairsOptions result;
  result.files = files_of(options);
  result.validation_files = {options.validation_source, options.validation_target, options.validation_pairs};
  result.validation_fraction = options.validation_fraction;
  result.folder = prepared_pairs_folder(options);
  result.joint_vocabulary = options.joint_vocabulary;
  result.tokenizer = options.tokenizer;
  result.target_tokenizer = options.target_tokenizer;
  result.bpe_vocabulary = options.bpe_vocabulary;
  result.lowercase = options.lowercase;
  result.word_minimum_count = options.word_minimum_count;
  return result;
}

void print(const DatasetManifest& manifest) {
  const DatasetPairs& pairs = *manifest.pairs;
  if (pairs.target_tokenizer) {
    fmt::print("      source: {} tokenizer with {} ids, target: {} tokenizer with {} ids\n",
               manifest.tokenizer_kind, with_commas(manifest.vocabulary_size), pairs.target_tokenizer->kind,
               with_commas(pairs.target_tokenizer->vocabulary_size));
  } else {
    fmt::print("      source and target: {} tokenizer with {} ids\n", manifest.tokenizer_kind,
               with_commas(manifest.vocabulary_size));
  }
  if (pairs.empty > 0) {
    fmt::print("      {} of {} pairs have a side without text and are left out\n", with_commas(pairs.empty),
               with_commas(pairs.read));
  }
  for (const char* split : {kTrainSplit, kValidationSplit}) {
    const auto source = manifest.splits.find(pair_split(split, PairSide::source)),
               target = manifest.splits.find(pair_split(split, PairSide::target));
    if (source == manifest.splits.end()) continue;
    fmt::print("      {:<10} {:>14} pairs, {} source and {} target tokens\n", split,
               with_commas(source->second.documents), with_commas(source->second.tokens),
               with_commas(target->second.tokens));
  }
}

void settle(std::int64_t& size, const char* option, std::int64_t needed) {
  if (size == 0) size = needed;
  if (size < needed) {
    throw usage_error("model.{} = {} is smaller than the tokenizer's {} ids; use at least that, or 0", option,
                      size, needed);
  }
}

}  // namespace

std::string prepared_pairs_folder(const DataOptions& options) {
  const bool prepared = options.data.size() == 1 && is_prepared_folder(options.data[0]);
  if (files_of(options).empty()) {
    if (prepared) return options.data[0];
    throw usage_error(
        "no pairs of texts: give --source and --target, --pairs, or --data with a folder of prepared pairs");
  }
  if (!options.data.empty())
    throw usage_error("--data = {} beside --source, --target or --pairs: give one or the other",
                      options.data[0]);
  if (!options.data_folder.empty()) return options.data_folder;
  const std::string first = !options.source.empty() && !options.target.empty() ? options.source[0]
                            : !options.pairs.empty()                           ? options.pairs[0]
                                                                               : files_of(options).all()[0];
  const std::string files =
      options.source.empty() || options.target.empty()
          ? folder_of(first) + name_of(first)
          : folder_of(first) + name_of(options.source[0]) + "-" + name_of(options.target[0]);
  std::string tokenizers = name_of_tokenizer(options.tokenizer, options);
  if (!options.joint_vocabulary) {
    tokenizers +=
        "-" + name_of_tokenizer(
                  options.target_tokenizer.empty() ? options.tokenizer : options.target_tokenizer, options);
  }
  return fmt::format("data/{}-{}", files, tokenizers);
}

void prepare_pair_run_data(const DataOptions& options) {
  const PreparePairsOptions settings = prepare_options(options);
  if (settings.files.empty()) return;
  PrepareResult result;
  {
    PrepareLine line;
    result = prepare_pairs(settings, [&](const PrepareProgress& p) { line.show(p); });
  }
  fmt::print("data: {} {}\n", settings.folder, result.up_to_date ? "is up to date" : "prepared");
  print(result.manifest);
  std::fflush(stdout);
}

PairRunData PairRunData::open(const DataOptions& options) {
  const std::string folder = prepared_pairs_folder(options);
  const DatasetManifest manifest = read_manifest(folder);
  PairRunData data{PairDataset::open(folder, manifest, kTrainSplit), std::nullopt,
                   open_tokenizer(folder, manifest), open_target_tokenizer(folder, manifest),
                   !manifest.pairs->target_tokenizer.has_value()};
  if (manifest.splits.contains(pair_split(kValidationSplit, PairSide::source)))
    data.validation = PairDataset::open(folder, manifest, kValidationSplit);
  return data;
}

void settle_vocabulary(ModelOptions& model, const PairRunData& data) {
  settle(model.vocabulary_size, "vocabulary_size", data.target_tokenizer->vocabulary_size());
  settle(model.source_vocabulary_size, "source_vocabulary_size", data.source_tokenizer->vocabulary_size());
  if (model.share_embeddings && !data.joint) {
    throw usage_error(
        "model.share_embeddings = true needs one tokenizer of both sides: set joint_vocabulary = true, "
        "or share_embeddings = false");
  }
}

}  // namespace heddle
