#include "trainer/data/prepare_pairs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/error.h"
#include "trainer/data/parallel_for.h"
#include "trainer/data/split_source.h"
#include "trainer/data/split_writer.h"
#include "trainer/data/tokenizer_kind.h"
#include "trainer/data/tokenizers/bpe_trainer.h"
#include "trainer/data/tokenizers/byte_tokenizer.h"
#include "trainer/data/tokenizers/word_trainer.h"

namespace heddle {
namespace {

namespace fs = std::filesystem;

// Changes when the same inputs would give other shards than before.
constexpr std::uint64_t kPreparationVersion = 1;
// Pairs that are encoded in parallel before they are written in order.
constexpr std::size_t kBatchBytes = std::size_t{1} << 24;
constexpr std::size_t kBatchPairs = std::size_t{1} << 16;

constexpr std::array kSides{PairSide::source, PairSide::target};

const std::string& text_of(const TextPair& pair, PairSide side) {
  return side == PairSide::source ? pair.source : pair.target;
}

void check_tokenizer(const PreparePairsOptions& options, const std::string& tokenizer) {
  const TokenizerKind kind = tokenizer_kind(tokenizer);
  if (kind == TokenizerKind::character) {
    throw usage_error("tokenizer = {} has no end-of-text token, which pairs of texts need; use byte, word or bpe",
                      tokenizer);
  }
  if (kind == TokenizerKind::word && options.word_minimum_count < 1)
    throw usage_error("words cannot be seen {} times: give a count of at least 1", options.word_minimum_count);
  constexpr int smallest = 257;
  if (kind == TokenizerKind::bpe &&
      (options.bpe_vocabulary < smallest || options.bpe_vocabulary > kMaxVocabularySize)) {
    throw usage_error("a BPE vocabulary of {} is not possible; it has {} to {} tokens",
                      options.bpe_vocabulary, smallest, kMaxVocabularySize);
  }
}

void check(const PreparePairsOptions& options) {
  if (options.files.empty())
    throw usage_error("no pairs to prepare: give source and target files, or files of pairs");
  if (options.folder.empty()) throw usage_error("no folder for the prepared data");
  if (!(options.validation_fraction >= 0 && options.validation_fraction < 1)) {
    throw usage_error("a validation fraction of {} is not in [0, 1)", options.validation_fraction);
  }
  if (options.tokens_per_shard < 1)
    throw usage_error("{} tokens per shard are not possible", options.tokens_per_shard);
  if (options.joint_vocabulary && !options.target_tokenizer.empty()) {
    throw usage_error("target_tokenizer = {} is a second tokenizer: set joint_vocabulary = false",
                      options.target_tokenizer);
  }
  check_tokenizer(options, options.tokenizer);
  if (!options.target_tokenizer.empty()) check_tokenizer(options, options.target_tokenizer);
}

// All pairs once from the start, those of the validation files last, and which part each belongs to.
class Pass {
 public:
  // The first `train_pairs` of `files` are for training.
  Pass(const PairFiles& files, const PairFiles& validation_files, std::int64_t train_pairs)
      : pairs_(files), validation_pairs_(validation_files), train_left_(train_pairs) {}

  bool next(TextPair& pair, SplitPart& part) {
    if (!pairs_.next(pair)) {
      part = SplitPart::validation;
      return validation_pairs_.next(pair);
    }
    part = train_left_-- > 0 ? SplitPart::train : SplitPart::validation;
    return true;
  }

  std::int64_t pairs_read() const { return pairs_.pairs_read() + validation_pairs_.pairs_read(); }
  std::int64_t empty_pairs() const { return pairs_.empty_pairs() + validation_pairs_.empty_pairs(); }
  std::uint64_t stored_bytes_read() const {
    return pairs_.stored_bytes_read() + validation_pairs_.stored_bytes_read();
  }

 private:
  PairSource pairs_, validation_pairs_;
  std::int64_t train_left_;
};

class PairPreparation {
 public:
  PairPreparation(const PreparePairsOptions& options, const PrepareReport& progress)
      : options_(options),
        progress_(progress),
        threads_(resolve_threads(options.threads)),
        files_(options.files.all()),
        validation_files_(options.validation_files.all()),
        stored_bytes_(stored_bytes({&files_, &validation_files_})) {
    tokenizers_.push_back({options.tokenizer, nullptr});
    if (!options.joint_vocabulary) {
      tokenizers_.push_back(
          {options.target_tokenizer.empty() ? options.tokenizer : options.target_tokenizer, nullptr});
    }
    for (ChosenTokenizer& chosen : tokenizers_) {
      if (tokenizer_kind(chosen.name) == TokenizerKind::file) chosen.tokenizer = load_tokenizer(chosen.name);
    }
  }

  std::string fingerprint() const;
  // Writes tokenizers and shards into `folder`.
  DatasetManifest run(const std::string& folder);

 private:
  struct ChosenTokenizer {
    std::string name;  // as the options have it
    std::unique_ptr<Tokenizer> tokenizer;
  };
  struct Batch {
    std::vector<TextPair> pairs;
    std::vector<SplitPart> parts;
  };

  // [side][pair]: the ids of a text and its end-of-text token.
  using Documents = std::array<std::vector<std::vector<std::int32_t>>, 2>;
  class PairWriter;

  const Tokenizer& tokenizer_of(PairSide side) const {
    return *(side == PairSide::source ? tokenizers_.front() : tokenizers_.back()).tokenizer;
  }
  // The sides whose text tokenizer number `index` cuts.
  std::vector<PairSide> sides_of(std::size_t index) const {
    if (tokenizers_.size() == 1) return {kSides.begin(), kSides.end()};
    return {kSides[index]};
  }

  void count_training_pairs();
  std::unique_ptr<Tokenizer> make_tokenizer(TokenizerKind kind, const std::vector<PairSide>& sides);
  template <typename Trainer>
  void feed(Trainer& trainer, const std::vector<PairSide>& sides);
  void encode(const std::string& folder, DatasetManifest& manifest);
  void encode(const Batch& batch, Documents& ids) const;

  Pass open_pass() const { return {options_.files, options_.validation_files, train_pairs_}; }
  bool next_batch(Pass& pass, Batch& batch) const;
  void report(const char* stage, std::int64_t done, std::int64_t total) const {
    if (progress_) progress_({stage, done, total});
  }
  void report(const char* stage, const Pass& pass) const {
    report(stage, static_cast<std::int64_t>(pass.stored_bytes_read()), stored_bytes_);
  }

  const PreparePairsOptions& options_;
  const PrepareReport& progress_;
  int threads_;
  std::vector<std::string> files_, validation_files_;
  std::int64_t stored_bytes_;
  std::int64_t train_pairs_ = INT64_MAX;
  std::vector<ChosenTokenizer> tokenizers_;  // of both sides, or the source's and the target's
};

// Of all that decides about the result: the files and the settings.
std::string PairPreparation::fingerprint() const {
  Fingerprint fingerprint;
  fingerprint.string("pairs");
  fingerprint.number(kPreparationVersion);
  fingerprint.number(tokenizers_.size());
  for (const ChosenTokenizer& chosen : tokenizers_) {
    const TokenizerKind kind = tokenizer_kind(chosen.name);
    fingerprint.number(static_cast<std::uint64_t>(kind));
    if (chosen.tokenizer) fingerprint.string(chosen.tokenizer->hash());
    fingerprint.number(kind == TokenizerKind::bpe ? static_cast<std::uint64_t>(options_.bpe_vocabulary) : 0);
    fingerprint.number(kind == TokenizerKind::bpe || kind == TokenizerKind::word
                           ? static_cast<std::uint64_t>(options_.learning_bytes)
                           : 0);
    if (kind == TokenizerKind::word) {
      fingerprint.number(static_cast<std::uint64_t>(options_.word_minimum_count));
      fingerprint.number(options_.lowercase);
    }
  }
  fingerprint.number(static_cast<std::uint64_t>(options_.tokens_per_shard));
  fingerprint.string(validation_files_.empty() ? fmt::format("{}", options_.validation_fraction) : "");
  // How many of the files are sources, targets and pairs.
  for (const PairFiles* files : {&options_.files, &options_.validation_files})
    fingerprint.number(files->source.size());
  add_files(fingerprint, {&files_, &validation_files_}, progress_);
  return fingerprint.hex();
}

bool PairPreparation::next_batch(Pass& pass, Batch& batch) const {
  batch.pairs.clear();
  batch.parts.clear();
  TextPair pair;
  SplitPart part;
  for (std::size_t bytes = 0; bytes < kBatchBytes && batch.pairs.size() < kBatchPairs;) {
    if (!pass.next(pair, part)) break;
    bytes += pair.source.size() + pair.target.size();
    batch.pairs.push_back(std::move(pair));
    batch.parts.push_back(part);
  }
  return !batch.pairs.empty();
}

void PairPreparation::count_training_pairs() {
  if (!validation_files_.empty() || options_.validation_fraction == 0) return;
  Pass pass = open_pass();
  std::int64_t pairs = 0;
  for (Batch batch; next_batch(pass, batch);) {
    pairs += static_cast<std::int64_t>(batch.pairs.size());
    report("reading", pass);
  }
  train_pairs_ =
      static_cast<std::int64_t>(std::floor(static_cast<double>(pairs) * (1 - options_.validation_fraction)));
}

// Adds the training text of `sides`.
template <typename Trainer>
void PairPreparation::feed(Trainer& trainer, const std::vector<PairSide>& sides) {
  Pass pass = open_pass();
  Batch batch;
  std::int64_t left = options_.learning_bytes;
  while (left > 0 && next_batch(pass, batch)) {
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < batch.pairs.size() && left > 0; ++i) {
      if (batch.parts[i] != SplitPart::train) continue;
      for (const PairSide side : sides) {
        texts.push_back(text_of(batch.pairs[i], side));
        left -= static_cast<std::int64_t>(texts.back().size());
      }
    }
    trainer.add(texts);
    report("learning the tokenizer", pass);
  }
}

// Every kind that is not a file; check_tokenizer() refuses those that are not here.
std::unique_ptr<Tokenizer> PairPreparation::make_tokenizer(TokenizerKind kind,
                                                           const std::vector<PairSide>& sides) {
  if (kind == TokenizerKind::byte) return std::make_unique<ByteTokenizer>();
  if (kind == TokenizerKind::word) {
    WordTrainer trainer(
        {.minimum_count = options_.word_minimum_count, .lowercase = options_.lowercase, .threads = threads_});
    feed(trainer, sides);
    return std::make_unique<WordTokenizer>(trainer.train(), "the learnt tokenizer");
  }
  BpeTrainer trainer(
      {.vocabulary_size = static_cast<std::int32_t>(options_.bpe_vocabulary), .threads = threads_});
  feed(trainer, sides);
  BpeModel model =
      trainer.train([&](std::int32_t tokens) { report("merging", tokens, options_.bpe_vocabulary); });
  return std::make_unique<BpeTokenizer>(std::move(model), "the learnt tokenizer");
}

void PairPreparation::encode(const Batch& batch, Documents& ids) const {
  for (auto& of_side : ids) of_side.resize(batch.pairs.size());
  parallel_for(static_cast<std::int64_t>(batch.pairs.size()), threads_, [&](std::int64_t i, int) {
    const TextPair& pair = batch.pairs[i];
    for (const PairSide side : kSides) {
      const Tokenizer& tokenizer = tokenizer_of(side);
      std::vector<std::int32_t>& document = ids[static_cast<std::size_t>(side)][i];
      document.clear();
      try {
        tokenizer.encode(text_of(pair, side), document);
      } catch (const Error& failure) {
        throw error("{}: {}", side == PairSide::source ? pair.source_origin : pair.target_origin,
                    failure.what());
      }
      document.push_back(*tokenizer.end_of_text());
    }
  });
}

// Both sides of one split.
class PairPreparation::PairWriter {
 public:
  PairWriter(const PairPreparation& preparation, const std::string& folder, const std::string& split)
      : source_(folder, pair_split(split, PairSide::source), preparation.tokenizer_of(PairSide::source),
                preparation.options_.tokens_per_shard),
        target_(folder, pair_split(split, PairSide::target), preparation.tokenizer_of(PairSide::target),
                preparation.options_.tokens_per_shard) {}

  void add(const TextPair& pair, const Documents& ids, std::size_t index) {
    for (const PairSide side : kSides) {
      SplitWriter& writer = side == PairSide::source ? source_ : target_;
      writer.write(ids[static_cast<std::size_t>(side)][index]);
      writer.count_document();
      writer.count_bytes(text_of(pair, side).size());
    }
  }
  std::int64_t documents() const { return source_.documents(); }

  void finish(const std::string& split, DatasetManifest& manifest) {
    manifest.splits[pair_split(split, PairSide::source)] = source_.finish();
    manifest.splits[pair_split(split, PairSide::target)] = target_.finish();
  }

 private:
  SplitWriter source_, target_;
};

void PairPreparation::encode(const std::string& folder, DatasetManifest& manifest) {
  PairWriter train(*this, folder, kTrainSplit), validation(*this, folder, kValidationSplit);
  Pass pass = open_pass();
  Documents ids;
  for (Batch batch; next_batch(pass, batch);) {
    encode(batch, ids);
    for (std::size_t i = 0; i < batch.pairs.size(); ++i) {
      (batch.parts[i] == SplitPart::train ? train : validation).add(batch.pairs[i], ids, i);
    }
    report("encoding", pass);
  }
  manifest.pairs->read = pass.pairs_read();
  manifest.pairs->empty = pass.empty_pairs();
  const bool wants_validation = !validation_files_.empty() || options_.validation_fraction > 0;
  for (auto [name, writer] : {std::pair(kTrainSplit, &train), std::pair(kValidationSplit, &validation)}) {
    if (writer->documents() > 0) {
      writer->finish(name, manifest);
    } else if (writer == &train || wants_validation) {
      throw error("the pairs hold nothing for the {} split (from {}{})", name, files_.front(),
                  files_.size() > 1 ? " and other files" : "");
    }
  }
}

DatasetManifest PairPreparation::run(const std::string& folder) {
  count_training_pairs();
  for (std::size_t i = 0; i < tokenizers_.size(); ++i) {
    auto& [name, tokenizer] = tokenizers_[i];
    if (!tokenizer) tokenizer = make_tokenizer(tokenizer_kind(name), sides_of(i));
    if (!tokenizer->end_of_text())
      throw error("the tokenizer {} has no end-of-text token, which pairs of texts need", name);
  }
  const auto described = [](const Tokenizer& tokenizer) {
    return DatasetTokenizer{tokenizer.kind(), tokenizer.hash(), tokenizer.vocabulary_size()};
  };
  const DatasetTokenizer source = described(tokenizer_of(PairSide::source));
  DatasetManifest manifest;
  manifest.tokenizer_kind = source.kind;
  manifest.tokenizer_hash = source.hash;
  manifest.vocabulary_size = source.vocabulary_size;
  manifest.pairs.emplace();
  if (tokenizers_.size() > 1) manifest.pairs->target_tokenizer = described(tokenizer_of(PairSide::target));
  encode(folder, manifest);
  const std::vector<std::string> files = tokenizer_files(manifest);
  for (std::size_t i = 0; i < files.size(); ++i)
    save_tokenizer(*tokenizers_[i].tokenizer, (fs::path(folder) / files[i]).string());
  return manifest;
}

}  // namespace

PrepareResult prepare_pairs(const PreparePairsOptions& options, const PrepareReport& progress) {
  check(options);
  PairPreparation preparation(options, progress);
  return update_prepared_folder(options.folder, preparation.fingerprint(),
                                [&](const std::string& workshop) { return preparation.run(workshop); });
}

}  // namespace heddle
