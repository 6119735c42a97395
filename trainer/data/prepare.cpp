#include "trainer/data/prepare.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "kernels/error.h"
#include "trainer/data/fingerprint.h"
#include "trainer/data/parallel_for.h"
#include "trainer/data/split_source.h"
#include "trainer/data/split_writer.h"
#include "trainer/data/tokenizer_kind.h"
#include "trainer/data/tokenizers/bpe_trainer.h"
#include "trainer/data/tokenizers/byte_tokenizer.h"
#include "trainer/data/tokenizers/character_tokenizer.h"
#include "trainer/data/tokenizers/word_trainer.h"
#include "trainer/data/utf8.h"

namespace heddle {
namespace {

namespace fs = std::filesystem;

// Changes when the same inputs would give other shards than before.
constexpr std::uint64_t kPreparationVersion = 1;
// Text that is encoded in parallel before it is written in order.
constexpr std::size_t kBatchBytes = std::size_t{1} << 24;
constexpr std::size_t kBatchPieces = 4096;

void check(const PrepareOptions& options) {
  if (options.texts.empty()) throw usage_error("no text to prepare: name files or folders");
  if (options.folder.empty()) throw usage_error("no folder for the prepared data");
  if (!(options.validation_fraction >= 0 && options.validation_fraction < 1)) {
    throw usage_error("a validation fraction of {} is not in [0, 1)", options.validation_fraction);
  }
  if (options.tokens_per_shard < 1)
    throw usage_error("{} tokens per shard are not possible", options.tokens_per_shard);
  const int smallest = 256 + options.end_of_text;
  if (tokenizer_kind(options.tokenizer) == TokenizerKind::bpe &&
      (options.bpe_vocabulary < smallest || options.bpe_vocabulary > kMaxVocabularySize)) {
    throw usage_error("a BPE vocabulary of {} is not possible; it has {} to {} tokens",
                      options.bpe_vocabulary, smallest, kMaxVocabularySize);
  }
  if (tokenizer_kind(options.tokenizer) == TokenizerKind::word && options.word_minimum_count < 1)
    throw usage_error("words cannot be seen {} times: give a count of at least 1",
                      options.word_minimum_count);
}

// Passes over the text, each from the start, and says how far they are.
class Preparation {
 public:
  Preparation(const PrepareOptions& options, const PrepareReport& progress)
      : options_(options),
        progress_(progress),
        kind_(tokenizer_kind(options.tokenizer)),
        threads_(resolve_threads(options.threads)),
        files_(list_text_files(options.texts)),
        validation_files_(list_text_files(options.validation_texts)),
        stored_bytes_(stored_bytes({&files_, &validation_files_})) {
    if (kind_ == TokenizerKind::file) tokenizer_ = load_tokenizer(options.tokenizer);
  }

  std::string fingerprint() const;
  // Writes tokenizer and shards into `folder`.
  DatasetManifest run(const std::string& folder);

 private:
  struct Batch {
    std::vector<TextPiece> pieces;
    std::vector<SplitPart> parts;
  };
  class DocumentWriter;

  void find_split_point();
  void learn_characters();
  void learn_words();
  void learn_bpe();
  std::vector<std::string> training_texts(Batch& batch, std::int64_t& left) const;
  void encode(const std::string& folder, DatasetManifest& manifest);

  SplitSource open_source() const;
  bool next_batch(SplitSource& source, Batch& batch) const;
  void report(const char* stage, std::int64_t done, std::int64_t total) const {
    if (progress_) progress_({stage, done, total});
  }
  void report(const char* stage, const SplitSource& source) const {
    report(stage, static_cast<std::int64_t>(source.stored_bytes_read()), stored_bytes_);
  }

  const PrepareOptions& options_;
  const PrepareReport& progress_;
  TokenizerKind kind_;
  int threads_;
  std::vector<std::string> files_, validation_files_;
  std::int64_t stored_bytes_;
  SplitPoint point_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

// Of all that decides about the result: the files and the settings.
std::string Preparation::fingerprint() const {
  Fingerprint fingerprint;
  fingerprint.number(kPreparationVersion);
  fingerprint.number(static_cast<std::uint64_t>(kind_));
  if (tokenizer_) fingerprint.string(tokenizer_->hash());
  fingerprint.number(kind_ == TokenizerKind::bpe ? static_cast<std::uint64_t>(options_.bpe_vocabulary) : 0);
  fingerprint.number(kind_ == TokenizerKind::bpe ? static_cast<std::uint64_t>(options_.bpe_bytes) : 0);
  if (kind_ == TokenizerKind::word) {
    fingerprint.string(kWordPattern);
    fingerprint.number(options_.lowercase);
    fingerprint.number(static_cast<std::uint64_t>(options_.word_minimum_count));
  }
  fingerprint.number(options_.end_of_text);
  fingerprint.string(options_.text_field);
  fingerprint.number(static_cast<std::uint64_t>(options_.tokens_per_shard));
  fingerprint.string(validation_files_.empty() ? fmt::format("{}", options_.validation_fraction) : "");
  add_files(fingerprint, {&files_, &validation_files_}, progress_);
  return fingerprint.hex();
}

SplitSource Preparation::open_source() const {
  TextOptions text;
  text.field = options_.text_field;
  text.require_utf8 = kind_ == TokenizerKind::character || kind_ == TokenizerKind::word ||
                      (tokenizer_ && tokenizer_->requires_utf8());
  text.whole_documents = tokenizer_ && !tokenizer_->works_on_pieces();
  return SplitSource(files_, point_, validation_files_, text);
}

bool Preparation::next_batch(SplitSource& source, Batch& batch) const {
  batch.pieces.clear();
  batch.parts.clear();
  TextPiece piece;
  SplitPart part;
  for (std::size_t bytes = 0; bytes < kBatchBytes && batch.pieces.size() < kBatchPieces;) {
    if (!source.next(piece, part)) break;
    bytes += piece.text.size();
    batch.pieces.push_back(std::move(piece));
    batch.parts.push_back(part);
  }
  return !batch.pieces.empty();
}

void Preparation::find_split_point() {
  if (!validation_files_.empty() || options_.validation_fraction == 0) return;
  SplitSource source = open_source();
  TextSize size;
  TextPiece piece;
  SplitPart part;
  while (source.next(piece, part)) {
    size.documents += piece.starts_document;
    size.bytes += static_cast<std::int64_t>(piece.text.size());
    size.characters += count_characters(piece.text);
    report("reading", source);
  }
  point_ = split_point(size, options_.validation_fraction);
}

void Preparation::learn_characters() {
  SplitSource source = open_source();
  std::set<char32_t> alphabet;
  TextPiece piece;
  SplitPart part;
  while (source.next(piece, part)) {
    collect_characters(piece.text, alphabet);
    report("learning the tokenizer", source);
  }
  tokenizer_ = std::make_unique<CharacterTokenizer>(alphabet);
}

// Moves the training text out of a batch, until `left` bytes of it are used up.
std::vector<std::string> Preparation::training_texts(Batch& batch, std::int64_t& left) const {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < batch.pieces.size() && left > 0; ++i) {
    if (batch.parts[i] != SplitPart::train) continue;
    left -= static_cast<std::int64_t>(batch.pieces[i].text.size());
    texts.push_back(std::move(batch.pieces[i].text));
  }
  return texts;
}

void Preparation::learn_words() {
  WordTrainer trainer(
      {.minimum_count = options_.word_minimum_count, .lowercase = options_.lowercase, .threads = threads_});
  SplitSource source = open_source();
  Batch batch;
  std::int64_t left = INT64_MAX;
  while (next_batch(source, batch)) {
    trainer.add(training_texts(batch, left));
    report("learning the tokenizer", source);
  }
  tokenizer_ = std::make_unique<WordTokenizer>(trainer.train(), "the learnt tokenizer");
}

void Preparation::learn_bpe() {
  BpeTrainer trainer(
      {.vocabulary_size = static_cast<std::int32_t>(options_.bpe_vocabulary), .threads = threads_});
  SplitSource source = open_source();
  Batch batch;
  std::int64_t left = options_.bpe_bytes;
  while (left > 0 && next_batch(source, batch)) {
    trainer.add(training_texts(batch, left));
    report("learning the tokenizer", source);
  }
  BpeModel model =
      trainer.train([&](std::int32_t tokens) { report("merging", tokens, options_.bpe_vocabulary); });
  tokenizer_ = std::make_unique<BpeTokenizer>(std::move(model), "the learnt tokenizer");
}

// One split, with end-of-text tokens between documents.
class Preparation::DocumentWriter {
 public:
  DocumentWriter(const PrepareOptions& options, const Tokenizer& tokenizer, const std::string& folder,
                 const std::string& name)
      : split_(folder, name, tokenizer, options.tokens_per_shard) {
    if (options.end_of_text) end_of_text_ = tokenizer.end_of_text();
  }

  void add(const TextPiece& piece, std::span<const std::int32_t> ids) {
    if (piece.starts_document) {
      if (split_.documents() > 0) end_document();
      split_.count_document();
    }
    split_.count_bytes(piece.text.size());
    split_.write(ids);
  }

  DatasetSplit finish() {
    if (split_.documents() > 1) end_document();
    return split_.finish();
  }

 private:
  void end_document() {
    if (end_of_text_) split_.write(std::span(&*end_of_text_, 1));
  }

  SplitWriter split_;
  std::optional<std::int32_t> end_of_text_;
};

void Preparation::encode(const std::string& folder, DatasetManifest& manifest) {
  DocumentWriter train(options_, *tokenizer_, folder, kTrainSplit);
  DocumentWriter validation(options_, *tokenizer_, folder, kValidationSplit);
  SplitSource source = open_source();
  Batch batch;
  std::vector<std::vector<std::int32_t>> ids;
  while (next_batch(source, batch)) {
    ids.resize(batch.pieces.size());
    parallel_for(static_cast<std::int64_t>(ids.size()), threads_, [&](std::int64_t i, int) {
      ids[i].clear();
      try {
        tokenizer_->encode(batch.pieces[i].text, ids[i]);
      } catch (const Error& failure) {
        throw error("{}: {}", batch.pieces[i].origin, failure.what());
      }
    });
    for (std::size_t i = 0; i < ids.size(); ++i) {
      (batch.parts[i] == SplitPart::train ? train : validation).add(batch.pieces[i], ids[i]);
    }
    report("encoding", source);
  }
  const bool wants_validation = !validation_files_.empty() || options_.validation_fraction > 0;
  for (auto [name, writer] : {std::pair(kTrainSplit, &train), std::pair(kValidationSplit, &validation)}) {
    DatasetSplit split = writer->finish();
    if (split.tokens == 0 && (writer == &train || wants_validation)) {
      throw error("the text holds nothing for the {} split (from {}{})", name, files_.front(),
                  files_.size() > 1 ? " and other files" : "");
    }
    if (split.tokens > 0) manifest.splits[name] = std::move(split);
  }
}

DatasetManifest Preparation::run(const std::string& folder) {
  find_split_point();
  if (kind_ == TokenizerKind::byte) tokenizer_ = std::make_unique<ByteTokenizer>(options_.end_of_text);
  if (kind_ == TokenizerKind::character) learn_characters();
  if (kind_ == TokenizerKind::word) learn_words();
  if (kind_ == TokenizerKind::bpe) learn_bpe();
  DatasetManifest manifest;
  manifest.tokenizer_kind = tokenizer_->kind();
  manifest.tokenizer_hash = tokenizer_->hash();
  manifest.vocabulary_size = tokenizer_->vocabulary_size();
  encode(folder, manifest);
  save_tokenizer(*tokenizer_, (fs::path(folder) / kDatasetTokenizerName).string());
  return manifest;
}

}  // namespace

PrepareResult prepare(const PrepareOptions& options, const PrepareReport& progress) {
  check(options);
  Preparation preparation(options, progress);
  return update_prepared_folder(options.folder, preparation.fingerprint(),
                                [&](const std::string& workshop) { return preparation.run(workshop); });
}

}  // namespace heddle
